# SPDX-License-Identifier: Apache-2.0
"""Texture bias on the published trials of Geirhos et al., ICLR 2019, on simulated observers, on collapsed ones."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from clip_align.metrics import texture as t

CLASSES = [
    *("airplane", "bear", "bicycle", "bird", "boat", "bottle", "car", "cat"),
    *("chair", "clock", "dog", "elephant", "keyboard", "knife", "oven", "truck"),
]
CUES = np.array([(s, u) for s in range(16) for u in range(16) if s != u])
# observer: for the shape, for the texture, for neither of the 1,200 conflict images; the texture-vs-shape repository
TRIALS = {
    "alexnet_session_1": (283, 376, 541),
    "googlenet_session_1": (228, 503, 469),
    "vgg_session_1": (130, 625, 445),
    "alexnet_session-1": (182, 537, 481),
    "resnet50_session-1": (162, 572, 466),
    "resnet101_session-1": (180, 509, 511),
    "resnet152_session-1": (196, 569, 435),
    "vgg16_session-1": (84, 828, 288),
    "densenet121_session-1": (163, 597, 440),
    "squeezenet1_1_session-1": (133, 597, 470),
    "oidv2-resnet101_session-1": (98, 402, 700),
    "resnet50_train_60_epochs_session-1": (586, 141, 473),
    "alexnet_train_60_epochs_lr0.001_session-1": (488, 161, 551),
    "vgg16_train_60_epochs_lr0.01_session-1": (551, 163, 486),
    "densenet121_train_60_epochs_session-1": (618, 130, 452),
    "squeezenet1_1_train_60_epochs_lr0.001_session-1": (467, 124, 609),
    "subject-01_session_1": (829, 33, 338),
    "subject-02_session_1": (907, 54, 239),
    "subject-03_session_1": (1006, 34, 160),
    "subject-04_session_1": (727, 64, 409),
    "subject-05_session_1": (1017, 38, 145),
    "subject-06_session_1": (976, 24, 200),
    "subject-07_session_1": (906, 57, 237),
    "subject-08_session_1": (928, 41, 231),
    "subject-09_session_1": (1031, 14, 155),
    "subject-10_session_1": (909, 39, 252),
}


def trials(file: Path) -> np.ndarray:
    """Choice (-1 for none), shape, texture: [3, 1280]."""
    with open(file, newline="") as handle:
        rows = list(csv.DictReader(handle))
    stems = [r["imagename"].rsplit("_", 1)[-1].rsplit(".", 1)[0] for r in rows]
    matches = [re.fullmatch(r"([a-z]+)\d+-([a-z]+)\d+", s) for s in stems]
    index = {name: i for i, name in enumerate(CLASSES)}
    shape, texture = ([index[m[k]] for m in matches if m] for k in (1, 2))
    return np.array([[index.get(r["object_response"], -1) for r in rows], shape, texture])


@pytest.fixture(scope="module")
def files(shared_data: Path) -> dict[str, Path]:
    found = (shared_data / "cue_conflict" / "raw-data").glob("style-transfer*/*.csv")
    return {f.stem.split("_", 1)[1]: f for f in found if not f.stem.startswith("edge")}


def test_every_published_observer_is_among_them(files: dict[str, Path]) -> None:
    assert set(files) == set(TRIALS)


@pytest.mark.parametrize("observer", TRIALS)
def test_published_trials(files: dict[str, Path], observer: str) -> None:
    shape, texture, neither = TRIALS[observer]
    found = t.counts(*trials(files[observer]))
    assert (found.shape, found.texture, found.neither, found.n) == (shape, texture, neither, 1200)
    bias = t.texture_bias(*trials(files[observer]), classes=16)
    assert bias.value == texture / (shape + texture)
    guesses = (neither - found.no_answer) / 14
    corrected = t.texture_bias_corrected(*trials(files[observer]), classes=16)
    assert corrected.value == pytest.approx((texture - guesses) / (shape + texture - 2 * guesses), abs=1e-15)
    assert t.shape_hits(*trials(files[observer])).value == shape / 1200
    assert t.texture_hits(*trials(files[observer])).value == texture / 1200


def test_humans_pooled(files: dict[str, Path]) -> None:
    """Ten people: 9,236 for the shape, 398 for the texture, 2,366 for neither, of these 118 without an answer."""
    people = np.concatenate([trials(f) for k, f in files.items() if k.startswith("subject")], axis=1)
    assert t.counts(*people) == t.CueCounts(9236, 398, 2366, 118)
    assert t.texture_bias(*people, classes=16).value == pytest.approx(1 - 0.9587, abs=5e-5)


def test_intervals_for_new_images_and_for_other_classes_on_trials(files: dict[str, Path]) -> None:
    """Four networks of 2019, standard errors: over classes two-way .060 to .095, over images half that of pairs."""
    for name in ("resnet50_session-1", "alexnet_session_1", "googlenet_session_1", "vgg_session_1"):
        choice, *cues = trials(files[name])
        for clusters, quantile, low, high in (((), 1.96, 0.0108, 0.0150), (cues, 2.131, 0.059, 0.0955)):
            bias = t.texture_bias(choice, *cues, classes=16, clusters=clusters)
            assert low < (bias.high - bias.low) / (2 * quantile) < high


def test_errors_of_published_observers_depend_on_the_image(files: dict[str, Path]) -> None:
    """Networks mistake the texture for a third class's, people the shape: neither are guesses."""
    network = t.error_dependence(*trials(files["resnet50_session-1"]))
    assert network[1] > 10 > 5 > 0
    people = np.concatenate([trials(f) for k, f in files.items() if k.startswith("subject")], axis=1)
    by_shape, by_texture = t.error_dependence(*people)
    assert by_shape > 10
    assert by_shape > by_texture


def observer(seed: int, shape_use: float, texture_use: float, images: int = 4) -> tuple[np.ndarray, ...]:
    """Follows the shape, the texture, else guesses; ``images`` for each of the 240 ordered pairs."""
    generator = np.random.default_rng(seed)
    shape, texture = np.repeat(CUES, images, axis=0).T
    u = generator.random(len(shape))
    guess = generator.integers(0, 16, len(shape))
    return np.where(u < shape_use, shape, np.where(u < shape_use + texture_use, texture, guess)), shape, texture


@pytest.mark.parametrize(("use", "raw"), [((0.05, 0.15), 0.67), ((0.10, 0.30), 0.71)])
def test_guesses_pull_the_raw_bias_and_not_the_corrected_one(use: tuple[float, float], raw: float) -> None:
    """True bias .75 in both; 960 images: raw .67, .71 (width .11, .08), corrected .75 (.17, .10), coverage .95."""
    sets = [observer(seed, *use) for seed in range(200)]
    plain = [t.texture_bias(*s, classes=16) for s in sets]
    corrected = [t.texture_bias_corrected(*s, classes=16) for s in sets]
    assert np.mean([e.value for e in plain]) == pytest.approx(raw, abs=0.01)
    assert np.mean([e.value for e in corrected]) == pytest.approx(0.75, abs=0.01)
    assert np.mean([e.high - e.low for e in plain]) == pytest.approx({0.67: 0.11, 0.71: 0.08}[raw], abs=0.01)
    assert np.mean([e.high - e.low for e in corrected]) == pytest.approx({0.67: 0.17, 0.71: 0.10}[raw], abs=0.01)
    assert np.mean([e.low <= 0.75 <= e.high for e in corrected]) == pytest.approx(0.95, abs=0.045)  # 3 standard errors


def test_corrected_bias_waits_for_a_narrow_interval() -> None:
    wide = [t.texture_bias_corrected(*observer(seed, 0.04, 0.12, images=1), classes=16) for seed in range(40)]
    reasons = {str(e.reason).split(" wide")[0][:22] for e in wide if e.value is None}
    assert "its 95 % interval over" in reasons
    assert all(e.high - e.low <= 0.4 for e in wide if e.value is not None)
    assert wide[12].high - wide[12].low == pytest.approx(0.346, abs=5e-4)  # narrow enough
    assert [str(e.reason) for e in wide if "pairs is 0.4" in str(e.reason)]  # and these hardly too wide


def test_chance_never_opens_the_gate() -> None:
    for seed in range(200):
        assert t.why_gate_closed(*observer(seed, 0, 0), classes=16) is not None
    reason = t.texture_bias(*observer(0, 0, 0), classes=16).reason
    assert reason == "only 14 % of the decisions name the shape or the texture; a bias needs 25 %"


def test_gate_needs_the_lower_bound_above_chance() -> None:
    choice, shape, texture = (v[:12] for v in observer(3, 0.3, 0.3, images=1))
    choice = np.where(np.arange(12) < 4, shape, 15)
    reason = t.why_gate_closed(choice, shape, texture, classes=16)
    assert reason == "the fraction of decisions that name a cue (33 %) is not above chance (12.5 %)"


def test_chance_is_that_of_naming_either_cue() -> None:
    """5 of 12 images, all of other class pairs: .417 with a lower bound of .089, above 1/16 and below 2/16."""
    shape, texture = CUES[:12].T
    choice = np.where(np.arange(12) < 5, shape, 14 + np.arange(12) % 2)
    named = t.shape_hits(choice, shape, texture)
    assert (named.value, named.low) == pytest.approx((5 / 12, 0.0895), abs=5e-5)
    reason = t.why_gate_closed(choice, shape, texture, classes=16)
    assert reason == "the fraction of decisions that name a cue (42 %) is not above chance (12.5 %)"
    assert t.texture_bias(choice, shape, texture, classes=16).value is None
    assert t.why_gate_closed(choice, shape, texture, classes=24) is None  # 2/24 is below the bound


@pytest.mark.parametrize("fraction", [0.9, 1.0])
def test_collapsed_model_has_no_bias(fraction: float) -> None:
    """Always one class: S = T = 60 of 960 and a raw bias of exactly .5, which is no finding."""
    choice, shape, texture = observer(1, 0.5, 0.5)
    choice = np.where(np.random.default_rng(0).random(960) < fraction + 0.02, 7, choice)
    if fraction == 1:
        assert t.counts(choice, shape, texture) == t.CueCounts(60, 60, 840, 0)
    for score in (t.texture_bias, t.texture_bias_corrected):
        assert str(score(choice, shape, texture, classes=16).reason).startswith("one class takes")


def test_without_decisions_or_conflict() -> None:
    _, shape, texture = observer(1, 0.5, 0.5)
    none = np.full(960, -1)
    for reason in (
        t.texture_bias(none, shape, texture, classes=16).reason,
        t.texture_bias_corrected(none, shape, texture, classes=16).reason,
        t.shape_hits(none, shape, texture).reason,
    ):
        assert reason == "no decisions: the embeddings of all 960 images are equal or not finite"
    assert t.texture_bias(shape, shape, shape, classes=16).reason == "no images"
    with pytest.raises(ValueError, match="one length"):
        t.counts(shape[1:], shape, texture)
    with pytest.raises(ValueError, match="at least 3 classes"):
        t.texture_bias_corrected(shape, shape, texture, classes=2)


def test_a_single_class_pair_has_no_interval_and_no_bias() -> None:
    shape, texture = np.full(40, 2), np.full(40, 3)
    choice = np.where(np.arange(40) < 20, shape, np.where(np.arange(40) < 30, texture, 7))
    hits = t.shape_hits(choice, shape, texture)
    assert (hits.value, hits.low, hits.high) == pytest.approx((0.5, 0.3381, 0.6619), abs=5e-5)  # of new images only
    for score in (t.texture_bias, t.texture_bias_corrected):
        assert score(choice, shape, texture, classes=16).reason == "no interval: too few images or classes"


@pytest.mark.parametrize("cue", [0, 1])
def test_a_pure_observer_keeps_a_width(cue: int) -> None:
    shape, texture = np.repeat(CUES, 4, axis=0).T
    bias = t.texture_bias((shape, texture)[cue], shape, texture, classes=16)
    assert bias.value == cue
    assert bias.low is not None
    assert bias.high is not None
    assert 0.003 < bias.high - bias.low < 0.006  # Wilson for 960
    hits = t.texture_hits((shape, texture)[cue], shape, texture)
    assert (hits.low, hits.high) == pytest.approx(((0, 0.004) if cue == 0 else (0.996, 1)), abs=5e-4)


def test_swapping_the_cues_turns_the_bias_round_and_order_does_not_matter() -> None:
    for seed in range(20):
        choice, shape, texture = observer(seed, 0.2, 0.4)
        order = np.random.default_rng(seed).permutation(960)
        for score in (t.texture_bias, t.texture_bias_corrected):
            one = score(choice, shape, texture, 16)
            swapped, mixed = score(choice, texture, shape, 16), score(choice[order], shape[order], texture[order], 16)
            assert swapped.value == pytest.approx(1 - one.value, abs=1e-12)
            assert swapped.low == pytest.approx(1 - one.high, abs=1e-9)
            assert (mixed.value, mixed.low) == pytest.approx((one.value, one.low), abs=1e-12)
            assert not math.isnan(one.value)


def test_interval_of_new_images_is_that_of_the_images_within_their_pairs() -> None:
    """Decisions that depend on the class pair alone: images within pairs do not differ, pairs and classes do."""
    shape, texture = np.repeat(CUES, 4, axis=0).T
    by_pair = np.random.default_rng(1).random(240) < 0.6
    half = np.where(np.repeat(by_pair, 4), shape, texture)
    mixed = np.where(np.arange(960) % 4 == 0, np.where(half == shape, texture, shape), half)  # 1 of 4 is the other
    within = math.sqrt(0.25 * 0.75 * 4 / 3 / 960)  # binomial within pairs of four, unbiased
    for choice, expected in ((half, 0.0161), (mixed, within)):  # Wilson's for 960 where images within pairs are alike
        bias = t.texture_bias(choice, shape, texture, classes=16)
        assert (bias.high - bias.low) / (2 * 1.963) == pytest.approx(expected, abs=5e-4)
    wide = t.texture_bias(half, shape, texture, classes=16, clusters=(shape, texture))
    pairs = t._over_pairs(half == texture, t._pairs(shape, texture))
    assert wide.high - wide.low > pairs.high - pairs.low


def test_coverage_for_new_images_where_pairs_differ() -> None:
    """Each pair has its own tendency; new images of these pairs: .95 within three standard errors."""
    shape, texture = np.repeat(CUES, 4, axis=0).T
    tendency = np.random.default_rng(5).beta(0.7, 0.7, 240)
    generator, inside, widths = np.random.default_rng(6), [], []
    for _ in range(300):
        choice = np.where(generator.random(960) < np.repeat(tendency, 4), texture, shape)
        bias = t.texture_bias(choice, shape, texture, classes=16)
        inside.append(bias.low <= tendency.mean() <= bias.high)
        widths.append(bias.high - bias.low)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.038)
    pairs = t._over_pairs(choice == texture, t._pairs(shape, texture))
    assert np.mean(widths) < 0.75 * (pairs.high - pairs.low)


def test_guessed_errors_have_a_z_of_about_one_however_unequal_the_guesses() -> None:
    found = []
    for seed in range(100):
        choice, shape, texture = observer(seed, 0.2, 0.3)
        generator = np.random.default_rng(1000 + seed)
        favourites = generator.choice(16, 960, p=np.arange(1, 17) / 136)
        choice = np.where((choice != shape) & (choice != texture), favourites, choice)
        found.append(t.error_dependence(choice, shape, texture, draws=60, seed=seed))
    z = np.array(found)
    assert abs(z.mean(axis=0)) == pytest.approx(0, abs=0.35)  # three standard errors of a mean of 100
    assert z.std(axis=0) == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("cue", [0, 1])
def test_confusions_of_one_cue_show_in_its_z_alone(cue: int) -> None:
    """Half of the errors take the class of one cue for the next one."""
    choice, shape, texture = observer(0, 0.2, 0.3)
    generator = np.random.default_rng(2)
    next_class = ((shape, texture)[cue] + 1) % 16
    errors = (choice != shape) & (choice != texture) & (generator.random(960) < 0.5)
    z = t.error_dependence(np.where(errors, next_class, choice), shape, texture)
    assert z[cue] > 20
    assert abs(z[1 - cue]) < 4
    assert z == t.error_dependence(np.where(errors, next_class, choice), shape, texture)  # the same each time


def test_few_errors_and_errors_in_one_class_have_no_z() -> None:
    choice, shape, texture = observer(0, 0.5, 0.5)
    assert t.error_dependence(choice, shape, texture) is None
    assert t.error_dependence(np.full(960, 3), shape, texture) is None


def test_range_of_the_bias_encloses_raw_and_corrected(files: dict[str, Path]) -> None:
    assert t.bias_range(*trials(files["resnet50_session-1"])) == (572 / 1200, 1038 / 1200)
    assert t.bias_range(*trials(files["subject-02_session_1"])) == (54 / 1185, 278 / 1185)  # 15 without an answer
    assert np.isnan(t.bias_range([-1, -1], [0, 1], [1, 0])).all()


def exemplars(seed: int, images: int, shapes: int, textures: int) -> tuple[np.ndarray, ...]:
    """Trials whose decisions depend on a shape exemplar and a texture exemplar that images share, and their labels."""
    generator = np.random.default_rng(seed)
    shape, texture = CUES[generator.integers(0, len(CUES), images)].T
    of = (
        shape * shapes + generator.integers(0, shapes, images),
        texture * textures + generator.integers(0, textures, images),
    )
    lean = generator.normal(size=16 * shapes)[of[0]] - generator.normal(size=16 * textures)[of[1]]
    guess = generator.integers(0, 16, images)
    u, v = generator.random(images), generator.random(images)
    choice = np.where(u < 0.3, guess, np.where(v < 1 / (1 + np.exp(-lean)), shape, texture))
    return choice, shape, texture, *of


def crossed_by_hand(score: Callable[..., Any], trials: tuple[np.ndarray, ...]) -> float:
    """Half-width: one exemplar of a kind left out at a time, the variances of both kinds added."""
    choice, shape, texture, *kinds = trials
    variance, degrees = 0.0, []
    for labels in kinds:
        names = np.unique(labels[shape != texture])
        left = [score(*(v[labels != name] for v in (choice, shape, texture)), 16).value for name in names]
        variance += (len(names) - 1) / len(names) * ((np.array(left) - np.mean(left)) ** 2).sum()
        degrees.append(len(names) - 1)
    return float(stats.t.ppf(0.975, min(degrees)) * np.sqrt(variance))


@pytest.mark.parametrize("score", [t.texture_bias, t.texture_bias_corrected])
def test_intervals_over_crossed_exemplars_are_those_by_hand(score: Callable[..., Any]) -> None:
    trials = exemplars(0, 1200, shapes=6, textures=3)
    both = score(*trials[:3], 16, clusters=trials[3:])
    assert (both.high - both.low) / 2 == pytest.approx(crossed_by_hand(score, trials), rel=1e-9)
    one = score(*trials[:3], 16, clusters=trials[3:4])
    assert (one.high - one.low) / 2 == pytest.approx(crossed_by_hand(score, trials[:4]), rel=1e-9)
    assert both.value == one.value == score(*trials[:3], 16).value
    assert both.high - both.low > one.high - one.low


def test_without_guesses_both_biases_have_one_interval() -> None:
    choice, shape, texture, *kinds = exemplars(1, 1200, shapes=6, textures=3)
    choice = np.where((choice == shape) | (choice == texture), choice, shape)
    raw, corrected = (f(choice, shape, texture, 16, clusters=kinds) for f in (t.texture_bias, t.texture_bias_corrected))
    assert (raw.value, raw.low, raw.high) == (corrected.value, corrected.low, corrected.high)


def test_images_whose_cues_agree_do_not_count_as_clusters() -> None:
    choice, shape, texture, *kinds = exemplars(2, 600, shapes=6, textures=3)
    more = [np.concatenate((v, np.full(40, 1000 + i))) for i, v in enumerate(kinds)]
    same = np.concatenate((shape, np.zeros(40, int))), np.concatenate((texture, np.zeros(40, int)))
    for score in (t.texture_bias, t.texture_bias_corrected):
        with_agreeing = score(np.concatenate((choice, np.zeros(40, int))), *same, 16, clusters=more)
        assert with_agreeing == score(choice, shape, texture, 16, clusters=kinds)


def test_clusters_that_do_not_fit_are_refused() -> None:
    choice, shape, texture, *kinds = exemplars(2, 600, shapes=6, textures=3)
    with pytest.raises(ValueError, match="one label for each of the 600 images"):
        t.shape_hits(choice, shape, texture, [kinds[0][1:]])
    with pytest.raises(ValueError, match="one or two kinds of clusters, not 3"):
        t.texture_hits(choice, shape, texture, [*kinds, kinds[0]])
    one = [np.zeros(600)]
    assert t.texture_bias_corrected(choice, shape, texture, 16, one).reason == "no interval: too few clusters"
    hits = t.shape_hits(choice, shape, texture, one)
    assert (hits.low, hits.high) == (None, None)


def test_corrected_bias_over_exemplars_of_published_trials(files: dict[str, Path]) -> None:
    """ResNet-50's raw bias: standard error .041 to .055 over exemplars, .015 over images."""
    path = files["resnet50_session-1"]
    with path.open(newline="") as file:
        stems = [row["imagename"].rpartition("_")[2].partition(".")[0] for row in csv.DictReader(file)]
    kinds = [np.array([stem.split("-")[side] for stem in stems]) for side in (0, 1)]
    raw, corrected = (f(*trials(path), 16, clusters=kinds) for f in (t.texture_bias, t.texture_bias_corrected))
    errors = [(e.high - e.low) / (2 * stats.t.ppf(0.975, 47)) for e in (raw, corrected)]
    assert 0.041 <= errors[0] <= 0.055
    assert errors[0] < errors[1] < 2 * errors[0]
