# SPDX-License-Identifier: Apache-2.0
"""CIFAR's archives and Tiny ImageNet's folders as training data, with class names as captions."""

from __future__ import annotations

import errno
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cifar_archive import write_cifar
from tiny_imagenet_tree import LABELS, write_tiny_imagenet

from clip_align.config import DataConfig
from clip_align.data.decode import decode
from clip_align.data.indexed.archive_shards import SHARD_IMAGES
from clip_align.data.sources.cifar10 import Cifar10Data
from clip_align.data.sources.cifar100 import Cifar100Data
from clip_align.data.sources.tiny_imagenet import TinyImageNetData
from clip_align.data.training_data import TrainingData
from clip_align.errors import UserError
from clip_align.open_clip_prompts import CIFAR_TEMPLATES
from clip_align.perception.cifar import CIFAR10, CIFAR100, LAYOUTS
from clip_align.settings.load_config import load

NAMES = [f"kind_{n}" for n in range(100)]


def pixels(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def archive(root: Path, layout: Any = CIFAR100, count: int = 40, **more: Any) -> tuple[Any, list[int]]:
    """An archive with training images other than its test images; the training images and their labels."""
    images, labels = pixels(count, 1), [(7 * n) % layout.classes for n in range(count)]
    write_cifar(root, layout, pixels(8, 2), [0] * 8, training=(images, labels), **more)
    return images, labels


def training(data: DataConfig, tmp_path: Path, seed: int = 0, tokenizer: Any = None) -> TrainingData:
    tokens = tokenizer or (lambda texts: torch.tensor([[len(text)] for text in texts]))
    return TrainingData(data, 32, tokens, seed, 0, 1, tmp_path / "cache")


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "tar"])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_training_images_with_their_classes_in_every_template(layout: Any, packed: bool, tmp_path: Path) -> None:
    images, labels = archive(tmp_path, layout, packed=packed)
    kind = Cifar10Data if layout is CIFAR10 else Cifar100Data
    samples = training(kind(root=str(tmp_path), subset=True, batch_size=4), tmp_path).set.reader
    found = {samples.key(n): n for n in range(40)}
    assert sorted(found) == [f"{layout.name}-{row:05d}" for row in range(40)]
    for key, number in found.items():
        row = int(key.rpartition("-")[2])
        assert np.array_equal(decode(samples.image(number)).permute(1, 2, 0).numpy(), images[row])
        name = f"kind {labels[row]}"
        assert samples.captions(number) == [template.replace("{}", name) for template in CIFAR_TEMPLATES]


def test_test_images_are_never_among_them(tmp_path: Path) -> None:
    archive(tmp_path)
    data = training(Cifar100Data(root=str(tmp_path), subset=True, batch_size=4), tmp_path)
    trained = {decode(data.set.reader.image(n)).numpy().tobytes() for n in range(data.samples or 0)}
    tested = {image.transpose(2, 0, 1).tobytes() for image in pixels(8, 2)}
    assert len(trained) == 40
    assert not trained & tested


def test_a_test_file_under_the_name_of_the_training_file_is_refused(tmp_path: Path) -> None:
    archive(tmp_path)
    folder = tmp_path / CIFAR100.folder
    (folder / "train").write_bytes((folder / "test").read_bytes())
    with pytest.raises(UserError) as error:
        training(Cifar100Data(root=str(tmp_path), subset=True), tmp_path).check()
    assert error.value.lines == (
        f"data.root: {folder}: train holds test images (testing batch 1 of 1), which are not trained on; get it again; "
        "get cifar-100-python.tar.gz again",
    )


def drawn(root: Path, tmp_path: Path, seed: int, epochs: int = 2) -> list[dict[str, str]]:
    """The caption that each sample has in each epoch."""
    texts: list[str] = []

    def tokenizer(given: list[str]) -> torch.Tensor:
        texts.extend(given)
        return torch.tensor([[len(texts) - len(given) + n] for n in range(len(given))])

    data = training(Cifar100Data(root=str(root), subset=True, batch_size=10, workers=0), tmp_path, seed, tokenizer)
    batches = iter(data.loader())
    found: list[dict[str, str]] = []
    for _ in range(epochs):
        parts = [next(batches) for _ in range(4)]
        found.append({k: texts[int(t)] for b in parts for k, t in zip(b["keys"], b["text"][:, 0], strict=True)})
    return found


def test_a_template_is_drawn_by_seed_epoch_and_sample(tmp_path: Path) -> None:
    archive(tmp_path)
    first, again, other = drawn(tmp_path, tmp_path, 0), drawn(tmp_path, tmp_path, 0), drawn(tmp_path, tmp_path, 1)
    assert first == again
    assert first[0] != first[1]
    assert first[0] != other[0]
    assert len({text.replace(text.split("kind")[1], "") for text in first[0].values()}) > 4  # not one template for all


def test_the_archive_is_written_to_the_cache_once_and_again_where_it_was_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(tmp_path, count=11)
    monkeypatch.setattr("clip_align.data.indexed.archive_shards.SHARD_IMAGES", 4)
    assert SHARD_IMAGES == 5_000
    data = Cifar100Data(root=str(tmp_path), subset=True, batch_size=2)
    first = training(data, tmp_path)
    assert first.check()
    (folder,) = (tmp_path / "cache" / "archives").iterdir()
    names = ["00000.tar", "00001.tar", "00002.tar", "archive.json"]
    assert [path.name for path in sorted(folder.iterdir())] == names
    written = (folder / "00001.tar").stat().st_mtime_ns
    assert training(data, tmp_path).check()
    assert (folder / "00001.tar").stat().st_mtime_ns == written
    (folder / "00001.tar").unlink()
    again = training(data, tmp_path)
    assert again.samples == 11
    assert again.fingerprint == first.fingerprint


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("clip_align.data.indexed.archive_shards.TarWriter.write", full)
    folder = tmp_path / "cache" / "archives"
    with pytest.raises(UserError) as error:
        training(Cifar100Data(root=str(tmp_path), subset=True), tmp_path).check()
    assert error.value.lines == (
        f"paths.cache: cannot write the shards of an archive to {folder}: the disk is full (No space left on device); "
        "make room or choose paths.cache=<folder>",
    )
    assert list(folder.iterdir()) == []


def test_the_fingerprint_follows_the_templates(tmp_path: Path) -> None:
    archive(tmp_path)
    chosen: list[dict[str, Any]] = [{}, {"templates": "plain"}, {"class_names": "underscores"}]
    made = [training(Cifar100Data(root=str(tmp_path), subset=True, **one), tmp_path).fingerprint for one in chosen]
    assert len(set(made)) == 3


def test_the_original_alone_needs_no_subset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive(tmp_path)
    with pytest.raises(UserError) as error:
        training(Cifar100Data(root=str(tmp_path)), tmp_path).check()
    assert error.value.lines == (
        f"data.subset: {tmp_path / 'cifar-100-python'}: its training images are not the original ones (their checksums "
        "differ); type data.subset=true for a subset or another copy",
    )


@pytest.mark.parametrize("kind", [Cifar10Data, Cifar100Data])
def test_what_to_download_where_there_is_nothing(kind: Any, tmp_path: Path) -> None:
    write_cifar(tmp_path, kind(root="x").layout, pixels(2), [0, 1])  # test images alone
    (problem,) = kind(root=str(tmp_path)).absent()
    assert problem.missing
    assert str(problem).startswith(f"data.root: {tmp_path} holds no training images: neither cifar-10")
    assert "-python.tar.gz (0.2 GB) into it, or name its folder: data.root=…" in str(problem)


def test_a_cut_archive_is_one_line(tmp_path: Path) -> None:
    archive(tmp_path)
    path = tmp_path / CIFAR100.folder / "train"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError) as error:
        training(Cifar100Data(root=str(tmp_path), subset=True), tmp_path).check()
    assert error.value.lines == (
        f"data.root: {path.parent}: train cannot be read: pickle data was truncated; get cifar-100-python.tar.gz again",
    )


def test_tiny_imagenet_with_awkward_files(tmp_path: Path) -> None:
    folder = write_tiny_imagenet(tmp_path)
    first = folder / "train" / LABELS[0] / "images"
    (first / f"._{LABELS[0]}_0.JPEG").write_bytes(b"macOS")
    (first / "Thumbs.db").write_bytes(b"Windows")
    (first / f"{LABELS[0]}_3.JPEG").rename(first / f"{LABELS[0]}_3.jpeg")
    (first / f"{LABELS[0]}_9.JPEG").mkdir()  # not a file
    (folder / "train" / ".ipynb_checkpoints").mkdir()
    (folder / "train" / "n99999999" / "images").mkdir(parents=True)
    data = training(TinyImageNetData(root=str(tmp_path), batch_size=2), tmp_path)
    assert data.check() == (
        "data: 1 samples left out: 1 no image (first: train/n01443537/images/n01443537_9.JPEG)",
        "data: no images in 1 classes: n99999999",
        "data: 3 classes, 13 training images; all of Tiny ImageNet are 200 and 100,000",
        "data: 12 samples in a folder; an epoch is 6 batches of 2",
    )
    samples = data.set.reader
    captions = {samples.key(n): samples.captions(n) for n in range(12)}
    assert all(key.startswith("train/") for key in captions)
    assert {texts[0] for texts in captions.values()} == {
        "a photo of a goldfish.", "a photo of a fire salamander.", "a photo of a Egyptian Mau.",
    }  # fmt: skip
    assert all(len(texts) == 18 for texts in captions.values())
    (batch,) = [next(iter(data.loader()))]
    assert batch["image"].shape == (2, 3, 32, 32)
    assert batch["skipped"] == []


def test_tiny_imagenet_names_from_words_txt(tmp_path: Path) -> None:
    write_tiny_imagenet(tmp_path)
    data = TinyImageNetData(root=str(tmp_path / "tiny-imagenet-200"), class_names="words", templates="names")
    samples = training(data, tmp_path).set.reader
    assert Counter(samples.captions(n)[0] for n in range(12)) == {
        "goldfish": 4, "European fire salamander": 4, "Egyptian cat": 4,
    }  # fmt: skip


def test_tiny_imagenet_that_is_not_there_or_has_no_name(tmp_path: Path) -> None:
    (problem,) = TinyImageNetData(root=str(tmp_path)).absent()
    assert str(problem) == (
        f"data.root: {tmp_path} is not Tiny ImageNet: neither it nor tiny-imagenet-200/ below it holds "
        "train/<class>/images; download http://cs231n.stanford.edu/tiny-imagenet-200.zip (0.25 GB) into it and unzip "
        "it, or name its folder: data.root=…"
    )
    folder = write_tiny_imagenet(tmp_path)
    (folder / "words.txt").write_text("n01443537\tgoldfish\n")
    with pytest.raises(UserError) as error:
        training(TinyImageNetData(root=str(tmp_path), class_names="words"), tmp_path).check()
    assert error.value.lines == (
        f"data.root: {folder / 'words.txt'} has no names of n01629819 and n02124075",
    ) or error.value.lines == (f"data.root: {folder / 'words.txt'} has no names of n01629819, n02124075",)


@pytest.mark.parametrize("kind", ["cifar10", "cifar100", "tiny_imagenet"])
def test_the_official_test_images_are_the_accuracy_panel(kind: str) -> None:
    config = load([f"data={kind}", "paths.data=/sets"])
    assert config.data.kind == kind
    assert config.data.root == f"/sets/{kind}"  # type: ignore[attr-defined]
    assert config.callbacks[kind].arguments["root"] == f"/sets/{kind}"
    assert config.callbacks[kind].arguments["templates"] == ["cifar"]
    assert {"tid2013_remade", "contrast_sensitivity"} < set(config.callbacks)


def test_wrong_templates_are_one_line() -> None:
    with pytest.raises(UserError) as error:
        load(["data=cifar100", "data.templates=[a photo]"])
    assert error.value.lines == (
        "data.templates: 'a photo' has no {} for the class; give one of imagenet, imagenet7, cifar, plain, names, or "
        "texts with one {} each",
    )
