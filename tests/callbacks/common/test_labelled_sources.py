# SPDX-License-Identifier: Apache-2.0
"""Labelled images of the user's: folders, csv, shards, ImageNet's names; zero_shot/folder and noise/folder on them."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clip_align.callbacks.common.labelled_images import LabelledSet
from clip_align.callbacks.common.labelled_sources import names_from, tail
from clip_align.callbacks.common.prompt_templates import templates_of
from clip_align.callbacks.noise import folder as noise_folder
from clip_align.callbacks.zero_shot.folder import Folder
from clip_align.data.captions import MOST_TEXT_BYTES
from clip_align.errors import UserError
from clip_align.evaluation.features import Features
from clip_align.evaluation.model_info import ModelInfo
from clip_align.evaluation.views import cut
from clip_align.metrics.estimate import Estimate
from clip_align.open_clip_prompts import imagenet_names
from clip_align.perception import imagenet_by_samples
from clip_align.settings.load_config import load
from clip_align.testing.random_images import random_image
from clip_align.testing.stubs import Words


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of unequal size, with the awkward things that folders hold."""
    root = tmp_path_factory.mktemp("x") / "val"
    for folder, names in {
        "polar_bear": ["a.JPEG", "b.jpg", "deep/c.PNG", ".hidden.jpg", ".copies/a.jpg", "folder.jpg/notes.txt"],
        "car": ["1.png", "2.png"],
        "Dog house": ["x.webp"],
        ".cache": ["y.png"],
    }.items():
        for name in names:
            path = root / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".txt":
                path.write_text("no image")
            else:
                Image.fromarray(random_image(str(path.name), 40, 30)).convert("RGB").save(path)
    (root / "readme.md").write_text("not a class")
    return root


def answered(callback: Folder | noise_folder.Folder, decide: Callable[[str], int]) -> dict[str, Estimate]:
    ids = [stimulus.id for stimulus in callback.stimuli()]
    count = len(callback.texts)
    images = np.eye(count, dtype=np.float32)[[decide(name) for name in ids]][:, None]
    features = Features(images, {name: i for i, name in enumerate(ids)}, np.eye(count, dtype=np.float32))
    items = callback.items(features)
    return {score.name: score.compute(items) for score in callback.scores}


def lines(call: Callable[[], object]) -> tuple[str, ...]:
    with pytest.raises(UserError) as caught:
        call()
    return tuple(caught.value.lines)


def test_sub_folders_are_the_classes(photographs: Path) -> None:
    callback = Folder(root=str(photographs), templates="plain")
    assert list(callback.texts.items()) == [("Dog house", "Dog house"), ("car", "car"), ("polar_bear", "polar bear")]
    assert callback.prompts()["polar_bear"] == ("a photo of a polar bear.",)
    top = f"{photographs.parent.name}/val"
    assert [s.id for s in callback.stimuli()] == [
        f"{top}/Dog house/x.webp", f"{top}/car/1.png", f"{top}/car/2.png",
        f"{top}/polar_bear/a.JPEG", f"{top}/polar_bear/b.jpg", f"{top}/polar_bear/deep/c.PNG",
    ]  # fmt: skip
    assert callback.images.labels.tolist() == [0, 1, 1, 2, 2, 2]
    assert callback.scores[0].chance == 1 / 3
    assert next(iter(callback.stimuli())).load().shape == (40, 30, 3)


def test_labels_that_are_equal_numbers_keep_their_order(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    names = ["1", "01", "001", "10", "9", "a", "A"]
    for name in names:
        Image.fromarray(random_image(name, 9, 9)).save(tmp_path / f"x{names.index(name)}.png")
    table.write_text("image,class\n" + "".join(f"x{n}.png,{name}\n" for n, name in enumerate(names)))
    assert list(Folder(csv=str(table)).texts) == ["001", "01", "1", "9", "10", "A", "a"]


def test_names_that_are_no_text_can_be_recorded(tmp_path: Path) -> None:
    for label in (b"cat\xff", b"dog", b"bir\nd"):
        folder = os.fsencode(tmp_path) + b"/" + label
        os.mkdir(folder)
        Image.fromarray(random_image("a", 9, 9)).save(os.fsdecode(folder + b"/a\xfe.png"))
    callback = noise_folder.Folder(root=str(tmp_path), levels=[0.1])
    callback.adapt(ModelInfo(32, ("projection",), Words()))
    for stimulus in callback.stimuli():
        assert stimulus.id.encode().decode().isprintable()
        assert stimulus.load().shape in ((9, 9, 3), (32, 32, 3))
    assert [name.encode() for name in callback.texts] == [b"bir\\nd", b"cat\\udcff", b"dog"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_class_that_cannot_be_read_is_named(photographs: Path) -> None:
    folder = photographs / "car"
    folder.chmod(0)
    try:
        assert lines(lambda: Folder(root=str(photographs))) == (
            f"zero_shot/folder: cannot read {folder}: Permission denied",
        )
    finally:
        folder.chmod(0o755)


def test_the_ids_of_a_folder_at_the_top_begin_with_its_name() -> None:
    assert tail(Path("/val")) == "//val"
    callback = noise_folder.Folder.__new__(noise_folder.Folder)
    callback.top = Path("/val")
    callback.images = LabelledSet("x", ["//val/cat/1.png"], [png_array], np.zeros(1, np.int64), {"cat": "cat"})
    assert callback._below_top(0) == "cat/1.png"


def png_array() -> np.ndarray:
    return np.zeros((2, 2, 3), np.uint8)


def test_tiles_of_changed_images_are_those_of_the_clean_ones(photographs: Path) -> None:
    given: dict[str, Any] = {"corruption": "contrast", "levels": [1.0, 0.5], "rounding": "round", "view": "tiles"}
    callback = noise_folder.Folder(root=str(photographs), resolution="native", **given)
    callback.adapt(ModelInfo(16, ("projection",), Words()))
    places: dict[str, set[bytes]] = {}
    for stimulus in callback.stimuli():
        if "/contrast/50" not in stimulus.id:  # a factor of 1 changes nothing
            seen = cut(stimulus.load(), "tiles", 16, 4, stimulus.places or stimulus.id)
            places.setdefault(stimulus.id.split("/contrast/")[0], set()).add(seen.tobytes())
    assert len(places) == 6
    assert all(len(seen) == 1 for seen in places.values())
    assert lines(lambda: noise_folder.Folder(root=str(photographs), name="mine", **given)) == (
        "noise/mine: view: tiles are cut at the image's own resolution; give resolution=native, or another view",
    )


def test_accuracy_over_images_and_over_classes(photographs: Path) -> None:
    callback = Folder(root=str(photographs))
    found = answered(callback, lambda name: 2 if "polar" in name else 1)  # wrong about the dog house alone
    assert found["accuracy"].value == pytest.approx(5 / 6)
    assert found["accuracy_class_mean"].value == pytest.approx(2 / 3)
    few = Folder(root=str(photographs), images_per_class=1)
    assert few.images.labels.tolist() == [0, 1, 2]


def test_noise_on_a_folder_is_added_to_what_the_model_sees(photographs: Path) -> None:
    callback = noise_folder.Folder(root=str(photographs), name="mine")
    assert callback.adapt(ModelInfo(224, ("projection",), Words())) is None
    assert list(callback.levels) == ["08", "12", "18", "26", "38"]
    stimuli = list(callback.stimuli())
    assert len(stimuli) == 6 * 6
    assert stimuli[-1].load().shape == (224, 224, 3)

    def decide(name: str) -> int:
        if "/38/" in name:  # the dog house alone is still right
            return 0 if "2.png" not in name else 2
        return 2 if "polar" in name else int("car" in name)

    found = answered(callback, decide)
    assert found["accuracy_clean"].value == 1
    assert found["accuracy_38"].value == pytest.approx(1 / 6)
    callback.adapt(ModelInfo(32, ("projection",), Words()))
    assert list(callback.levels) == ["04", "06", "08", "09", "10"]
    assert list(callback.stimuli())[-1].load().shape == (32, 32, 3)


def test_clean_images_are_shared_by_both_benchmarks(photographs: Path) -> None:
    first = Folder(root=str(photographs))
    second = noise_folder.Folder(root=str(photographs), name="folder")
    second.adapt(ModelInfo(32, ("projection",), Words()))
    clean = {stimulus.id: stimulus.part for stimulus in first.stimuli()}
    assert clean.items() < {stimulus.id: stimulus.part for stimulus in second.stimuli()}.items()


def test_imagenets_folders_have_its_names() -> None:
    names = imagenet_names()
    assert len(names) == 1000
    assert (names["n01440764"], names["n02123045"], names["n15075141"]) == ("tench", "tabby cat", "toilet paper")
    assert len(templates_of("imagenet", "zero_shot/folder")) == 80
    assert templates_of("imagenet", "zero_shot/folder")[0] == "a bad photo of a {}."
    assert len(templates_of("imagenet7", "zero_shot/folder")) == 7


def test_imagenet_in_miniature(tmp_path: Path) -> None:
    for number in ("n01440764", "n01443537", "n02123045"):
        folder = tmp_path / "val" / number
        folder.mkdir(parents=True)
        Image.fromarray(random_image(number, 50, 40)).save(folder / "ILSVRC2012_val_00000293.JPEG")
    callback = Folder(root=str(tmp_path / "val"))
    assert callback.prompts()["n01440764"][0] == "a bad photo of a tench."
    assert len(callback.prompts()["n01440764"]) == 80
    own = Folder(root=str(tmp_path / "val"), names={"n01440764": "fish"})
    assert own.prompts()["n01440764"][0] == "a bad photo of a fish."


def test_a_csv_names_images_and_classes(photographs: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("image,kind,other\nval/car/1.png,10,a\nval/car/2.png,9,b\nval/polar_bear/b.jpg,9,c\n")
    callback = Folder(
        root=str(photographs.parent), csv=str(table), class_field="kind", names={"9": "bear"}, templates="names"
    )
    assert dict(callback.prompts()) == {"9": ("bear",), "10": ("10",)}
    assert callback.images.labels.tolist() == [1, 0, 0]
    assert lines(lambda: Folder(root=str(photographs.parent), csv=str(table))) == (
        f"zero_shot/folder: {table} has no column class; columns found: image, kind, other; class_field names that of "
        "the class",
    )
    assert lines(lambda: Folder(csv=str(table), image_field="path", class_field="label")) == (
        f"zero_shot/folder: {table} has no column path, label; columns found: image, kind, other; image_field and "
        "class_field name those of the image and the class",
    )
    assert lines(lambda: Folder(csv=str(table), class_field="image")) == (
        f"zero_shot/folder: class_field and image_field both name the column image; give two columns of {table}",
    )
    renamed = tmp_path / "renamed.csv"
    renamed.write_text(table.read_text().replace("image", "path"))
    again = Folder(root=str(photographs.parent), csv=str(renamed), image_field="path", class_field="kind")
    assert again.images.labels.tolist() == [1, 0, 0]
    table.write_text("image,class\nval/car/1.png,a\nval/car/3.png,b\n")
    message = lines(lambda: Folder(root=str(photographs.parent), csv=str(table)))
    assert message[0].startswith(f"zero_shot/folder: {table}, line 3: [Errno 2] No such file or directory")
    table.write_text("image,class\nval/car/1.png,a\nval/car/1.png,b\n")
    assert lines(lambda: Folder(root=str(photographs.parent), csv=str(table))) == (
        f"zero_shot/folder: {table}: val/car/1.png is there twice; give each image once",
    )


def packed(path: Path, samples: dict[str, dict[str, bytes]]) -> None:
    with tarfile.open(path, "w") as tar:
        for key, parts in samples.items():
            for extension, data in parts.items():
                info = tarfile.TarInfo(f"{key}.{extension}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def png(name: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(random_image(name, 20, 20)).save(buffer, "PNG")
    return buffer.getvalue()


def test_shards_with_a_field_and_with_cls_members(tmp_path: Path) -> None:
    rows = [(f"{n:05d}", png(str(n)), n % 3) for n in range(6)]
    packed(
        tmp_path / "0.tar",
        {key: {"png": image, "json": json.dumps({"label": label, "x": None}).encode()} for key, image, label in rows},
    )
    callback = Folder(shards=str(tmp_path / "0.tar"), class_field="label", names=["cat", "dog", "bird"])
    assert callback.images.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert list(callback.texts.values()) == ["cat", "dog", "bird"]
    assert np.array_equal(next(iter(callback.stimuli())).load(), random_image("0", 20, 20))
    packed(tmp_path / "1.tar", {key: {"cls": f"{label}\n".encode(), "png": image} for key, image, label in rows})
    by_member = Folder(shards=str(tmp_path / "1.tar"), class_field="cls")
    assert by_member.images.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert lines(lambda: Folder(shards=str(tmp_path / "0.tar"))) == (
        f"zero_shot/folder: {tmp_path / '0.tar'}: 00000 (json, png) has no field class in a json (label, x); "
        "class_field names that of the label",
    )
    assert lines(lambda: Folder(shards=str(tmp_path / "2.tar")))[0].startswith("zero_shot/folder: ")


def test_a_key_that_comes_again_is_another_image(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for label in ("cat", "dog"):
            for name, data in (("a.png", png(label)), ("a.cls", label.encode())):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    callback = Folder(shards=str(tmp_path / "0.tar"), class_field="cls")
    assert callback.images.labels.tolist() == [0, 1]
    for image, label in zip(callback.stimuli(), ("cat", "dog"), strict=True):
        assert np.array_equal(image.load(), random_image(label, 20, 20))


def test_members_that_cannot_be_read_by_position_are_named(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        link = tarfile.TarInfo("a.png")
        link.type, link.linkname = tarfile.LNKTYPE, "absent.png"
        tar.addfile(link)
        label = tarfile.TarInfo("a.cls")
        label.size = 3
        tar.addfile(label, io.BytesIO(b"cat"))
    assert lines(lambda: Folder(shards=str(tmp_path / "0.tar"), class_field="cls")) == (
        f"zero_shot/folder: {tmp_path / '0.tar'} cannot be read: a: hard link to nothing in the tar",
    )
    packed(tmp_path / "1.tar", {"a": {"png": png("a"), "txt": b"x" * (MOST_TEXT_BYTES + 1)}})
    assert lines(lambda: Folder(shards=str(tmp_path / "1.tar"), class_field="txt")) == (
        f"zero_shot/folder: {tmp_path / '1.tar'} cannot be read: a: a text of 1,048,577 bytes, at most 1,048,576 are "
        "read",
    )


def test_real_shards_of_cifar10(shared_data: Path) -> None:
    callback = Folder(shards=str(shared_data / "cifar10" / "test" / "*.tar"), class_field="class_name")
    assert np.bincount(callback.images.labels).tolist() == [200] * 10
    assert list(callback.texts)[:3] == ["airplane", "automobile", "bird"]
    assert next(iter(callback.stimuli())).load().shape == (32, 32, 3)


@pytest.mark.parametrize("benchmark", ["folder", "folder_noise"])
@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("{car: automobile}", {"car": "automobile"}),
        ("[cat, dog]", {"0": "cat", "1": "dog"}),
        ("null", {}),
    ],
)
def test_names_can_be_typed_by_label_or_as_a_list(benchmark: str, typed: str, names: dict[str, str]) -> None:
    config = load([f"callbacks=[{benchmark}]", f"callbacks.{benchmark}.names={typed}"])
    assert names_from(config.callbacks[benchmark].arguments["names"]) == names


def test_labels_that_are_numbers_are_texts() -> None:
    given: dict[Any, str] = {0: "cat", "1": "dog"}  # from Python, or a yaml
    assert names_from(given) == {"0": "cat", "1": "dog"}


def test_messages(photographs: Path, tmp_path: Path) -> None:
    one_of = ("zero_shot/folder: give root=… (a folder with a sub-folder per class), csv=… or shards=…, one of them",)
    assert lines(lambda: Folder()) == one_of
    assert lines(lambda: Folder(root="a", shards="b")) == one_of
    assert lines(lambda: Folder(root=str(tmp_path / "no"))) == (
        f"zero_shot/folder: no such folder: {tmp_path / 'no'}; give a folder with a sub-folder of images per class",
    )
    assert lines(lambda: Folder(root=str(photographs / "car")))[0].startswith(
        f"zero_shot/folder: {photographs / 'car'} holds no sub-folder with images (.jpg, "
    )
    assert lines(lambda: Folder(root=str(photographs), names={"cow": "a cow"})) == (
        "zero_shot/folder: names: no class cow; classes: Dog house, car, polar_bear",
    )
    assert lines(lambda: Folder(root=str(photographs), templates="a photo")) == (
        "zero_shot/folder: templates: 'a photo' has no {} for the class; give one of imagenet, imagenet7, cifar, "
        "plain, names, or texts with one {} each",
    )


def test_classes_that_differ_in_case_alone_have_no_table(tmp_path: Path) -> None:
    for name in ("Cat", "cat", "dog"):
        (tmp_path / name).mkdir()
        Image.fromarray(random_image(name, 9, 9)).save(tmp_path / name / "a.png")
    assert Folder(root=str(tmp_path)).scores[0].by is None


def test_imagenet_c_replaces_what_is_changed_here(photographs: Path, tmp_path: Path) -> None:
    clean = sorted(
        p.relative_to(photographs) for p in photographs.rglob("*.*") if p.is_file() and p.suffix not in (".txt", ".md")
    )
    shown = [p for p in clean if not any(part.startswith(".") for part in p.parts)]
    for severity in "12345":
        for path in shown:
            target = tmp_path / "fog" / severity / path
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (int(severity), 0, 0)).save(target, "PNG")
    callback = noise_folder.Folder(root=str(photographs), c_files=str(tmp_path), corruption="fog", name="mine")
    assert callback.adapt(ModelInfo(224, ("projection",), Words())) is None
    stimuli = list(callback.stimuli())
    assert len(stimuli) == 6 * 6
    assert stimuli[-1].load()[0, 0].tolist() == [5, 0, 0]
    assert stimuli[-1].view is None  # cut as the clean ones are
    assert [s.name for s in callback.scores if s.role == "headline"] == ["corrected_drop_5"]
    (tmp_path / "fog" / "3" / shown[0]).unlink()
    assert lines(lambda: noise_folder.Folder(root=str(photographs), c_files=str(tmp_path), corruption="fog")) == (
        f"noise/folder: c_files: no such file {tmp_path / 'fog' / '3' / shown[0]}; expected one for each image in "
        f"{photographs}",
    )
    assert lines(lambda: noise_folder.Folder(shards="x", c_files=str(tmp_path), corruption="fog"))[0].startswith(
        "noise/folder: no such shard: "
    )


def test_the_sanity_line_belongs_to_imagenets_classes(tmp_path: Path) -> None:
    Image.fromarray(random_image("a", 9, 9)).save(tmp_path / "image.png")
    root = tmp_path / "val"
    for number in imagenet_names():
        (root / number).mkdir(parents=True)
        (root / number / "a.png").hardlink_to(tmp_path / "image.png")
    callback = Folder(root=str(root))
    callback.adapt(ModelInfo(32, ("projection",), Words()))
    assert (callback.scores[0].context, callback.scores[0].context_source) == (
        imagenet_by_samples.context(),
        imagenet_by_samples.SOURCE,
    )
    shutil.rmtree(root / "n01440764")
    callback = Folder(root=str(root))
    callback.adapt(ModelInfo(32, ("projection",), Words()))
    assert callback.scores[0].context == {}
