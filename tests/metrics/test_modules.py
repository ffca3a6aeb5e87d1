# SPDX-License-Identifier: Apache-2.0
"""The Metrics against the pure functions, on one process and on 1, 2 and 3 real gloo ranks."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType

import gloo_ranks
import pytest
import torch

from clip_align.metrics import correlation, modules, noise, texture

SCRIPT = Path(__file__).with_name("modules_on_ranks.py")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return gloo_ranks.load(SCRIPT)


def expected(script: ModuleType) -> dict[str, float | None]:
    d = {k: v.numpy() for k, v in script.columns().items()}
    cues = (d["choice"], d["shape"], d["texture"])
    return {
        "Srocc": correlation.srocc(d["model"], d["human"]),
        "Plcc": correlation.plcc(d["model"], d["human"]),
        "Krocc": correlation.krocc(d["model"], d["human"]),
        "WithinLevelSrocc": correlation.within_level_srocc(d["model"], d["human"], d["level"]),
        "ContentSrocc": correlation.content_srocc(d["model"], d["human"], d["condition"]),
        "Accuracy": float((d["choice"] == d["right"]).mean()),
        "TextureBias": texture.texture_bias(*cues, classes=16).value,
        "TextureBiasCorrected": texture.texture_bias_corrected(*cues, classes=16).value,
        "CorrectedDrop": noise.corrected_drop(d["clean"], d["noisy"], d["right"], classes=16).value,
    }


def test_one_two_and_three_ranks_give_the_same_bits(script: ModuleType) -> None:
    wanted = {name: [value, "torch.float64"] for name, value in expected(script).items()}
    assert not any(value is None for value in expected(script).values())
    assert gloo_ranks.run(SCRIPT) == {str(world): [wanted] * world for world in (1, 2, 3)}


def test_in_lightning_on_one_and_two_ranks() -> None:
    """As a user has them: logged by a LightningModule, items dealt and repeated by Lightning's own sampler."""
    found = gloo_ranks.run(SCRIPT.with_name("lightning_on_ranks.py"))
    logged = found["1"]
    assert logged["val/srocc"] == pytest.approx(logged["scipy"], abs=1e-12)
    assert logged["val/accuracy"] == logged["fraction right"]
    assert found["2"] == logged


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_undefined_is_nan(script: ModuleType) -> None:
    data = script.columns()
    for metric in script.metrics():
        assert math.isnan(metric.compute())  # nothing seen
        metric.reset()
        constant = [torch.full_like(data[c], -1) if c != "human" else data[c] for c in metric.columns]
        metric.update(torch.arange(240), *constant)
        assert math.isnan(metric.compute()), metric
    broken = modules.Srocc()
    broken.update(torch.arange(3), torch.tensor([1.0, math.nan, 2.0]), torch.arange(3))
    assert math.isnan(broken.compute())


def test_merging_and_resetting(script: ModuleType) -> None:
    data, whole = script.columns(), modules.Srocc()
    for part in torch.arange(240).split(7):
        whole.update(part, data["model"][part], data["human"][part])
    assert whole.compute().item() == correlation.srocc(data["model"].numpy(), data["human"].numpy())
    whole.reset()
    whole.update(torch.tensor([2, 0, 1]), torch.tensor([3.0, 1.0, 2.0]), torch.tensor([3, 1, 2]))
    assert whole.compute().item() == 1.0
    assert not whole.half().state_dict()  # not in the checkpoint of a module that holds it


def test_wrong_use_is_an_error_with_what_is_needed() -> None:
    metric = modules.WithinLevelSrocc()
    with pytest.raises(ValueError, match="takes model, human, level; got 2 tensors"):
        metric.update(torch.arange(3), torch.arange(3), torch.arange(3))
    with pytest.raises(ValueError, match=r"human has shape \(2,\), the item numbers \(3,\)"):
        modules.Srocc().update(torch.arange(3), torch.arange(3), torch.arange(2))
