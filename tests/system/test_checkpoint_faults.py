# SPDX-License-Identifier: Apache-2.0
"""What happens while a checkpoint is written: a full disk, a signal."""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from training_runs import code_of, forked, lines, losses, text, when

from clip_align.runs.folder import leftovers
from clip_align.training.checkpoint_files import LAST, damage, newest, step_files, step_of

FREE = 500_000  # bytes that a file may have meanwhile: more than a record, less than a checkpoint


def warnings(run: Path) -> list[str]:
    return [line["message"] for line in lines(run, "event") if line["event"] == "warning"]


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of another process are Linux's")
@pytest.mark.parametrize("change", ["slow", pytest.param("slow_with_a_thread", marks=pytest.mark.slow)])
def test_a_disk_that_is_full_for_a_while(tmp_path: Path, small: list[str], change: str) -> None:
    """Training continues, the last checkpoint stays, one line reports it.

    The system itself refuses the write, in the middle of a file, as a full disk or a quota does.
    """
    folder = tmp_path / "f" / "checkpoints"
    more = ["name=f", "trainer.max_steps=48", "callbacks=[]", "trainer.log_every_n_steps=1", "checkpoint.best=null"]
    run = forked([*small, *more, "checkpoint.every_n_steps=4"], tmp_path / "out", change)
    when(lambda: len(step_files(folder)) > 1, run)
    unlimited = resource.prlimit(run.pid, resource.RLIMIT_FSIZE, (FREE, resource.RLIM_INFINITY))
    when(lambda: bool(warnings(tmp_path / "f")), run)
    last = step_files(folder)[-1]
    first_refused = max(losses(tmp_path / "f"))
    when(lambda: max(losses(tmp_path / "f")) >= first_refused + 5, run)  # another attempt
    found = newest(folder)
    assert found is not None
    assert (found.path.samefile(last), found.given_up) == (True, ())
    assert not any(damage(path) for path in folder.glob("*.ckpt"))
    assert not list(folder.glob(".*")), "what was written of the refused file is left"
    resource.prlimit(run.pid, resource.RLIMIT_FSIZE, unlimited)
    assert code_of(run) == 0, text(tmp_path)
    assert [line.partition(" cannot be written ")[2] for line in warnings(tmp_path / "f")] == [
        f"(File too large); free some space; training continues, the last checkpoint is {last.name}"
    ]
    assert [path.name for path in step_files(folder)] == ["step-000000044.ckpt", "step-000000048.ckpt"]
    assert (folder / LAST).samefile(step_files(folder)[-1])
    assert len(losses(tmp_path / "f")) == 48


def test_a_signal_while_a_checkpoint_is_written(tmp_path: Path, small: list[str]) -> None:
    folder = tmp_path / "s" / "checkpoints"
    more = ["name=s", "trainer.max_steps=99999", "checkpoint.best=null", "checkpoint.every_n_steps=1"]
    run = forked([*small, *more], tmp_path / "out")
    when(lambda: len(step_files(folder)) > 1 and bool(leftovers(folder)), run)
    os.kill(run.pid, signal.SIGTERM)
    assert code_of(run) == 143, text(tmp_path)
    found = newest(folder)
    assert found is not None
    assert (found.path.samefile(step_files(folder)[-1]), found.given_up) == (True, ())
    assert step_of(step_files(folder)[-1]) == lines(tmp_path / "s")[-1]["global_step"]
    assert not leftovers(folder)
