# SPDX-License-Identifier: Apache-2.0
"""Known answers of the cue-conflict images and of the trials of people and networks.

Expected numbers were counted from the authors' trial files (raw-data/ of rgeirhos/texture-vs-shape at ccd0c01) by other
code; shape bias of people and ResNet-50 are the published ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clip_align.errors import Problem, UserError
from clip_align.known_answer import KnownAnswer, count
from clip_align.metrics import texture
from clip_align.metrics.agreement import error_consistency_with, mean_pairwise_error_consistency
from clip_align.metrics.cue_classes import class_mean_bias
from clip_align.perception.cue_conflict import (
    CUE_CONFLICT,
    EDGES,
    SILHOUETTES,
    CueImage,
    ImagesError,
    conflict_images,
    shape_images,
)
from clip_align.perception.sixteen_classes import CATEGORIES, category_numbers
from clip_align.perception.trials import Trials, TrialsError, is_human, read_folder

NEUTRAL = "style-transfer-512-nomask-experiment"
TRAINED = "-trained-CNNs"
DIGITS = 1e-4  # the last digit of what is expected
# S, T of the 1,200 conflicts; shape bias as the mean over classes; accuracy by shape and error consistency with people
# over all 1,280. An observer's name is not unique: two alexnets.
NETWORKS: Mapping[str, tuple[int, int, float, float, float]] = {
    f"alexnet, {NEUTRAL}": (283, 376, 0.3710, 0.2727, 0.1132),
    f"googlenet, {NEUTRAL}": (228, 503, 0.2896, 0.2320, 0.0875),
    f"vgg, {NEUTRAL}": (130, 625, 0.1570, 0.1508, 0.0602),
    f"resnet50, {NEUTRAL}{TRAINED}": (162, 572, 0.1951, 0.1750, 0.0674),
    f"alexnet, {NEUTRAL}{TRAINED}": (182, 537, 0.2329, 0.1930, 0.0777),
    f"vgg16, {NEUTRAL}{TRAINED}": (84, 828, 0.0871, 0.1188, 0.0405),
    f"resnet101, {NEUTRAL}{TRAINED}": (180, 509, 0.2195, 0.1891, 0.0698),
    f"resnet152, {NEUTRAL}{TRAINED}": (196, 569, 0.2267, 0.2055, 0.0817),
    f"densenet121, {NEUTRAL}{TRAINED}": (163, 597, 0.1908, 0.1766, 0.0635),
    f"squeezenet1_1, {NEUTRAL}{TRAINED}": (133, 597, 0.1732, 0.1484, 0.0580),
    f"oidv2-resnet101, {NEUTRAL}{TRAINED}": (98, 402, 0.1463, 0.1070, 0.0397),
    f"resnet50_train_60_epochs, {NEUTRAL}{TRAINED}": (586, 141, 0.7537, 0.5070, 0.1904),
    f"alexnet_train_60_epochs_lr0.001, {NEUTRAL}{TRAINED}": (488, 161, 0.7022, 0.4281, 0.1440),
    f"vgg16_train_60_epochs_lr0.01, {NEUTRAL}{TRAINED}": (551, 163, 0.7099, 0.4781, 0.1533),
    f"densenet121_train_60_epochs, {NEUTRAL}{TRAINED}": (618, 130, 0.7683, 0.5266, 0.1837),
    f"squeezenet1_1_train_60_epochs_lr0.001, {NEUTRAL}{TRAINED}": (467, 124, 0.7390, 0.4117, 0.1545),
}
# right answers of people of 1,600, error consistency between them; by network accuracy, and consistency with people
SHAPES: Mapping[str, tuple[str, int, float, Mapping[str, tuple[float, float]]]] = {
    "edges": (
        "edge-experiment",
        1394,
        0.3184,
        {
            "resnet50": (0.1812, 0.0453),
            "resnet50_train_60_epochs": (0.4875, 0.1068),
            "alexnet": (0.4000, 0.1104),
            "googlenet": (0.2812, 0.0774),
            "vgg": (0.2438, 0.0710),
        },
    ),
    "silhouettes": (
        "silhouette-filled-experiment",
        1205,
        0.4757,
        {
            "resnet50": (0.5438, 0.4462),
            "resnet50_train_60_epochs": (0.4438, 0.3419),
            "alexnet": (0.4438, 0.2827),
            "googlenet": (0.4875, 0.3348),
            "vgg": (0.4812, 0.3292),
        },
    ),
}


def known_answers(root: Path) -> Iterator[KnownAnswer]:
    """Geirhos et al. 2019: images, people, networks, edges, silhouettes."""
    folder = CUE_CONFLICT.verified_folder(root)
    try:
        images = conflict_images(folder)
        yield from _of_images(images)
        if (root / "raw-data").is_dir():
            yield from _of_conflict_trials(root / "raw-data", images)
            for kind in SHAPES:
                yield from _of_shapes(root, kind)
    except (ImagesError, TrialsError) as error:
        raise UserError(Problem("root", str(error))) from error


def _of_images(images: Sequence[CueImage]) -> Iterator[KnownAnswer]:
    by_class, by_pair = Counter(i.shape for i in images), Counter((i.shape, i.texture) for i in images)
    yield count("images", len(images), 1280)
    yield count("images of each shape class: fewest", min(by_class.values()), 80)
    yield count("images of each ordered pair of classes: fewest", min(by_pair.values()), 5)
    yield count("images of each ordered pair of classes: most", max(by_pair.values()), 5)
    yield count("images without a conflict", sum(i.shape == i.texture for i in images), 80)
    yield count("photographs that give shapes", len({i.exemplars[0] for i in images}), 160)
    yield count("images that give textures", len({i.exemplars[1] for i in images}), 48)


def _of_conflict_trials(raw: Path, images: Sequence[CueImage]) -> Iterator[KnownAnswer]:
    """People, then every other observer in the folders of the experiment."""
    folders = [raw / name for name in (NEUTRAL, f"{NEUTRAL}{TRAINED}", "cue-conflict") if (raw / name).is_dir()]
    stems = [image.stem for image in images]
    shape, of_texture = (category_numbers([getattr(i, cue) for i in images]) for cue in ("shape", "texture"))
    conflict = shape != of_texture
    read = {folder.name: read_folder(folder) for folder in folders}
    # those of the first folder that has some: both layouts hold the same people
    humans = next((found for of in read.values() if (found := [t for t in of if is_human(t.observer)])), [])
    others = {f"{t.observer}, {name}": t for name, of in read.items() for t in of if not is_human(t.observer)}
    answers = {name: t.of(stems) for name, t in others.items()}
    people = np.stack([t.of(stems) for t in humans]) if humans else np.zeros((0, len(stems)), np.int8)  # [M, N]
    if humans:
        s, t = (int(np.count_nonzero((people == cue)[:, conflict])) for cue in (shape, of_texture))
        yield count("10 people: S, decisions for the shape", s, 9236)
        yield count("10 people: T, decisions for the texture", t, 398)
        yield KnownAnswer("10 people: shape bias S/(S + T)", s / (s + t), 0.9587, DIGITS)
        yield KnownAnswer("10 people: cue accuracy (S + T)/12,000", (s + t) / people[:, conflict].size, 0.8028, DIGITS)
        yield KnownAnswer(
            "10 people: accuracy without a conflict", float((people == shape)[:, ~conflict].mean()), 0.8638, DIGITS
        )
        for rows, name, expected in ((slice(None), "1,280 images", 0.3311), (conflict, "1,200 conflicts", 0.3347)):
            between = mean_pairwise_error_consistency((people == shape)[:, rows])
            yield KnownAnswer(f"people: error consistency between them, {name}", between, expected, DIGITS)
        if (name := f"resnet50, {NEUTRAL}{TRAINED}") in answers:
            right, theirs = answers[name] == shape, people == shape
            on_conflicts = error_consistency_with(right[conflict], theirs[:, conflict]).value
            yield KnownAnswer("resnet50: error consistency, 1,200 conflicts", _number(on_conflicts), 0.0544, DIGITS)
    for name, choice in answers.items():
        yield from _of_network(name, choice, (shape, of_texture), people == shape)


def _of_network(
    name: str,
    choice: NDArray[np.int8],
    cues: tuple[NDArray[np.int64], NDArray[np.int64]],
    people: NDArray[np.bool_],
) -> Iterator[KnownAnswer]:
    """One network's or other observer's rows; nothing is expected of those that are not the authors'.

    Args:
        name: of the observer, with its folder.
        choice: its answers [N].
        cues: classes [N] of the images' shapes and textures.
        people: whether each person was right, [M, N].
    """
    s, t, *others = NETWORKS.get(name, (None, None, None, None, None))
    observer, _, folder = name.partition(", ")
    short = f"{observer} (Caffe)" if folder == NEUTRAL and name in NETWORKS else observer
    found = texture.counts(choice, *cues)
    both, right = found.shape + found.texture, choice == cues[0]
    yield KnownAnswer(f"{short}: S", found.shape, s)
    yield KnownAnswer(f"{short}: T", found.texture, t)
    bias = None if s is None or t is None else round(s / (s + t), 4)
    yield KnownAnswer(f"{short}: shape bias", found.shape / both if both else float("nan"), bias, DIGITS)
    measured = {
        "shape bias, mean of classes": 1 - _number(class_mean_bias(choice, *cues, len(CATEGORIES)).value),
        "accuracy by shape": float(right.mean()),
        "error consistency": _number(error_consistency_with(right, people).value) if len(people) else float("nan"),
    }
    for (label, value), expected in zip(measured.items(), others, strict=True):
        yield KnownAnswer(f"{short}: {label}", value, expected, DIGITS)


def _of_shapes(root: Path, kind: str) -> Iterator[KnownAnswer]:
    """Edges or silhouettes; nothing where their images or trials are not there."""
    experiment, right_of_people, between, networks = SHAPES[kind]
    download = EDGES if kind == "edges" else SILHOUETTES
    if download.missing(root):
        return
    stems = [image.stem for image in shape_images(download.folder(str(root), f"texture/{kind}"))]
    yield count(f"{kind}: images", len(stems), 160)
    folders = [root / "raw-data" / name for name in (experiment, f"{experiment}{TRAINED}")]
    observers = [t for folder in folders if folder.is_dir() for t in read_folder(folder)]
    right = {t.observer: _right(t, stems) for t in observers}
    humans = [row for name, row in right.items() if is_human(name)]
    if not humans:
        return
    yield count(f"{kind}: right answers of 10 people, of 1,600", int(np.sum(humans)), right_of_people)
    consistency = mean_pairwise_error_consistency(humans)
    yield KnownAnswer(f"{kind}: error consistency between people", consistency, between, DIGITS)
    for name, row in right.items():
        if is_human(name):
            continue
        accuracy, kappa = networks.get(name, (None, None))
        yield KnownAnswer(f"{kind}: accuracy of {name}", float(row.mean()), accuracy, DIGITS)
        with_people = _number(error_consistency_with(row, humans).value)
        yield KnownAnswer(f"{kind}: error consistency of {name}", with_people, kappa, DIGITS)


def _right(trials: Trials, stems: Sequence[str]) -> NDArray[np.bool_]:
    return np.asarray(trials.of(stems) == np.array([trials.categories[stem] for stem in stems]))


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
