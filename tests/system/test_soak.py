# SPDX-License-Identifier: Apache-2.0
"""Three of the runs that ``make soak`` kills, and what it reports of runs that differ."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from run_differences import differences
from soak import SETTINGS, Options, main, soak

ATTEMPTS = 4  # on a busy machine a checkpoint may be written, and the run done, before the signal comes


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("first", [0, 1, 4])
def test_a_run_killed_twice_is_the_run_left_alone(first: int, tmp_path: Path) -> None:
    said: list[str] = []
    for attempt in range(ATTEMPTS):
        options = Options(kills=1, seed=first + 100 * attempt, settings=1, first=first, steps=20)
        seen = soak(options, tmp_path / str(attempt), said.append)
        assert (seen.identical, seen.runs) == (1, 1), said
        if seen.kills >= 2 and seen.in_checkpoint and (seen.emptied > 0) == SETTINGS[first].streaming:
            return
    pytest.fail(f"no run was killed in a checkpoint: {said}")


def test_four_runs_hold_the_kinds_that_matter() -> None:
    four = SETTINGS[:4]
    assert {(setting.streaming, setting.ranks) for setting in four} == {(s, r) for s in (False, True) for r in (1, 2)}
    assert any(setting.contrasted > 1 for setting in four)
    assert any(setting.averaged > 1 for setting in four)
    assert {setting.workers for setting in four} == {0, 2}


def made_up(folder: Path) -> Path:
    """A run's folder with two lines and a checkpoint."""
    (folder / "checkpoints").mkdir(parents=True)
    for name in ("last.ckpt", "step-000000002.ckpt"):
        torch.save({"state_dict": {"w": torch.ones(2)}}, folder / "checkpoints" / name)
    lines = [
        {"kind": "train", "train/loss": 1.0, "time/left_seconds": 1.0},
        {"kind": "event", "event": "checkpoint", "message": "saved"},
        {"kind": "train", "train/loss": 0.5, "time/left_seconds": 0.0},
    ]
    write(
        folder,
        [{"global_step": n, "samples_seen": n, "epoch": 0, "wall_seconds": 1.0, **x} for n, x in enumerate(lines)],
    )
    return folder


def write(folder: Path, lines: list[dict[str, object]]) -> None:
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def test_what_differs_is_named(tmp_path: Path) -> None:
    one = made_up(tmp_path / "one")
    other = Path(shutil.copytree(one, tmp_path / "other"))
    lines = [json.loads(line) for line in (one / "metrics.jsonl").read_text().splitlines()]
    assert list(differences(one, other)) == []
    write(other, [lines[0] | {"wall_seconds": 9.0, "time/left_seconds": 3.0}, lines[2]])
    assert list(differences(one, other)) == []  # neither times nor events
    write(other, [lines[0], lines[2] | {"train/loss": 0.5000001}])
    assert list(differences(one, other)) == ["train line of step 2: train/loss"]
    write(other, lines[:1])
    assert list(differences(one, other)) == ["2 and 1 train lines"]
    write(other, lines)
    torch.save({"state_dict": {"w": torch.tensor([1.0, 2.0])}}, other / "checkpoints" / "last.ckpt")
    assert list(differences(one, other)) == ["checkpoints: last.ckpt"]
    (other / "checkpoints" / "step-000000002.ckpt").unlink()
    assert list(differences(one, other)) == ["files of checkpoints: step-000000002.ckpt"]


def test_a_wrong_argument_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kill=4"]) == 2
    assert capsys.readouterr().err == "kill: unknown key; did you mean kills?\n"
    assert main(["kills=0"]) == 2
    assert capsys.readouterr().err == "kills: 0 is out of range; it must be at least 1\n"
