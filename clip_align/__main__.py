# SPDX-License-Identifier: Apache-2.0
"""``python -m clip_align <command> [subject …] [key=value …]``: finds the command, and ends with its exit code.

0 done; 1 failed during the run; 2 refused before step 0; 130 Ctrl-C; 143 SIGTERM. Every failure ends with one
line per error; tracebacks only with ``HYDRA_FULL_ERROR=1``.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType

from clip_align.commands.names import commands
from clip_align.errors import FAILED, INTERRUPTED, REFUSED, TERMINATED, UserError
from clip_align.processes import torchrun
from clip_align.runs.provenance import version
from clip_align.structure import nearest

LATER = ("evaluate", "verify", "bench", "sync")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; ``arguments`` are ``sys.argv[1:]`` when not given."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Threads that spin at OpenMP's barriers make a shared machine crawl: with one other busy process on 2 cores a
    # training did 110 samples/s spinning and 1,050 waiting. Read once, when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    signal.signal(signal.SIGTERM, _terminated)  # until a run sets its own
    try:
        code = _dispatch(given)
        sys.stdout.flush()  # a reader that is gone is noticed here, not by the interpreter's last words
        return code
    except UserError as error:
        _complain(error, error.lines)
        return error.exit_code
    except KeyboardInterrupt:
        _complain(None, ["interrupted"])
        return INTERRUPTED
    except BrokenPipeError:  # whoever read what we print has seen enough, and cannot be told anything
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor be written to at the very end
        return FAILED
    except OSError as error:
        if error.filename is None or error.strerror is None:
            return _defect(error)
        _complain(error, UserError(f"{os.fsdecode(error.filename)}: {error.strerror}").lines)
        return REFUSED
    except Exception as error:
        return _defect(error)


def _defect(error: Exception) -> int:
    """Of ours: still one line, and the way to see more."""
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
            raise UserError(f"{command}: not in this release; there are: {', '.join(known)}")
        guess = nearest(command, known)
        hint = f"did you mean {guess}? " if guess else ""
        raise UserError(f"{command}: no such command; {hint}valid: {', '.join(known)}")
    module = importlib.import_module(f"clip_align.commands.{command}")
    code: int = module.main(rest)
    return code


def _usage() -> str:
    lines = ["python -m clip_align <command> [subject …] [key=value …]", ""]
    lines += [f"  {name:10} {what}" for name, what in commands().items()]
    return "\n".join([*lines, "", "python -m clip_align <command> --help says more; --version prints the version."])


def _complain(error: BaseException | None, lines: Sequence[str]) -> None:
    if torchrun.rank() != 0:  # every rank finds the same: it is said once
        return
    if error is not None and os.environ.get("HYDRA_FULL_ERROR") == "1":
        traceback.print_exception(error)
    for line in lines:
        print(line, file=sys.stderr, flush=True)


def _terminated(number: int, frame: FrameType | None) -> None:
    raise SystemExit(TERMINATED)


if __name__ == "__main__":
    sys.exit(main())
