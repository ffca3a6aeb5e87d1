# SPDX-License-Identifier: Apache-2.0
"""How a run ends: its exit code, its last lines, its record and provenance, whatever happened."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clip_align.errors import FAILED, INTERRUPTED, TERMINATED, UserError
from clip_align.processes.torchrun import under_torchrun
from clip_align.record.record import Position, Record
from clip_align.runs.folder import RunFolder, write_provenance
from clip_align.training.launch_ranks import ChildRanks
from clip_align.training.signals import Signals

STATUS = {0: "done", INTERRUPTED: "interrupted", TERMINATED: "terminated"}  # any other code: failed
DEAD_PEER = ("closed by peer", "closed by remote peer", "connection reset", "broken pipe", "remote process")
REASON_S = 5.0  # for a failed rank to have said why
CHILDREN_S = 20.0  # for the other ranks to end after this one


@dataclass
class RunEnd:
    """Follows a run on one rank; what is set here as it gets known is closed in the end.

    folder, record: of rank 0. position: where the run is, for the last line of the record.
    """

    signals: Signals
    rank: int = 0
    world: int = 1
    code: int = 0
    folder: Path | None = None
    record: Record | None = None
    children: ChildRanks | None = None
    began: float = field(default_factory=time.monotonic)
    position: Callable[[], Position] | None = None
    _failing: bool = False

    @contextlib.contextmanager
    def followed(self) -> Iterator[None]:
        """Turn whatever ends the block into a code and lines; nothing is raised."""
        self.signals.hard = self._hard
        try:
            yield
            self.close()
        except UserError as error:
            self._failed(error.exit_code, error.lines, on_all_ranks=error.on_all_ranks and self.rank > 0)
        except SystemExit as stop:  # a signal before training
            self.code = stop.code if isinstance(stop.code, int) else FAILED
            self.close()
            self._leave_others()
        except Exception as error:
            self._failed(self._code(error), (self._of_a_rank(error) or self._line(error),))
        finally:
            if self.children is not None:
                self.children.end(CHILDREN_S if self.code in STATUS else 0.0)

    def lost(self, reason: str) -> None:
        """A rank has failed, and this process waits for it in a collective: end here. Called in a thread."""
        if self._failing:  # it has noticed after all
            return
        self.code = FAILED
        self.close(reason)
        print(reason, file=sys.stderr, flush=True)
        if self.children is not None:
            self.children.kill()
        os._exit(self.code)

    def close(self, message: str | None = None) -> None:
        """Write the last line of the record and the provenance. Mirrors draw and upload what is there."""
        status = STATUS.get(self.code, "failed")
        if self.record is not None:
            run_position = (
                self.position() if self.position else Position(0, 0, 0, round(time.monotonic() - self.began, 3))
            )
            event = "finished" if self.code == 0 else "stopped"
            text = message or f"{status} at step {run_position.global_step}"
            with self._said("record"):
                self.record.append("event", run_position, {"event": event, "message": text, "exit_code": self.code})
            with self._said("record"):
                self.record.close(status)
            self.record = None
        if self.folder is not None:
            status = STATUS.get(self.code, "failed")  # closing the record may have failed
            with self._said("provenance"):
                write_provenance(RunFolder(self.folder), status=status, exit_code=self.code, ended=_now())

    def _code(self, error: Exception) -> int:
        """Ranks that a signal tells to end do not all end at once; any other error is a failure, signal or not.

        torchrun signals the ranks that are left when one has failed: there a lost peer is no order to stop.
        """
        stopped = self.signals.exit_code if _peer_is_gone(error) and not under_torchrun() else 0
        return stopped or FAILED

    def _failed(self, code: int, lines: Sequence[str], on_all_ranks: bool = False) -> None:
        self._failing = True
        self.code = code
        self._keep_traceback()
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            traceback.print_exc()
        self.close(lines[0])
        prefix = f"rank {self.rank}: " if self.rank else ""
        for line in () if on_all_ranks else lines:  # what all ranks know is said by the first
            print(f"{prefix}{line}", file=sys.stderr, flush=True)
        self._leave_others()

    def _leave_others(self) -> None:
        """A process group whose other ranks have gone, or wait for this one, cannot be left in order."""
        if self.world > 1:
            if self.children is not None:
                self.children.kill()
            sys.stdout.flush()
            os._exit(self.code)

    def _of_a_rank(self, error: Exception) -> str | None:
        """What a child has failed for, where ``error`` is only that it is gone."""
        if self.children is None:
            return None
        return self.children.reason(REASON_S if _peer_is_gone(error) else 0.0)

    def _line(self, error: Exception) -> str:
        text = next((line for line in str(error).splitlines() if line.strip()), "").strip()
        name = type(error).__name__
        if name == "OutOfMemoryError":
            return "trainer: the GPU's memory is full; try a smaller data.batch_size, or trainer.precision=bf16-mixed"
        if self.world > 1 and _peer_is_gone(error):
            return f"another rank has ended, which says why itself ({name}: {text})"
        return f"{name}: {text} (with HYDRA_FULL_ERROR=1 the whole traceback is shown)"

    def _keep_traceback(self) -> None:
        if self.folder is not None and self.rank == 0:
            with contextlib.suppress(OSError), RunFolder(self.folder).train_log.open("a", encoding="utf-8") as log:
                log.write(traceback.format_exc())

    def _hard(self, code: int) -> None:
        """The process ends at once: no report, but the truth about the run."""
        if self.children is not None:
            self.children.kill()
        if self.folder is not None and self.rank == 0:
            write_provenance(RunFolder(self.folder), status=STATUS.get(code, "failed"), exit_code=code, ended=_now())

    @contextlib.contextmanager
    def _said(self, what: str) -> Iterator[None]:
        """An error at the very end is told, and does not hide the one that ended the run."""
        try:
            yield
        except Exception as error:
            self.code = self.code or FAILED
            print(f"{what}: {self._line(error)}", file=sys.stderr, flush=True)


def _peer_is_gone(error: Exception) -> bool:
    return any(word in str(error).lower() for word in DEAD_PEER)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
