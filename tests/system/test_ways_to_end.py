# SPDX-License-Identifier: Apache-2.0
"""Every way a run can end leaves no process behind, reports why in our words, and keeps what can be kept."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from ways_to_end import WAYS, RunOutcome, cases, end

CODES = {
    "done": 0, "Ctrl-C": 130, "SIGTERM": 143, "SIGHUP": 143, "SIGUSR1": 143, "SIGUSR2": 143,
    "worker stopped, SIGTERM": 143, "rank stopped, SIGTERM": 143, "/dev/shm too small": 2, "damaged checkpoints": 2,
}  # fmt: skip
SAYS = {
    "worker error": r"^ValueError: something is wrong |^data: ValueError: something is wrong \(in loader worker \d",
    "worker killed": r"^data: a loader worker was killed, most likely because this machine's memory is full; take ",
    "worker stopped": r"^data: waited \d+ s for a batch of data; ",
    "rank killed": r"^rank 1: ended with code -9$",
    "rank stopped": r"^waited \d+ s for rank 1, which gives no sign of life; ",
    "rank stopped, SIGTERM": r"^stopped by a signal while waiting for rank 1, which gives no sign of life$",
    "disk full": r"^(checkpoint|record|items): .* cannot be written .*(No space left|full)",
    "NaN loss": r"^train/loss is nan at step 14; ",
    "/dev/shm too small": r"^data\.workers: \d workers?( on 2 ranks)? need .* of shared memory \(/dev/shm\) for ",
    "/dev/shm full": r"^data: shared memory \(/dev/shm\) is full",
    "damaged checkpoints": r"^resume: no checkpoint in .* is whole \(",
}
SAVED_AT_THE_END = {
    "Ctrl-C", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "worker error", "worker killed", "worker stopped",
    "worker stopped, SIGTERM", "rank killed", "rank stopped", "rank stopped, SIGTERM",
}  # fmt: skip


def code_of_case(name: str, ranks: int) -> int:
    """Exit code; a run on one rank whose process is killed has none of its own."""
    return -9 if name == "rank killed" and ranks == 1 else CODES.get(name, 1)


FULLEST = {name: (name, workers, ranks) for name, workers, ranks in cases()}.values()  # most workers, most ranks
CASES = [pytest.param(*case, marks=pytest.mark.slow if case in FULLEST else pytest.mark.exhaustive) for case in cases()]


@pytest.mark.parametrize(("name", "workers", "ranks"), CASES)
def test_a_way_to_end(
    name: str,
    workers: int,
    ranks: int,
    tmp_path: Path,
    cache: Path,
    record_property: Callable[[str, object], None],
) -> None:
    try:
        found = end(WAYS[name], workers, ranks, tmp_path, cache)
    except PermissionError as error:
        pytest.skip(f"needs to mount: {error}")
    for key, value in {"way": name, "workers": workers, "ranks": ranks, **found.row()}.items():
        record_property(key, value)
    assert found.code == code_of_case(name, ranks), found.output
    assert found.left == 0, found.output
    assert found.seconds < 100, found.output
    assert "Traceback" not in found.output
    killed = found.code == -9
    if name in SAYS and not killed:
        reported = found.output.splitlines()  # the first rank to fail reports it, whichever that is
        reported += [line.removeprefix("rank 1: ") for line in reported]
        assert any(re.search(SAYS[name], line) for line in reported), found.output
    if found.code != 2 and not killed:
        assert found.status == {0: "done", 130: "interrupted", 143: "terminated"}.get(found.code, "failed")
        assert found.report or name == "disk full"
    assert found.twice == []
    if name in SAVED_AT_THE_END and not killed:
        assert at_the_last_step(found), found.output


def at_the_last_step(found: RunOutcome) -> bool:
    """The newest checkpoint is of the step that the record ends with."""
    return found.checkpoint == f"step {found.step}"
