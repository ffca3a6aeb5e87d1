# SPDX-License-Identifier: Apache-2.0
"""The baseline of models that have not learnt anything."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
import torch
from human_stub import HumanStub

from clip_align.config import Config
from clip_align.config_plain import to_plain
from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.evaluation.evaluator import EvaluationSettings
from clip_align.models.tiny import build_tiny
from clip_align.training import after_training
from clip_align.training import untrained_baseline as untrained

MODEL = {"kind": "tiny", "image_size": 32, "words": 20}


def evaluated_model(seed: int) -> EvaluatedModel:
    torch.manual_seed(seed)
    return EvaluatedModel(build_tiny(8, 32, 24, 5), 32, (0.5,) * 3, (0.25,) * 3)


def never() -> bool:
    return False


def test_mean_and_spread_over_five_initialisations_are_measured_once(tmp_path: Path) -> None:
    made: list[int] = []

    def make(seed: int) -> EvaluatedModel:
        made.append(seed)
        return evaluated_model(seed)

    callback, settings = HumanStub("x"), EvaluationSettings(tmp_path, notify=lambda line: None)
    assert untrained.with_untrained_baseline([callback]) == [callback]
    assert untrained.cached(callback, MODEL, tmp_path) is None
    found = untrained.measure(callback, make, settings, never)
    assert made == [0, 1, 2, 3, 4]
    assert found is not None
    assert set(found) == {"srocc"}
    mean, sd = found["srocc"][untrained.MEAN], found["srocc"][untrained.SD]
    assert -1 <= mean <= 1
    assert 0 < sd < 1
    untrained.keep(callback, MODEL, tmp_path, found)
    assert untrained.cached(callback, MODEL, tmp_path) == found
    assert untrained.cached(callback, {**MODEL, "image_size": 64}, tmp_path) is None
    assert untrained.cached(HumanStub("y"), MODEL, tmp_path) is None

    assert not untrained.carried(callback)
    line = untrained.line_with(callback, found, 8)
    assert line["scores"][0]["baselines"] == found["srocc"]
    assert (line["key"], line["n"], line["weights"]) == ("human/x", 8, "raw")
    assert untrained.line_with(callback, found, 8, "ema")["weights"] == "ema"
    assert untrained.carried(callback)


def test_it_is_never_silent_for_longer_than_a_batch_takes(tmp_path: Path) -> None:
    shown: list[str] = []
    settings = EvaluationSettings(tmp_path, batch_size=4, notify=lambda what: shown.append(str(what)))
    untrained.measure(HumanStub("x"), evaluated_model, settings, never)
    counts = [f"human/x of untrained models: {n} of 80 images encoded" for n in range(0, 81, 4)]
    assert list(dict.fromkeys(line for line in shown if "untrained" in line)) == counts


def test_values_are_what_the_models_score(tmp_path: Path) -> None:
    values = untrained._mean_and_sd([0.1, None, 0.4, 0.2])
    assert values[untrained.MEAN] == pytest.approx(statistics.mean([0.1, 0.4, 0.2]))
    assert values[untrained.SD] == pytest.approx(statistics.stdev([0.1, 0.4, 0.2]))
    assert untrained._mean_and_sd([None, 0.3]) == {}


def test_a_signal_stops_it_and_nothing_is_kept(tmp_path: Path) -> None:
    settings = EvaluationSettings(tmp_path, notify=lambda line: None)
    assert untrained.measure(HumanStub("x"), evaluated_model, settings, lambda: True) is None


def test_a_cache_that_cannot_keep_it_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    line = after_training._keep(HumanStub("x"), MODEL, tmp_path / "file", {"srocc": {untrained.MEAN: 0.1}})
    assert line is not None
    assert line.startswith(f"human/x: what untrained models score is not kept for the next run ({tmp_path / 'file'}: ")
    assert after_training._keep(HumanStub("x"), MODEL, tmp_path, {"srocc": {untrained.MEAN: 0.1}}) is None


def test_the_key_of_the_cache_is_what_earlier_runs_wrote() -> None:
    built_from = after_training._built_from(Config().model, "32", ["a", "b"])
    later = ("tokenizer", "context_length", "patch_dropout", "pretrained")  # keys that earlier releases did not have
    stored = {key: value for key, value in to_plain(Config())["model"].items() if key not in later}
    assert built_from == {**stored, "words": 2, "precision": "32"}
