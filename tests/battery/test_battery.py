# SPDX-License-Identifier: Apache-2.0
"""Every callback through the same tests: those with a yaml in conf/callbacks, and one from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import shipped
import stubs

from clip_align.callbacks.build import build_callbacks
from clip_align.evaluation.model_info import ModelInfo
from clip_align.evaluation.prepare import images_per_event
from clip_align.testing import battery

warnings.filterwarnings("ignore", module="pytorch_lightning")
PSYCHOPHYSICS = ("contrast_sensitivity", "spectral_sensitivity", "chromatic_discrimination")
IN_THE_DEFAULT_RUN = ("tid2013_remade", *PSYCHOPHYSICS, "world_cue_conflict", "world_noise", "world")
OTHERS = [name for name in shipped.names() if name not in IN_THE_DEFAULT_RUN]
# a benchmark that was changed: pytest -m "" -k <name> tests/battery
NAMES = [*IN_THE_DEFAULT_RUN, "outside", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "of"
    shipped.make_data(folder)
    return folder


@pytest.fixture
def make(name: str, data: Path) -> battery.Make:
    return stubs.Pairs if name == "outside" else partial(shipped.build, name, data)


def test_all_families_of_the_default_run_have_a_yaml() -> None:
    assert set(IN_THE_DEFAULT_RUN) <= set(shipped.names())


def test_an_event_of_the_default_run_encodes_at_most_10_000_images(data: Path) -> None:
    """A third of the main job's time: what is added to the default run has to be paid for somewhere."""
    callbacks = build_callbacks(shipped.configured([]).callbacks, {"world": data / "world"})
    assert [callback.name for callback in callbacks] == list(IN_THE_DEFAULT_RUN)
    assert [callback.adapt(ModelInfo(32, ("projection",))) for callback in callbacks] == [None] * 7  # none is null
    assert images_per_event(callbacks, 32) == 9_941  # 8,160 of them tiles of tid2013_remade; 10,000 are the limit
    images = {callback.name: images_per_event([callback], 32) for callback in callbacks}
    assert [images[name] for name in PSYCHOPHYSICS] == [24, 31, 238]
    reason = (shipped.ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert "encodes 9,941 images" in reason


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("check", battery.CHECKS, ids=lambda check: check.__name__)
def test_battery(check: Callable[[battery.Make, Path], None], make: battery.Make, tmp_path: Path) -> None:
    check(make, tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_key_is_family_and_name(name: str, make: battery.Make) -> None:
    callback = make()
    # a benchmark of a name that another family has too
    stem = name.removesuffix("_noise") if name in ("folder_noise", "held_out_noise") else name
    assert callback.key == f"{callback.family}/{'pairs' if name == 'outside' else stem}"


def on_ranks(names: Sequence[str], data: Path) -> dict[str, list[Any]]:
    """The answers of `battery_ranks` for these callbacks."""
    script = Path(__file__).parent / "battery_ranks.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(data), *names]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-2000:]
    answers: dict[str, list[Any]] = json.loads(done.stdout)
    return answers


@pytest.mark.timeout(1600)
@pytest.mark.parametrize("names", [IN_THE_DEFAULT_RUN, pytest.param(OTHERS, marks=pytest.mark.slow)], ids=len)
def test_one_rank_gives_the_numbers_of_two(names: Sequence[str], data: Path) -> None:
    answers = on_ranks(names, data)
    one, two = answers["1"], answers["2"]
    assert "raised" not in one[0], one
    assert "raised" not in two[0], two
    for name in names:
        assert two[0][name] == one[0][name], name
        assert two[1][name] is None
        assert any(isinstance(value, float) for value in one[0][name].values()), name
