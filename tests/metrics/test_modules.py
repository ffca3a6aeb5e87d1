# SPDX-License-Identifier: Apache-2.0
"""The Metrics against the pure functions, on one process and on 1, 2 and 3 real gloo ranks."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from clip_align.metrics import correlation, modules, noise, texture

SCRIPT = Path(__file__).with_name("modules_on_ranks.py")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("modules_on_ranks", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


def test_one_two_and_three_ranks_give_the_same_bits(script: ModuleType, tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path)], env=environment, timeout=240, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    wanted = {name: [value, "torch.float64"] for name, value in expected(script).items()}
    assert not any(value is None for value in expected(script).values())
    for world in (1, 2, 3):
        for rank in range(world):
            assert json.loads((tmp_path / f"{world}-{rank}.json").read_text()) == wanted, (world, rank)


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


def test_wrong_use_says_what_is_needed() -> None:
    metric = modules.WithinLevelSrocc()
    with pytest.raises(ValueError, match="takes model, human, level; got 2 tensors"):
        metric.update(torch.arange(3), torch.arange(3), torch.arange(3))
    with pytest.raises(ValueError, match=r"human has shape \(2,\), the item numbers \(3,\)"):
        modules.Srocc().update(torch.arange(3), torch.arange(3), torch.arange(2))
