# SPDX-License-Identifier: Apache-2.0
"""Noise on CIFAR-10 and CIFAR-100: known answers on real images, hand-counted scores, options, messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cifar_archive import write_cifar

from clip_align.callbacks.base import Items
from clip_align.callbacks.common.labelled_images import NoisyImages
from clip_align.callbacks.common.prompt_templates import CIFAR_TEMPLATES
from clip_align.callbacks.noise.cifar10 import CIFAR10
from clip_align.callbacks.noise.cifar100 import CIFAR100
from clip_align.errors import UserError
from clip_align.evaluation.features import Features
from clip_align.evaluation.model_info import ModelInfo
from clip_align.metrics.estimate import Estimate
from clip_align.perception import cifar
from clip_align.perception.psnr import psnr
from clip_align.testing.stubs import Words

SIGMAS = ("04", "06", "08", "09", "10")
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
Decide = Callable[[str, int], int]


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CIFAR-10 in miniature: 100 test images, ten of each class."""
    folder = tmp_path_factory.mktemp("cifar10")
    images = np.random.default_rng(0).integers(0, 256, (100, 32, 32, 3), dtype=np.uint8)
    write_cifar(folder, cifar.CIFAR10, images, [i % 10 for i in range(100)], NAMES)
    return folder


def model(size: int = 32, unknown: tuple[str, ...] = ()) -> ModelInfo:
    return ModelInfo(size, ("projection",), Words(unknown))


def items_of(callback: NoisyImages, decide: Decide) -> Items:
    """Items of a model that answers ``decide(level, row)``."""
    ids = [stimulus.id for stimulus in callback.stimuli()]
    count = len(callback.rows())
    answers = [decide("clean" if k < count else SIGMAS[k // count - 1], k % count) for k in range(len(ids))]
    images = np.eye(10, dtype=np.float32)[answers][:, None]
    return callback.items(Features(images, {name: i for i, name in enumerate(ids)}, np.eye(10, dtype=np.float32)))


def scores_of(callback: NoisyImages, decide: Decide) -> dict[str, Estimate]:
    items = items_of(callback, decide)
    return {score.name: score.compute(items) for score in callback.scores}


def test_prompts_are_the_eighteen_of_clips_authors() -> None:
    assert len(set(CIFAR_TEMPLATES)) == 18
    assert CIFAR_TEMPLATES[:3] == ("a photo of a {}.", "a blurry photo of a {}.", "a black and white photo of a {}.")
    assert CIFAR_TEMPLATES[7:10] == ("a photo of a small {}.", "a photo of a big {}.", "a photo of the {}.")
    assert CIFAR_TEMPLATES[-1] == "a photo of the big {}."


def test_scores_are_counted_by_hand(ten: Path) -> None:
    callback = CIFAR10(root=str(ten), subset=True)

    def decide(level: str, row: int) -> int:
        right = row % 10
        return right if row < {"clean": 80, "04": 80, "10": 40}.get(level, 60) else (right + 1) % 10

    items = items_of(callback, decide)
    found = {score.name: score.compute(items) for score in callback.scores}
    assert found["accuracy_clean"].value == 0.8
    assert found["accuracy_10"].value == 0.4
    assert found["drop_04"].value == 0
    assert found["drop_10"].value == pytest.approx(0.4)
    assert found["relative_drop_10"].value == pytest.approx(0.5)
    assert found["corrected_drop_10"].value == pytest.approx(0.4 / 0.7)
    assert items.notes == {"relative_drop_limit": pytest.approx(1 - 1 / 8)}
    assert [s.name for s in callback.scores if s.role == "headline"] == ["corrected_drop_10"]
    shown = [s.name for s in callback.scores if s.role == "companion"]
    assert shown == ["accuracy_clean", "accuracy_10", "relative_drop_10"]
    assert callback.scores[0].chance == 1 / 10
    assert callback.scores[0].unit == "100 images, Wilson"


def test_a_perfect_model_loses_nothing_and_one_that_noise_blinds_all(ten: Path) -> None:
    callback = CIFAR10(root=str(ten), subset=True)
    perfect = scores_of(callback, lambda level, row: row % 10)
    assert perfect["accuracy_10"].value == 1
    assert perfect["corrected_drop_10"].value == 0
    # noisy images are put into one of the classes 0 and 1, whatever they show
    blinded = scores_of(callback, lambda level, row: row % 10 if level == "clean" else row // 10 % 2)
    assert blinded["accuracy_10"].value == 0.1
    assert blinded["corrected_drop_10"].value == pytest.approx(1)
    assert blinded["relative_drop_10"].value == pytest.approx(0.9)
    guessing = scores_of(callback, lambda level, row: row // 10 % 2)
    assert guessing["accuracy_clean"].value == 0.1
    assert guessing["corrected_drop_10"].reason == "accuracy without noise, .100, is not above chance (.1)"


def test_known_answers_of_the_noise_on_real_images(shared_data: Path) -> None:
    """PSNR and mean shift of 500 images of CIFAR-100 by truncation and by rounding, clipping included."""
    expected = {"04": 28.1, "06": 24.7, "08": 22.3, "09": 21.3, "10": 20.4}
    shift: dict[tuple[str, str], float] = {}
    for rounding in ("truncate", "round"):
        callback = CIFAR100(root=str(shared_data / "cifar100"), subset=True, images=500, rounding=rounding)
        images = {stimulus.id: stimulus.load() for stimulus in callback.stimuli()}
        clean = np.stack([images[name] for name in callback.images.ids])
        for name in SIGMAS:
            noisy = np.stack([images[callback.changed_id(row, name)] for row in range(500)])
            shift[rounding, name] = float(noisy.astype(float).mean() - clean.astype(float).mean())
            if rounding == "truncate":
                found = np.mean([psnr(a, b) for a, b in zip(clean, noisy, strict=True)])
                assert found == pytest.approx(expected[name], abs=0.1)
    assert shift["truncate", "04"] == pytest.approx(-0.58, abs=0.04)
    assert shift["truncate", "10"] == pytest.approx(-0.71, abs=0.08)
    assert shift["round", "04"] == pytest.approx(-0.10, abs=0.04)
    assert shift["round", "10"] == pytest.approx(-0.24, abs=0.08)


def test_the_real_classes_are_those_of_the_archive(shared_data: Path) -> None:
    callback = CIFAR100(root=str(shared_data / "cifar100"), subset=True)
    assert callback.key == "noise/cifar100"
    assert len(list(callback.stimuli())) == 6 * 2000
    assert callback.prompts()["aquarium_fish"][0] == "a photo of a aquarium fish."
    assert callback.scores[0].context == {}  # what others report is of all 10,000 images
    names = CIFAR100(root=str(shared_data / "cifar100"), subset=True, class_names="underscores")
    assert names.prompts()["aquarium_fish"][0] == "a photo of a aquarium_fish."


def test_noise_is_the_same_every_time_and_differs_between_images_and_levels(ten: Path) -> None:
    def images(**options: object) -> list[np.ndarray]:
        callback = CIFAR10(root=str(ten), subset=True, images=3, levels=[0.05, 0.1], **options)  # type: ignore[arg-type]
        return [stimulus.load() for stimulus in callback.stimuli()]

    first, again = images(), images()
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({image.tobytes() for image in first}) == 9
    uniform = images(corruption="uniform_noise")
    assert np.array_equal(uniform[0], first[0])
    assert not np.array_equal(uniform[3], first[3])


def test_levels_are_sorted_and_the_strongest_is_the_headline(ten: Path) -> None:
    callback = CIFAR10(root=str(ten), subset=True, levels=[0.2, 0.05])
    assert list(callback.levels) == ["05", "20"]
    assert [s.name for s in callback.scores if s.role == "headline"] == ["corrected_drop_20"]
    assert next(s.label for s in callback.scores if s.name == "accuracy_20") == "noisy, sigma .20"


def test_noise_at_the_models_resolution_is_added_after_enlarging(ten: Path) -> None:
    callback = CIFAR10(root=str(ten), subset=True, images=2, resolution="model", levels=[0.1])
    assert callback.adapt(model(size=224)) is None
    noisy = list(callback.stimuli())[-1]
    assert noisy.id.endswith("/gaussian_noise/10/224px")
    assert noisy.load().shape == (224, 224, 3)
    native = CIFAR10(root=str(ten), subset=True, images=2, levels=[0.1])
    assert list(native.stimuli())[-1].load().shape == (32, 32, 3)
    # the published levels follow the size at which noise is added
    assert callback.adapt(model(size=32)) is None
    default = CIFAR10(root=str(ten), subset=True, resolution="model")
    default.adapt(model(size=224))
    assert list(default.levels) == ["08", "12", "18", "26", "38"]
    default.adapt(model(size=32))
    assert tuple(default.levels) == SIGMAS


def test_benchmarks_with_other_options_name_other_stimuli(ten: Path) -> None:
    options: tuple[dict[str, str], ...] = (
        {},
        {"rounding": "round"},
        {"resolution": "model"},
        {"corruption": "uniform_noise"},
    )
    ids: list[str] = []
    for given in options:
        callback = CIFAR10(root=str(ten), subset=True, images=1, levels=[0.1], **given)  # type: ignore[arg-type]
        callback.adapt(model(size=64))
        ids.append(list(callback.stimuli())[1].id)
    assert len(set(ids)) == 4


def test_classes_without_words_are_left_out_with_their_images(ten: Path) -> None:
    callback = CIFAR10(root=str(ten), subset=True)
    assert callback.adapt(model(unknown=("frog.", "ship."))) is None
    assert len(callback.rows()) == 80
    assert callback.scores[0].chance == 1 / 8
    assert callback.scores[0].unit == "80 images, Wilson; 8 of 10 classes (the others have unknown words)"
    every = tuple(f"{name}." for name in NAMES)
    assert callback.adapt(model(unknown=every)) == (
        "of its 10 classes none have words that the tokenizer knows, at least 3 are needed; unknown: airplane., "
        "automobile., bird., cat., deer., …"
    )


def lines(call: Callable[[], object]) -> tuple[str, ...]:
    with pytest.raises(UserError) as caught:
        call()
    return tuple(caught.value.lines)


def test_messages(ten: Path, tmp_path: Path) -> None:
    content = cifar.read_cifar(ten / "cifar-10-batches-py", cifar.CIFAR10)
    archive = ten / "cifar-10-batches-py"
    assert lines(lambda: CIFAR10(root=str(ten))) == (
        f"noise/cifar10: {archive}: test_batch holds 100 images and is not the original (md5 {content.md5}, not "
        "40351d587109b95175f43aff81a1287e, or another batches.meta); give subset=true for a subset or another copy",
    )
    assert lines(lambda: CIFAR10(root=str(tmp_path))) == (
        f"noise/cifar10: {tmp_path} lacks cifar-10-batches-py/test_batch, cifar-10-batches-py/batches.meta; expected "
        "below it: cifar-10-batches-py/test_batch, cifar-10-batches-py/batches.meta. CIFAR-10 (0.2 GB) is at "
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz; unpack it there, or name its folder with "
        "callbacks.cifar10.root=…",
    )
    write_cifar(tmp_path, cifar.CIFAR10, np.zeros((2, 32, 32, 3), np.uint8), [0, 1])
    cut = tmp_path / "cifar-10-batches-py" / "test_batch"
    cut.write_bytes(cut.read_bytes()[:3000])
    assert lines(lambda: CIFAR10(root=str(tmp_path))) == (
        f"noise/cifar10: {cut.parent}: test_batch cannot be read: pickle data was truncated; get CIFAR-10 again",
    )
    assert lines(lambda: CIFAR10(root=str(ten), levels=[0.105])) == (
        "CIFAR10.levels: 0.105 is out of range; it must be above 0 and a multiple of 0.01",
    )


def test_templates_are_an_option_and_others_values_are_shown_for_the_eighteen_alone(
    ten: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = CIFAR10(root=str(ten), subset=True, templates="plain")
    assert {len(texts) for texts in dict(plain.prompts()).values()} == {1}
    own = CIFAR10(root=str(ten), subset=True, templates=["a {}", "the {}"])
    assert dict(own.prompts())["ship"] == ("a ship", "the ship")
    (message,) = lines(lambda: CIFAR10(root=str(ten), subset=True, templates="plan"))
    assert message.startswith("noise/cifar10: templates")

    read = cifar.read_cifar
    monkeypatch.setattr(cifar, "read_cifar", lambda *given: replace(read(*given), original=True))
    assert CIFAR10(root=str(ten)).images.context == CIFAR10.published != {}
    assert CIFAR10(root=str(ten), templates="plain").images.context == {}


def test_an_archive_that_changes_during_a_run_is_an_error(tmp_path: Path) -> None:
    write_cifar(tmp_path, cifar.CIFAR10, np.zeros((20, 32, 32, 3), np.uint8), [i % 10 for i in range(20)])
    callback = CIFAR10(root=str(tmp_path), subset=True)
    write_cifar(tmp_path, cifar.CIFAR10, np.ones((20, 32, 32, 3), np.uint8), [i % 10 for i in range(20)])
    cifar.read_cifar.cache_clear()  # as in another process
    with pytest.raises(ValueError, match="has changed since the run was started"):
        next(iter(callback.stimuli())).load()


def published(folder: Path, archive: Path, name: str, change: bool = False) -> Path:
    """A miniature CIFAR-10-C: severity s has the clean images with the value s in one corner."""
    content = cifar.read_cifar(archive / "cifar-10-batches-py", cifar.CIFAR10)
    images = np.concatenate([content.images] * 5)
    for severity in range(5):
        images[severity * 100 : (severity + 1) * 100, 0, 0] = severity + 1
    folder.mkdir()
    np.save(folder / f"{name}.npy", images[: 499 if change else 500])
    np.save(folder / "labels.npy", np.tile(content.labels, 5).astype(np.uint8))
    return folder


def test_published_files_replace_what_is_changed_here(ten: Path, tmp_path: Path) -> None:
    folder = published(tmp_path / "CIFAR-10-C", ten, "fog")
    callback = CIFAR10(root=str(ten), subset=True, c_files=str(folder), corruption="fog", images=30)
    assert list(callback.levels) == ["1", "2", "3", "4", "5"]
    stimuli = list(callback.stimuli())
    assert len(stimuli) == 6 * 30
    last = stimuli[-1].load()
    assert last[0, 0].tolist() == [5, 5, 5]
    assert np.array_equal(last[1:], stimuli[29].load()[1:])
    names = {s.name: s for s in callback.scores}
    assert names["accuracy_5"].label == "fog, severity 5"
    assert names["corrected_drop_5"].role == "headline"
    assert names["corrected_drop_5"].label == "corrected, fog, severity 5"
    assert lines(lambda: CIFAR10(root=str(ten), subset=True, c_files=str(folder), corruption="fog", levels=[0.1])) == (
        "noise/cifar10: levels: c_files holds severities 1 to 5, all of which are read; leave levels out",
    )
    assert lines(lambda: CIFAR10(root=str(ten), subset=True, c_files=str(folder), corruption="low_pass"))[0].startswith(
        "noise/cifar10: corruption: low_pass is not one of gaussian_noise, shot_noise, "
    )


def test_published_files_that_do_not_fit_are_one_line(ten: Path, tmp_path: Path) -> None:
    folder = published(tmp_path / "c", ten, "snow", change=True)
    assert lines(lambda: CIFAR10(root=str(ten), subset=True, c_files=str(folder), corruption="snow")) == (
        f"noise/cifar10: {folder}/snow.npy holds uint8 (499, 32, 32, 3), expected uint8 (500, 32, 32, 3): five times "
        "the clean images",
    )
    absent = lines(lambda: CIFAR10(root=str(ten), subset=True, c_files=str(folder), corruption="frost"))
    assert absent[0].startswith(f"noise/cifar10: {folder}/frost.npy cannot be read: ")
    assert lines(lambda: CIFAR10(root=str(ten), subset=True, corruption="frost")) == (
        "noise/cifar10: corruption: frost is not one of gaussian_noise, uniform_noise, gaussian_blur, low_pass, "
        "high_pass, contrast (the others are read from published files: c_files=…)",
    )
