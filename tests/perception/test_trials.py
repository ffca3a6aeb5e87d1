# SPDX-License-Identifier: Apache-2.0
"""Trial files: every awkward form of the authors' layout, and the published counts."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from clip_align.metrics.agreement import error_consistency, error_consistency_with, mean_pairwise_error_consistency
from clip_align.perception.cue_conflict_people import people
from clip_align.perception.sixteen_classes import CATEGORIES, category_numbers
from clip_align.perception.trials import Trials, TrialsError, is_human, read_folder, read_trials

HEADER = "subj,session,trial,rt,object_response,category,condition,imagename"
NEUTRAL = "style-transfer-512-nomask-experiment"


def write(path: Path, *rows: str, end: str = "\n", header: str = HEADER) -> Path:
    path.write_text(end.join([header, *rows, ""]), newline="")
    return path


def test_both_line_ends_and_all_forms_of_names(tmp_path: Path) -> None:
    human = write(
        tmp_path / "style-transfer-512-nomask-experiment_subject-01_session_1.csv",
        "subject-01,1,1,1.13,bird,bird,0,0001_s5n_s01_0_bird_00_bird3-bird2.png",
        "subject-01,1,2,NaN,na,bird,0,0002_s5n_s01_0_bird_00_bird2-clock3.png",
    )
    network = write(
        tmp_path / "style-transfer-512-nomask-experiment_resnet50_train_60_epochs_session-1.csv",
        "resnet50-train-60-epochs,1,1,NaN,clock,bird,3,0001_s5n_dnn_0_bird_00_bird2-clock3.png",
        "resnet50-train-60-epochs,1,2,NaN,bird,bird,3,0002_s5n_dnn_0_bird_00_bird3-bird2.png",
        end="\r\n",
    )
    own = write(tmp_path / "cue-conflict_my-model_session-1.csv", "my-model,1,1,NaN,cat,bird,NaN,bird2-clock3.png")
    edges = write(
        tmp_path / "edge-experiment_vgg_session_1.csv", "v,1,1,1,oven,oven,0,0001_edg_s01_0_oven_00_oven10.png"
    )
    first, second, third, fourth = map(read_trials, (human, network, own, edges))
    assert [t.observer for t in (first, second, third, fourth)] == [
        "subject-01", "resnet50_train_60_epochs", "my-model", "vgg",
    ]  # fmt: skip
    assert [is_human(t.observer) for t in (first, second, third, fourth)] == [True, False, False, False]
    assert dict(first.answers) == {"bird3-bird2": 3, "bird2-clock3": -1}
    assert second.of(["bird3-bird2", "bird2-clock3"]).tolist() == [3, 9]  # joined by image, not by row
    assert dict(third.answers) == {"bird2-clock3": 7}
    assert dict(fourth.categories) == {"oven10": 14}


@pytest.mark.parametrize(
    ("row", "header", "what"),
    [
        (
            "s,1,1,1,bird,bird,0,a_bird3-bird2.png",
            HEADER.replace("category", "kind"),
            "has no column category; needed: ",
        ),
        ("s,1,1,1,brid,bird,0,a_bird3-bird2.png", HEADER, "line 2: object_response 'brid' is none of the 16 classes"),
        ("s,1,1,1,bird,plane,0,a_bird3-bird2.png", HEADER, "line 2: category 'plane' is none of airplane, bear, "),
        ("s,1,1,1,bird,bird,0,", HEADER, "line 2: imagename '' names no image file, such as bird3-bird2.png"),
        ("s,1,1,1,bird,bird", HEADER, "line 2: imagename '' names no image file"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(tmp_path: Path, row: str, header: str, what: str) -> None:
    path = write(tmp_path / "x_subject-01_session_1.csv", row, header=header)
    with pytest.raises(TrialsError) as caught:
        read_trials(path)
    assert str(path) in str(caught.value)
    assert what in str(caught.value)


def test_a_file_without_trials_twice_an_image_and_other_encodings(tmp_path: Path) -> None:
    row = "s,1,1,1,bird,bird,0,a_bird3-bird2.png"
    path = write(tmp_path / "x_a_session_1.csv", row, row)
    with pytest.raises(TrialsError, match=r"line 3: a second trial of bird3-bird2$"):
        read_trials(path)
    with pytest.raises(TrialsError, match=r"has no trials$"):
        read_trials(write(path))
    path.write_bytes((HEADER + "\n").encode() + b"\xff\xfe,")
    with pytest.raises(TrialsError, match="is not a csv in UTF-8"):
        read_trials(path)
    (tmp_path / "x_b_session_1.csv").mkdir()
    with pytest.raises(TrialsError, match=r"^cannot read .*/x_b_session_1.csv: Is a directory$"):
        read_trials(tmp_path / "x_b_session_1.csv")


def test_one_folder_is_one_experiment(tmp_path: Path) -> None:
    with pytest.raises(TrialsError, match="no trial files in "):
        read_folder(tmp_path)
    row = "s,1,1,1,bird,bird,0,a_bird3-bird2.png"
    (tmp_path / "below").mkdir()
    for name in ("a_alexnet_session_1.csv", "below/a_alexnet_session_1.csv", "._a_vgg_session_1.csv"):
        write(tmp_path / name, row)
    assert [t.observer for t in read_folder(tmp_path)] == ["alexnet"]
    write(tmp_path / "b_alexnet_session-1.csv", row)
    with pytest.raises(TrialsError, match="two files of the observer alexnet; one folder is one experiment"):
        read_folder(tmp_path)


def test_an_image_that_was_not_shown_is_named() -> None:
    shown = Trials("vgg", {"bear1-cat1": 1}, {"bear1-cat1": 1})
    with pytest.raises(TrialsError, match=r"^vgg: no trial of bear1-dog2 and 1 more of 3 images$"):
        shown.of(["bear1-cat1", "bear1-dog2", "bear1-dog3"])


# --- the authors' own files


@pytest.fixture(scope="module")
def raw(shared_data: Path) -> Path:
    return shared_data / "cue_conflict" / "raw-data"


def right(observers: list[Trials], images: list[str]) -> np.ndarray:
    shapes = category_numbers([image.rstrip("0123456789").partition("-")[0].rstrip("0123456789") for image in images])
    return np.stack([trials.of(images) == shapes for trials in observers])


def conflicts(images: list[str]) -> list[str]:
    return [i for i in images if i.partition("-")[0].rstrip("0123456789") != i.partition("-")[2].rstrip("0123456789")]


def test_error_consistency_as_published_and_by_wrong_rules(raw: Path) -> None:
    """All 1,280 images; on the 1,200 conflicts alone, and with rows compared in file order, other numbers come out."""
    humans = [t for t in read_folder(raw / NEUTRAL) if is_human(t.observer)]
    resnet = next(t for t in read_folder(raw / f"{NEUTRAL}-trained-CNNs") if t.observer == "resnet50")
    assert len(humans) == 10
    every = sorted(humans[0].answers)
    for images, between, network in ((every, 0.33105, 0.0674), (conflicts(every), 0.3347, 0.0544)):
        people_right, (network_right,) = right(humans, images), right([resnet], images)
        assert mean_pairwise_error_consistency(people_right) == pytest.approx(between, abs=5e-5)
        assert error_consistency_with(network_right, people_right).value == pytest.approx(network, abs=5e-5)
    unaligned = [[t.answers[i] == t.categories[i] for i in t.answers] for t in humans]
    assert mean_pairwise_error_consistency(unaligned) == pytest.approx(-0.0008, abs=5e-5)


@pytest.mark.parametrize(
    ("experiment", "counts", "between", "resnet50"),
    [("edge-experiment", 1394, 0.3184, 0.0453), ("silhouette-filled-experiment", 1205, 0.4757, 0.4462)],
)
def test_edges_and_silhouettes(raw: Path, experiment: str, counts: int, between: float, resnet50: float) -> None:
    humans = [t for t in read_folder(raw / experiment) if is_human(t.observer)]
    network = next(t for t in read_folder(raw / f"{experiment}-trained-CNNs") if t.observer == "resnet50")
    images = sorted(humans[0].answers)
    people_right, (network_right,) = right(humans, images), right([network], images)
    assert people_right.sum() == counts
    assert mean_pairwise_error_consistency(people_right) == pytest.approx(between, abs=5e-5)
    assert error_consistency_with(network_right, people_right).value == pytest.approx(resnet50, abs=5e-5)


def test_the_embedded_counts_are_those_of_the_trials(raw: Path) -> None:
    folders = {"cue_conflict": NEUTRAL, "edges": "edge-experiment", "silhouettes": "silhouette-filled-experiment"}
    for kind, folder in folders.items():
        humans = [t for t in read_folder(raw / folder) if is_human(t.observer)]
        for k in range(3, len(CATEGORIES) + 1, 4):
            classes = CATEGORIES[-k:]
            found = people(kind, classes)  # type: ignore[arg-type]
            s = t = right_ones = n = other = 0
            for trials in humans:
                for image, answer in trials.answers.items():
                    shape, _, texture = (part.rstrip("0123456789") for part in image.partition("-"))
                    if shape in classes and (texture or shape) in classes:
                        conflict = texture not in ("", shape)
                        n, other = n + conflict, other + (not conflict)
                        s += conflict and answer == CATEGORIES.index(shape)
                        t += conflict and answer == CATEGORIES.index(texture)
                        right_ones += not conflict and answer == CATEGORIES.index(shape)
            assert (found.trials, found.for_shape, found.for_texture) == (n, s, t)
            assert (found.other_trials, found.right) == (other, right_ones)


def test_the_published_human_counts_of_classes_in_common_with_cifar10() -> None:
    """Whole set 9236/398; six of CIFAR-10's classes 1158/53 of 1,500; with ships 1541/83 of 2,100."""
    every, six = people("cue_conflict", CATEGORIES), ["airplane", "bird", "car", "cat", "dog", "truck"]
    assert (every.for_shape, every.for_texture, every.trials) == (9236, 398, 12000)
    assert round(1 - every.texture_bias, 4) == 0.9587
    found, seven = people("cue_conflict", six), people("cue_conflict", [*six, "boat"])
    assert (found.for_shape, found.for_texture, found.trials) == (1158, 53, 1500)
    assert (seven.for_shape, seven.for_texture, seven.trials) == (1541, 83, 2100)
    assert round(people("edges", CATEGORIES).accuracy, 4) == 0.8712
    assert round(people("silhouettes", CATEGORIES).accuracy, 4) == 0.7531


# --- the mean over observers, with its interval


def test_the_mean_over_others_is_the_mean_of_kappas() -> None:
    rng = np.random.default_rng(0)
    others = rng.random((5, 300)) < 0.6
    one = np.where(rng.random(300) < 0.5, others[0], rng.random(300) < 0.5)
    expected = [error_consistency(one, other).value for other in others]
    found = error_consistency_with(one, others)
    assert found.value == pytest.approx(np.mean(np.array(expected, dtype=float)), abs=1e-12)
    single = error_consistency_with(one, others[:1])
    alone = error_consistency(one, others[0])
    assert (single.low, single.high) == (pytest.approx(alone.low), pytest.approx(alone.high))
    pairs = [error_consistency(a, b).value for a, b in combinations(others, 2)]
    assert mean_pairwise_error_consistency(others) == pytest.approx(np.mean(np.array(pairs, dtype=float)), abs=1e-12)


def test_two_crossed_kinds_of_clusters_add_their_variances() -> None:
    rng = np.random.default_rng(1)
    a, b = np.repeat(np.arange(20), 20), np.tile(np.arange(20), 20)
    one, others = rng.random(400) < 0.5, rng.random((3, 400)) < 0.5
    first, second, crossed = (error_consistency_with(one, others, of) for of in ([a], [b], [a, b]))
    widths = [e.high - e.low for e in (first, second, crossed)]  # type: ignore[operator]
    assert widths[2] == pytest.approx(np.hypot(*widths[:2]))


def test_undefined_and_wrong_shapes() -> None:
    assert error_consistency_with([], np.zeros((2, 0))).reason == "no common trials"
    assert error_consistency_with([1, 1], [[1, 1], [1, 1]]).value is None
    assert error_consistency_with([1, 1, 0], [[1, 1, 1], [1, 1, 0]]).value == pytest.approx(0.5)  # 0 and 1
    assert np.isnan(mean_pairwise_error_consistency([[1, 1], [1, 1]]))
    with pytest.raises(ValueError, match=r"must be \[N\] and \[M, N\], got"):
        error_consistency_with([1, 0, 1], [[1, 0]])
