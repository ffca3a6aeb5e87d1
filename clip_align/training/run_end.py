# SPDX-License-Identifier: Apache-2.0
"""How a run ends: its exit code, its last lines, its record and provenance, whatever happened."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clip_align.data.workers import Workers
from clip_align.errors import FAILED, INTERRUPTED, TERMINATED, UserError
from clip_align.processes.lifeline import Lifeline
from clip_align.processes.stop_signals import exit_code
from clip_align.processes.torchrun import under_torchrun
from clip_align.record.record import Position, Record
from clip_align.runs.folder import RunFolder, release, write_provenance
from clip_align.training.error_lines import explained, peer_is_gone
from clip_align.training.launch_ranks import ChildRanks
from clip_align.training.signals import Signals
from clip_align.training.stall_watch import Watch

STATUS = {0: "done", INTERRUPTED: "interrupted", TERMINATED: "terminated"}  # any other code: failed
REASON_S = 5.0  # for a failed rank to have written its reason
CHILDREN_S = 20.0  # for the other ranks to end after this one
SAVE_S = 300.0  # for a checkpoint that a thread writes before it ends the process
LAST_S = 20.0  # for record, page and provenance when a thread ends the process: after that it ends without them


def _to_stderr(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # the terminal has been closed; the record has the line
        print(line, file=sys.stderr, flush=True)


@dataclass
class RunEnd:
    """Follows a run on one rank; what is set here as it gets known is closed in the end.

    folder, record: of rank 0. position: where the run is, for the last line of the record. workers: of the loader.
    rescue: writes a checkpoint without the other ranks, where there is something to save. unsaved: what a failure
    costs, for its line; called after that. watch: looks at the training.
    own_process: False in somebody's program or notebook: signals do not end its process, and what the user has to know
    is kept in ``reasons`` instead of printed. lock: on the folder, released in the end. ending: what the last line says
    in place of the status and the step. first_here: whether this is the first rank of another machine, which prints
    there what the first rank prints. lifeline: to the ranks that torchrun or srun has started. print_error: shows an
    error, a line.
    """

    rank: int = 0
    world: int = 1
    first_here: bool = False
    code: int = 0
    folder: Path | None = None
    record: Record | None = None
    children: ChildRanks | None = None
    lifeline: Lifeline | None = None
    workers: Workers | None = None
    watch: Watch | None = None
    position: Callable[[], Position] = field(init=False)
    rescue: Callable[[], object] | None = None
    unsaved: Callable[[], str | None] | None = None
    own_process: bool = True
    lock: int | None = None
    ending: str = ""
    reasons: tuple[str, ...] = ()
    print_error: Callable[[str], None] = _to_stderr
    signals: Signals = field(init=False)
    _ends: threading.Lock = field(default_factory=threading.Lock)  # held by the thread that ends the run

    def __post_init__(self) -> None:
        self.signals = Signals(self._hard, self.own_process)
        began = time.monotonic()
        self.position = lambda: Position(0, 0, 0, round(time.monotonic() - began, 3))  # until training begins

    @contextlib.contextmanager
    def followed(self) -> Iterator[None]:
        """Turn whatever ends the block into a code and lines; nothing is raised."""
        try:
            yield
            self.close()
        except UserError as error:
            self._main_thread_ends()
            self._failed(error.exit_code, error.lines, on_all_ranks=error.on_all_ranks)
        except SystemExit as stop:  # a signal before training
            self._main_thread_ends()
            self.code = stop.code if isinstance(stop.code, int) else FAILED
            self._end_lifeline("stopped by a signal")
            self.close()
            self._leave_others()
        except Exception as error:
            self._main_thread_ends()
            code = self._code(error)  # before waiting: a signal that comes meanwhile has not ended the run
            gone = peer_is_gone(error)
            reason = self._reason_of_others(REASON_S if gone else 0.0)  # the error says then only that a rank is gone
            of_others = self.lifeline is not None and (reason is not None or gone)
            self._failed(code, (reason or self._line(error),), of_others=of_others)
        finally:
            if self.watch is not None:
                self.watch.stop()
            self._end_lifeline()
            if self.children is not None:
                self.children.end(CHILDREN_S if self.code in STATUS else 0.0)
            if self.workers is not None and not self.workers.end():
                self._exit()  # one that not even SIGKILL ends (it waits for a disk) would be waited for at the exit
            release(self.lock)
            self.lock = None
            self._ends.acquire(blocking=False)  # the run is over: none of its threads ends this process any more

    def lost(self, reason: str) -> None:
        """A rank has failed, and this process waits for it in a collective: end here. Called in a thread."""
        self._end_here(FAILED, reason)

    def stuck(self, reason: str) -> None:
        """The main thread waits for what does not come: end here. Called in a thread; exits with a signal's code."""
        first = self.signals.first_signal
        self._end_here(exit_code(first[0]) if first else FAILED, reason)

    def _end_here(self, code: int, reason: str) -> None:
        """End the process from a thread, whatever the main thread is in; a disk that hangs cannot stop it either."""
        if not self._ends.acquire(blocking=False):
            return  # the main thread has noticed after all
        self.code = code
        _exit_within(SAVE_S, code)
        self._save()
        _exit_within(LAST_S, code)
        self._end_lifeline(reason)
        of_others = self.lifeline is not None and self.lifeline.reason() == reason
        reason = self._with_loss(reason)
        self.close(reason)
        self._print((reason,), of_all=of_others)
        self._exit()

    def _reason_of_others(self, wait_s: float) -> str | None:
        """Why another rank has failed, as far as it could say; waited for up to ``wait_s``."""
        if self.children is not None:
            return self.children.reason(wait_s)
        return self.lifeline.reason(wait_s) if self.lifeline is not None else None

    def _end_lifeline(self, *reason: str) -> None:
        if self.lifeline is not None:
            self.lifeline.end(reason)

    def _main_thread_ends(self) -> None:
        """Once a thread has begun to end the process, the errors that this causes here are of no interest."""
        if not self._ends.acquire(blocking=False):
            time.sleep(2 * LAST_S)

    def _save(self, reasons: Sequence[str] = ()) -> None:
        """A failure that leaves a whole state costs no step of it; ``reasons``: lines that are printed anyway."""
        if self.rescue is None:
            return
        try:
            self.rescue()
        except UserError as error:
            for line in error.lines:
                if line not in reasons:
                    self.print_error(line)
        except Exception as error:
            self.print_error(f"checkpoint: {self._line(error)}")

    def _with_loss(self, line: str) -> str:
        """The line of an error, with what it costs."""
        lost = self.unsaved() if self.unsaved is not None else None
        return f"{line}; {lost}" if lost else line

    def close(self, message: str | None = None) -> None:
        """Write the last line of the record and the provenance. Mirrors draw and upload what is there."""
        status = STATUS.get(self.code, "failed")
        if self.record is not None:
            run_position = self.position()
            event = "finished" if self.code == 0 else "stopped"
            text = message or self.ending or f"{status} at step {run_position.global_step}"
            with self._reported("record"):
                self.record.append("event", run_position, {"event": event, "message": text, "exit_code": self.code})
            with self._reported("record"):
                self.record.close(status)
            self.record = None  # closed once, whoever calls this again
        if self.folder is not None:
            status = STATUS.get(self.code, "failed")  # closing the record may have failed
            with self._reported("provenance"):
                write_provenance(RunFolder(self.folder), status=status, exit_code=self.code, ended=_now())

    def _code(self, error: Exception) -> int:
        """Ranks that a signal ends do not all end at once; any other error is a failure, signal or not.

        torchrun signals the ranks that are left when one has failed: there a lost peer is no order to stop.
        """
        stopped = self.signals.exit_code if peer_is_gone(error) and not under_torchrun() else 0
        return stopped or FAILED

    def _failed(self, code: int, lines: Sequence[str], on_all_ranks: bool = False, of_others: bool = False) -> None:
        """End with these lines; ``on_all_ranks``: each has them. ``of_others``: they say why another rank has ended."""
        self.code = code
        self._end_lifeline(*(() if of_others else lines))
        if self.watch is not None:
            self.watch.stop()
        if self.folder is not None and self.rank == 0:  # the other ranks share this folder
            with contextlib.suppress(OSError), RunFolder(self.folder).train_log.open("a", encoding="utf-8") as log:
                log.write(traceback.format_exc())
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            traceback.print_exc()
        # before the record is closed: the checkpoint is an event in it
        self._save(lines)
        lines = [self._with_loss(lines[0]), *lines[1:]]
        self.close(lines[0])
        self.reasons = tuple(lines)
        if not self.own_process and self.world == 1:
            lines = ()  # the caller raises them; a rank of several ends its process below
        self._print(lines, of_all=on_all_ranks or of_others)
        self._leave_others()

    def _print(self, lines: Sequence[str], of_all: bool) -> None:
        """Print lines with this rank's name; those of all ranks are printed by the first rank of each machine."""
        if of_all and self.rank and not self.first_here:
            return
        for line in lines:
            named = self.rank == 0 or (of_all and line.startswith("rank "))
            self.print_error(line if named else f"rank {self.rank}: {line}")

    def _leave_others(self) -> None:
        """A process group whose other ranks have gone, or wait for this one, cannot be left in order."""
        if self.world > 1:
            self._exit()

    def _exit(self) -> None:
        """End this process and those it has started, at once."""
        self._kill_others()
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(self.code)  # not sys.exit, which would wait for threads, workers and the process group

    def _line(self, error: Exception) -> str:
        text = next((line for line in str(error).splitlines() if line.strip()), "").strip()
        if self.world > 1 and peer_is_gone(error):
            return f"another rank has ended, which says why itself ({type(error).__name__}: {text})"
        workers = self.workers
        known = explained(error, workers.count, workers.killed_by) if workers is not None else explained(error)
        return known or f"{type(error).__name__}: {text} (with HYDRA_FULL_ERROR=1 the whole traceback is shown)"

    def _hard(self, code: int) -> None:
        """The process ends at once: no report, but the truth about the run."""
        self._kill_others()
        if self.folder is not None and self.rank == 0:
            write_provenance(RunFolder(self.folder), status=STATUS.get(code, "failed"), exit_code=code, ended=_now())

    def _kill_others(self) -> None:
        """End the processes that this one has started: other ranks, and workers of the loader."""
        if self.children is not None:
            self.children.kill()
        if self.workers is not None:
            self.workers.kill()

    @contextlib.contextmanager
    def _reported(self, what: str) -> Iterator[None]:
        """An error at the very end is printed, and does not hide the one that ended the run."""
        try:
            yield
        except Exception as error:
            self.code = self.code or FAILED  # a first reason keeps its code
            self.print_error(f"{what}: {self._line(error)}")


def _exit_within(seconds: float, code: int) -> None:
    """End this process after that time at the latest, whatever any thread waits for."""
    timer = threading.Timer(seconds, os._exit, [code])
    timer.daemon = True
    timer.start()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
