# SPDX-License-Identifier: Apache-2.0
"""Five benchmarks of an outside author: the shipped battery on each, and an event with the right values."""

from __future__ import annotations

import contextlib
import pickle
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from clip_align.callbacks.build import build_callbacks
from clip_align.callbacks.toolkit import Items, PerceptualCallback, UserError, observed, psnr, srocc
from clip_align.config import CallbackConfig
from clip_align.testing import battery
from clip_align.testing.stubs import StubModel, Words, evaluated, evaluated_model, evaluator

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # as if it were installed, for the processes that make images too

from outside_benchmarks import cue_conflict, tid2013, two_alternatives  # noqa: E402
from outside_benchmarks.cifar100 import CIFAR100, image  # noqa: E402
from outside_benchmarks.cifar100_noise import CIFAR100Noise, noisy  # noqa: E402
from outside_benchmarks.contrast_sensitivity import GABORS, ContrastSensitivity  # noqa: E402

FEW = ("bear", "boat", "car", "dog")  # classes of the cue-conflict images that the tests look at


class Large(StubModel):
    """Looks at its input as it is: a luminance plane. Of the given size."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.visual.image_size = size

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


def configured(name: str, **arguments: Any) -> PerceptualCallback:
    """A callback as the yaml of its name configures it."""
    text = (HERE / "conf" / "callbacks" / f"{name}.yaml").read_text()
    ((key, options),) = yaml.safe_load(text).items()
    target = options.pop("_target_")
    options = {**options, "every_n_steps": 5, **arguments}
    (callback,) = build_callbacks({key: CallbackConfig(target, options)})
    return callback


@pytest.fixture(scope="module")
def cues(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cue-conflict images of four classes."""
    source = shared_data / "cue_conflict" / "stimuli" / "style-transfer-preprocessed-512"
    folder = tmp_path_factory.mktemp("cues")
    for kind in FEW:
        (folder / kind).mkdir()
        for path in (source / kind).iterdir():
            if cue_conflict.STEM.fullmatch(path.stem)[3] in FEW:  # type: ignore[index]
                shutil.copy(path, folder / kind)
    return folder


@pytest.fixture(scope="module")
def tid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four references, three types, five levels, as the database lies on disk: mixed case, CRLF, mixed order."""
    folder = tmp_path_factory.mktemp("tid2013")
    rng = np.random.default_rng(0)
    for place in ("reference_images", "distorted_images"):
        (folder / place).mkdir()
    lines = []
    for r in (1, 2, 3, 25):
        clean = rng.integers(40, 216, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(clean).save(folder / "reference_images" / ("i25.bmp" if r == 25 else f"I{r:02d}.BMP"))
        for kind in (1, 8, 10):
            for level in range(1, 6):
                noise = rng.normal(0, 3 * level + 0.3 * kind, clean.shape)
                name = f"{'I' if level == 1 else 'i'}{r:02d}_{kind:02d}_{level}.bmp"
                noisy = np.clip(clean + noise, 0, 255).astype(np.uint8)
                Image.fromarray(noisy).save(folder / "distorted_images" / name)
                lines.append(f"{7 - level - 0.1 * kind + rng.normal(0, 0.1):.5f} {name.lower()}")
    (folder / "mos_with_names.txt").write_text("\r\n".join([*lines[::-1], ""]), newline="")
    return folder


@pytest.fixture(scope="module")
def choices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two types of unequal number: p0 is always the noisier one, and most people prefer p1."""
    folder = tmp_path_factory.mktemp("2afc")
    rng = np.random.default_rng(0)
    for kind, numbers, people in (("cnn", (0, 1, 4), (1.0, 0.8, 0.6)), ("traditional", range(5), (1.0,) * 4 + (0.0,))):
        for name in two_alternatives.FOLDERS:
            (folder / kind / name).mkdir(parents=True)
        for number, p in zip(numbers, people, strict=True):
            clean = rng.integers(60, 196, (64, 64, 3), dtype=np.uint8)
            for name, sigma in (("ref", 0), ("p0", 30), ("p1", 3)):
                image = np.clip(clean + rng.normal(0, sigma, clean.shape), 0, 255).astype(np.uint8)
                Image.fromarray(image).save(folder / kind / name / f"{number:06d}.png")
            np.save(folder / kind / "judge" / f"{number:06d}.npy", np.array([p]))
    return folder


@pytest.fixture(scope="module")
def cifar(shared_data: Path) -> Path:
    return shared_data / "cifar100"


Make = Callable[[], PerceptualCallback]


@pytest.fixture(params=["cue_conflict", "tid2013", "contrast_sensitivity", "two_alternatives", "cifar100", "noise"])
def make(request: pytest.FixtureRequest) -> Make:
    data: Callable[[str], str] = lambda name: str(request.getfixturevalue(name))  # noqa: E731
    makers: dict[str, Make] = {
        "cue_conflict": lambda: configured("cue_conflict", root=data("cues"), images=80),
        "tid2013": lambda: configured("tid2013", root=data("tid")),
        "contrast_sensitivity": lambda: configured("contrast_sensitivity", degrees=0.4),
        "two_alternatives": lambda: configured("two_alternatives", root=data("choices")),
        "cifar100": lambda: configured("cifar100", root=data("cifar"), images=60),
        "noise": lambda: configured("cifar100_noise", root=data("cifar"), images=60),
    }
    makers[request.param]()  # skips without its data
    return makers[request.param]


@pytest.mark.parametrize("check", battery.CHECKS, ids=lambda check: check.__name__)
def test_the_battery_passes(check: battery.Check, make: Make, tmp_path: Path) -> None:
    assert battery.adapted(make).null_reason is None  # else its items would not be looked at
    check(make, tmp_path)


# --- cue_conflict


def test_cue_conflict_chooses_among_the_words_that_the_model_knows(cues: Path, tmp_path: Path) -> None:
    callback = cue_conflict.CueConflict(str(cues), images=80)
    fields = evaluated([callback], evaluated_model(tokenizer=Words(unknown=["boat", "photo", "oven"])), tmp_path)
    assert len(callback.stems) == 45  # 5 of each of the 9 pairs of bear, car, dog
    score = next(score for score in callback.scores if score.name == "shape_hits")
    assert score.chance == 1 / 14
    assert "14 of 16 classes" in score.unit
    assert fields["texture/cue_conflict/shape_hits"] is not None
    assert "texture/cue_conflict/shape_hits_shape_class_bear" in fields
    assert "texture/cue_conflict/shape_hits_shape_class_boat" not in fields


def test_cue_conflict_counts_resnet50s_decisions(shared_data: Path) -> None:
    """The published decisions of ResNet-50: S 162, T 572; an interval over exemplars holds the bias."""
    root = shared_data / "cue_conflict"
    callback = cue_conflict.CueConflict(str(root))
    assert battery.adapted(lambda: callback).null_reason is None
    folder = root / "raw-data" / "style-transfer-512-nomask-experiment-trained-CNNs"
    path = next(folder.glob("*_resnet50_session*.csv"))
    rows = [line.strip().split(",") for line in path.read_text().splitlines()[1:]]
    reported = {row[-1].rpartition("_")[2].partition(".")[0]: cue_conflict.NAMES.index(row[4]) for row in rows}
    shape, texture = callback.labels.T
    items = Items(
        {"choice": np.array([reported[stem] for stem in callback.stems], np.int8)},
        shape,
        callback.stems,
        dict(zip(cue_conflict.EXEMPLARS, np.array(callback.exemplars).T, strict=True)),
        {"shape": shape, "texture": texture},
    )
    bias, corrected, shape_hits, texture_hits, same = (score.estimate(items) for score in callback.scores)
    assert bias.value == 572 / (162 + 572)
    assert (shape_hits.value, texture_hits.value) == (162 / 1200, 572 / 1200)
    assert same.value == 0.775
    assert bias.low is not None
    assert bias.high is not None
    assert 0.192 < 1 - bias.value < 0.251
    assert bias.high - bias.low > 0.251 - 0.192  # wider than over images, which share exemplars
    assert corrected.value == pytest.approx((572 - 466 / 14) / (162 + 572 - 2 * 466 / 14))
    assert corrected.low is not None
    assert corrected.high is not None
    assert corrected.high - corrected.low > bias.high - bias.low  # the number of guesses is estimated too


def test_cue_conflict_refuses_a_subset_that_was_not_requested(cues: Path) -> None:
    with pytest.raises(UserError) as refused:
        cue_conflict.CueConflict(str(cues))
    assert str(refused.value) == (
        f"texture/cue_conflict: 80 images such as bear/bear1-airplane3.png in {cues}, not 1280; give the folder of the "
        "16 class folders, and images=… for a subset"
    )


# --- tid2013


def test_tid2013_joins_by_name_and_tables_by_type(tid: Path, tmp_path: Path) -> None:
    callback = tid2013.TID2013(str(tid))
    fields = evaluated([callback], evaluated_model(), tmp_path)
    assert len(callback.mos) == 60
    for name in ("srocc", "srocc_type_gaussian_noise", "srocc_type_blur", "srocc_type_jpeg", "within_level_srocc"):
        assert fields[f"human/tid2013/{name}"] is not None, name
    one, two = (fields[f"human/tid2013/{name}/low"] for name in ("srocc", "srocc_two_way"))
    assert one is not None
    assert two is not None
    assert callback.scores[0].baselines == {"level alone": srocc(-callback.level, list(callback.mos.values()))}


def test_tid2013_can_be_evaluated_with_psnr(tid: Path) -> None:
    callback = tid2013.TID2013(str(tid))
    result = observed(callback, lambda a, b: -psnr(a, b))
    assert result.estimates["srocc"].value is not None
    assert result.estimates["srocc"].value > 0.9  # of noise whose strength the opinions follow
    assert result.items is not None
    assert result.items.ids[0] == "i25_10_5.bmp"


def test_tid2013_names_what_is_missing(tid: Path, tmp_path: Path) -> None:
    shutil.copytree(tid, tmp_path / "copy")
    (tmp_path / "copy" / "distorted_images" / "i02_08_3.bmp").unlink()
    with pytest.raises(UserError) as refused:
        tid2013.TID2013(str(tmp_path / "copy"))
    assert str(refused.value) == (
        f"human/tid2013: {tmp_path / 'copy'}: 0 names given twice, 0 of another form than i01_01_1.bmp, 1 images "
        "missing: i02_08_3.bmp; unpack the database again"
    )


def test_wrong_arguments_are_refused_by_their_annotations(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        tid2013.TID2013(str(tmp_path), distance="eucledian")  # type: ignore[arg-type]
    assert refused.value.lines == (
        f"TID2013.root: no mos_with_names.txt in {tmp_path}; give the folder that holds it",
        "TID2013.distance: 'eucledian' is not one of normalised_euclidean, euclidean, cosine; did you mean euclidean?",
    )


# --- contrast_sensitivity


@pytest.mark.parametrize(("size", "n", "expected"), [(224, 14, 0.4873), (128, 13, 0.5906), (64, 10, 0.7531)])
def test_pixels_have_the_published_contrast_sensitivity(size: int, n: int, expected: float, tmp_path: Path) -> None:
    callback = ContrastSensitivity()
    fields = evaluated([callback], evaluated_model_of(size), tmp_path)
    assert len(callback.rows) == n
    assert fields["human/contrast_sensitivity/srocc"] == pytest.approx(expected, abs=5e-5)
    assert callback.scores[0].baselines["pixel RMSE"] == pytest.approx(expected, abs=5e-5)


def evaluated_model_of(size: int) -> Any:
    return replace(evaluated_model(Large(size)), image_size=size)


def test_contrast_sensitivity_is_null_for_a_model_with_too_few_pixels(tmp_path: Path) -> None:
    callback = ContrastSensitivity()
    fields = evaluated([callback], evaluated_model(), tmp_path)
    reason = "4 of 14 Gabors are below 3.75 cycles/degree, 8 are needed"
    assert fields["human/contrast_sensitivity/srocc"] is None
    assert fields["human/contrast_sensitivity/srocc/reason"] == reason


def test_contrast_sensitivity_of_people_is_one() -> None:
    items = Items(GABORS[:, 2], GABORS[:, 2])
    assert srocc(items.model["value"], items.human) == 1


# --- two_alternatives


def test_pixels_choose_as_the_majority(choices: Path, tmp_path: Path) -> None:
    callback = two_alternatives.TwoAlternatives(str(choices), distance="euclidean")
    fields = evaluated([callback], evaluated_model_of(64), tmp_path)
    key = "similarity/two_alternatives/agreement"
    assert fields[f"{key}_type_cnn"] == pytest.approx(0.8)
    assert fields[f"{key}_type_traditional"] == pytest.approx(0.8)
    assert fields[key] == pytest.approx(0.8)
    assert fields[f"{key}/low"] < 0.8 < fields[f"{key}/high"]
    ceilings = callback.scores[0].ceilings
    assert ceilings["people's majority"] == pytest.approx(0.9)
    assert ceilings["one more person"] == pytest.approx((1 + 0.68 + 0.52 + 3) / 6)


def test_a_tie_is_half_a_choice(choices: Path) -> None:
    callback = two_alternatives.TwoAlternatives(str(choices))
    items = Items({"p1_nearer_by": [0, 0, 1.0, -1.0]}, [1, 0, 0.8, 0.8], conditions={"type": np.array(["a"] * 4)})
    assert callback.scores[0].estimate(items).value == pytest.approx((0.5 + 0.5 + 0.8 + 0.2) / 4)


# --- cifar100


def test_two_benchmarks_of_cifar100_share_their_images_in_one_run(cifar: Path, tmp_path: Path) -> None:
    both = [
        configured("cifar100", root=str(cifar), images=60),
        configured("cifar100_noise", root=str(cifar), images=60),
    ]
    unknown = Words(unknown=["apple", "aquarium", "photo"])
    made, record = evaluator(both, evaluated_model(tokenizer=unknown), tmp_path)
    assert list(made.benchmarks) == ["zero_shot/cifar100", "noise/cifar100"]
    made.evaluate(0, list(made.benchmarks), contextlib.nullcontext)
    fields = record.scores()
    assert fields["zero_shot/cifar100/accuracy"] == fields["noise/cifar100/accuracy_clean"]
    assert fields["noise/cifar100/drop_10"] is not None
    for callback in both:
        assert isinstance(callback, CIFAR100)
        assert len(callback.known) == 98
        assert callback.scores[0].chance == 1 / 98
        assert "98 of 100 classes" in callback.scores[0].unit
        names = {callback.names[label] for label in callback.labels[callback.rows]}
        assert not names & {"apple", "aquarium_fish"}
    kept = sorted(path.parent.name for path in tmp_path.rglob("*.npy") if not path.name.endswith(".ids.npy"))
    assert kept == ["cifar100-noise", "cifar100-test"]  # the clean images once


def test_cifar100s_noise_is_noise_of_its_sigma(cifar: Path) -> None:
    folder = cifar / "cifar-100-python"
    clean, with_noise = image(folder, 3).astype(float), noisy(folder, 3, 0.04).astype(float)
    inner = (clean > 60) & (clean < 195)
    assert np.std((with_noise - clean)[inner]) == pytest.approx(0.04 * 255, rel=0.1)
    with (folder / "test").open("rb") as file:
        first = pickle.load(file, encoding="latin1")["data"][3][:32]
    assert (image(folder, 3)[0, :, 0] == first).all()


def test_cifar100_without_enough_words_is_null(cifar: Path, tmp_path: Path) -> None:
    callback = CIFAR100Noise(root=str(cifar), images=60, name="cifar100")
    words = {word for name in callback.names for word in name.split("_")}
    fields = evaluated([callback], evaluated_model(tokenizer=Words(unknown=sorted(words))), tmp_path)
    assert fields["noise/cifar100/corrected_drop_10"] is None
    assert "of its 100 classes none have words" in fields["noise/cifar100/corrected_drop_10/reason"]
