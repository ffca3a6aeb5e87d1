# SPDX-License-Identifier: Apache-2.0
"""Held-out samples retrieved by their captions: candidates, scores, noise, words, messages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from held_out_files import held_out_files

from clip_align.callbacks.common.labelled_images import LabelledImages
from clip_align.callbacks.noise import held_out as noise_held_out
from clip_align.callbacks.zero_shot.held_out import HeldOut
from clip_align.data.held_out import HeldOutSample, HeldOutSamples
from clip_align.errors import UserError
from clip_align.evaluation.features import Features
from clip_align.evaluation.model_info import ModelInfo
from clip_align.metrics.estimate import Estimate
from clip_align.testing.stubs import Words

N, C = 60, 10


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> HeldOutSamples:
    """Sixty images, every third of which has the caption of the one before it."""
    captions = [(f"caption {n - (n % 3 == 2)}", "another") for n in range(N)]
    return held_out_files(tmp_path_factory.mktemp("held"), captions, 20, 16)


def features_of(callback: LabelledImages, right: float) -> Features:
    """Features of a model that finds the captions of a fraction of the images, clean and noisy alike."""
    texts = [text for (text,) in callback.prompts().values()]
    ids = [stimulus.id for stimulus in callback.stimuli()]
    captions = list(callback.images.texts.values())
    eye = np.eye(len(texts), dtype=np.float32)
    images = []
    for row, name in enumerate(ids):
        number = callback.images.ids.index("/".join(name.split("/")[:2]))
        own = texts.index(captions[number])
        images.append(eye[own] if number < right * N else -eye[own] + 1e-3 * row * eye[0])
    return Features(np.stack(images)[:, None], {name: row for row, name in enumerate(ids)}, eye)


def scores_of(callback: LabelledImages, right: float) -> dict[str, Estimate]:
    items = callback.items(features_of(callback, right))
    return {score.name: score.compute(items) for score in callback.scores}


def test_candidates_are_the_own_caption_and_others_each_text_once(samples: HeldOutSamples) -> None:
    callback = HeldOut(candidates=C, held_out_samples=samples)
    known = callback.known_for(None)
    captions = list(callback.images.texts.values())
    texts = [text for (text,) in callback.prompts().values()]
    assert len(texts) == len(set(texts)) == 40
    for row in range(N):
        assert len(set(known.among_texts[row])) == C
        assert texts[known.among_texts[row, known.own[row]]] == captions[row]
    assert set(known.own) == set(range(C))  # the first place has no advantage
    again = HeldOut(candidates=C, held_out_samples=samples).known_for(None)
    assert np.array_equal(again.among_texts, known.among_texts)


def test_scores_are_counted_by_hand(samples: HeldOutSamples) -> None:
    callback = HeldOut(candidates=C, held_out_samples=samples)
    assert callback.key == "zero_shot/held_out"
    assert callback.scores[0].chance == 1 / C
    assert callback.scores[0].unit == "60 images, Wilson"
    assert scores_of(callback, 1.0)["accuracy"].value == 1
    assert scores_of(callback, 0.5)["accuracy"].value == 0.5
    assert scores_of(callback, 0.0)["accuracy"].value == 0


def test_a_model_that_guesses_is_at_chance(samples: HeldOutSamples) -> None:
    callback = HeldOut(candidates=C, held_out_samples=samples)
    ids = [stimulus.id for stimulus in callback.stimuli()]
    hits = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        images = rng.normal(size=(N, 1, 16)).astype(np.float32)
        texts = rng.normal(size=(40, 16)).astype(np.float32)
        items = callback.items(Features(images, {name: i for i, name in enumerate(ids)}, texts))
        hits.append(callback.scores[0].compute(items).value)
    assert np.mean(hits) == pytest.approx(1 / C, abs=0.025)


def test_noise_is_that_of_the_other_benchmarks(samples: HeldOutSamples) -> None:
    callback = noise_held_out.HeldOut(candidates=C, held_out_samples=samples, levels=[0.1], name="held_out")
    assert callback.adapt(ModelInfo(32, ("projection",), Words())) is None
    assert callback.key == "noise/held_out"
    stimuli = list(callback.stimuli())
    assert len(stimuli) == 2 * N
    assert stimuli[0].load().shape == (20, 16, 3)
    assert stimuli[-1].load().shape == (32, 32, 3)
    found = scores_of(callback, 0.8)
    assert found["accuracy_clean"].value == found["accuracy_10"].value == 0.8
    assert found["corrected_drop_10"].value == 0
    assert next(s.chance for s in callback.scores if s.name == "accuracy_clean") == 1 / C


def test_captions_with_unknown_words_are_left_out(samples: HeldOutSamples) -> None:
    callback = HeldOut(candidates=C, held_out_samples=samples)
    assert callback.adapt(ModelInfo(32, ("projection",), Words(["0", "1"]))) is None
    assert len(callback.rows()) == N - 3  # of image 2 too, whose caption is that of image 1
    assert callback.scores[0].unit == "57 images, Wilson; 57 of 60 captions (the others have unknown words)"
    assert scores_of(callback, 1.0)["accuracy"].value == 1
    assert callback.adapt(ModelInfo(32, ("projection",), Words(["caption"]))) == (
        "of its 60 held-out captions 0 different ones have words that the tokenizer knows, 10 are needed"
    )


@pytest.mark.parametrize(("given", "different"), [(None, 0), (HeldOutSamples(()), 0)])
def test_without_samples_the_message_says_how_to_hold_some_out(given: HeldOutSamples | None, different: int) -> None:
    with pytest.raises(UserError) as caught:
        HeldOut(held_out_samples=given)
    assert caught.value.lines == (
        f"data.held_out: zero_shot/held_out needs 3 different captions of samples that are not trained on, there are "
        f"{different}; hold samples out with data.held_out=1000, or leave this benchmark out",
    )
    with pytest.raises(UserError) as caught:
        HeldOut(candidates=50, held_out_samples=given)
    assert caught.value.lines == (
        f"data.held_out: zero_shot/held_out needs 50 different captions of samples that are not trained on, there are "
        f"{different}; hold samples out with data.held_out=1000, or give fewer candidates, or leave this benchmark out",
    )


def test_by_default_the_candidates_are_as_many_as_there_are_up_to_100(samples: HeldOutSamples) -> None:
    callback = HeldOut(held_out_samples=samples)
    assert callback.scores[0].chance == 1 / 40
    assert callback.scores[0].label == "held out, among 40 captions"
    assert callback.known_for(None).among_texts.shape == (N, 40)
    assert scores_of(callback, 1.0)["accuracy"].value == 1
    assert callback.adapt(ModelInfo(32, ("projection",), Words(["0", "1"]))) is None
    assert callback.scores[0].chance == 1 / 38  # of those with known words
    assert callback.adapt(ModelInfo(32, ("projection",), Words(["caption"]))) == (
        "of its 60 held-out captions 0 different ones have words that the tokenizer knows, 3 are needed"
    )
    many = HeldOutSamples(tuple(HeldOutSample(f"k{n}", "/a", 0, None, (f"caption {n}",)) for n in range(150)))
    assert HeldOut(held_out_samples=many).scores[0].chance == 1 / 100


def test_a_typed_value_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        HeldOut(held_out_samples=5)
    assert caught.value.lines == ("zero_shot/held_out: held_out_samples: not an option; leave it out",)


def test_the_record_names_the_options_not_the_samples(samples: HeldOutSamples, tmp_path: Path) -> None:
    callback = HeldOut(candidates=C, held_out_samples=samples)
    assert callback.options["held_out_samples"] == "HeldOutSamples"
    assert callback.options["candidates"] == C


def test_there_are_no_published_corruptions_of_held_out_images(samples: HeldOutSamples) -> None:
    with pytest.raises(UserError) as caught:
        noise_held_out.HeldOut(candidates=C, held_out_samples=samples, c_files="/a", corruption="fog")
    assert caught.value.lines == (
        "noise/held_out: c_files: there are no published corruptions of these images; leave it out",
    )
