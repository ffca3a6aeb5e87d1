# SPDX-License-Identifier: Apache-2.0
"""``python -m clip_align <command> [run …] [key=value …]``: finds the command, and ends with its exit code.

0 done; 1 failed during the run; 2 refused before step 0; 130 Ctrl-C; 143 SIGTERM, SIGHUP, SIGUSR1, SIGUSR2. Every
failure ends with one line per error; tracebacks only with ``HYDRA_FULL_ERROR=1``.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence

from clip_align.commands.command_names import commands
from clip_align.errors import FAILED, INTERRUPTED, REFUSED, TOO_MANY_FILES, Problem, UserError
from clip_align.processes import torchrun
from clip_align.processes.stop_signals import unwind_on_signals
from clip_align.runs.provenance import version
from clip_align.spelling import nearest

LATER = ("sync",)  # commands that later releases have


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; ``arguments`` are ``sys.argv[1:]`` when not given."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    _set_up()
    try:
        code = _dispatch(given)
        _flush()
        return code
    except UserError as error:
        _complain(error, error.lines)
        return error.exit_code
    except KeyboardInterrupt:
        _complain(None, ["interrupted"])  # the place where Ctrl-C came is of no interest
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output is gone, and any message would go there
        _discard_output()
        return FAILED
    except OSError as error:
        if error.errno == errno.EMFILE:  # no file is at fault
            _complain(error, [TOO_MANY_FILES])
            return REFUSED
        if error.filename is None or error.strerror is None:  # nothing to name: not an error of a file
            return _defect(error)
        _complain(error, UserError(f"{os.fsdecode(error.filename)}: {error.strerror}").lines)
        return REFUSED
    except Exception as error:
        return _defect(error)


def _set_up() -> None:
    """Set up the process for every command: thread waiting, plots, output encoding, signals."""
    # Threads that spin at OpenMP's barriers are slow on a shared machine: with one other busy process on 2 cores a
    # training processed 110 samples/s spinning and 1,050 waiting. Read once, when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ["MPLBACKEND"] = "agg"  # a notebook's backend is inherited by its shells, and may not be installed here
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a question mark for characters that the terminal cannot show
    unwind_on_signals()  # until a run sets its own


def _flush() -> None:
    """Flush standard output; raises if the reader of a pipe is gone. A closed terminal is no failure."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError:
        _discard_output()


def _discard_output() -> None:
    """Redirect standard output to nothing, so that the interpreter's final flush does not fail."""
    # at the level of descriptors: the interpreter flushes the stream that it has, not a new sys.stdout
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _defect(error: Exception) -> int:
    """An unexpected error: one line, with the way to see the traceback."""
    text = " ".join(str(error).split())
    _complain(error, [f"{type(error).__name__}: {text} (a defect; HYDRA_FULL_ERROR=1 shows where)"])
    return FAILED


def _dispatch(given: list[str]) -> int:
    if not given:
        print(_usage(), file=sys.stderr)
        raise UserError(f"no command given; valid: {', '.join(commands())}")
    if given[0] in ("--help", "-h", "help"):
        print(_usage())
        return 0
    if given[0] == "--version":
        print(version())
        return 0
    command, rest, known = given[0], given[1:], commands()
    if command not in known:
        if command in LATER:
            raise UserError(Problem(command, f"not in this release; there are: {', '.join(known)}"))
        guess = nearest(command, known)
        hint = f"did you mean {guess}? " if guess else ""
        raise UserError(Problem(command, f"no such command; {hint}valid: {', '.join(known)}"))
    # this command's alone: train needs torch, report does not
    module = importlib.import_module(f"clip_align.commands.{command}")
    code: int = module.main(rest)
    return code


def _usage() -> str:
    lines = ["python -m clip_align <command> [run …] [key=value …]", ""]
    lines += [f"  {name:10} {what}" for name, what in commands().items()]
    return "\n".join(
        [*lines, "", "python -m clip_align <command> --help: more about a command; --version prints the version."]
    )


def _complain(error: BaseException | None, lines: Sequence[str]) -> None:
    if not torchrun.first_on_machine():  # every rank of a machine finds the same: it is reported once
        return
    prefix = f"rank {torchrun.rank()}: " if torchrun.rank() else ""
    if error is not None and os.environ.get("HYDRA_FULL_ERROR") == "1":
        traceback.print_exception(error)
    with contextlib.suppress(OSError):  # the terminal has been closed
        for line in lines:
            print(f"{prefix}{line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
