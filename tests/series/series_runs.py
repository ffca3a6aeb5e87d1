# SPDX-License-Identifier: Apache-2.0
"""Commands in this process, and records as the tests of evaluations read them."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from clip_align.commands import evaluate, train
from clip_align.errors import UserError

TRAINING = [
    "data=folder", "data.batch_size=8", "data.workers=0", "trainer=cpu", "callbacks=pairs_csv", "trainer.max_steps=8",
    "evaluation.every_n_steps=4", "evaluation.early_steps=[]", "evaluation.weights=[ema,raw]", "tracker=none",
    "checkpoint.every_n_steps=4", "checkpoint.keep_last=9", "checkpoint.best=human/pairs_csv/srocc",
    "optimizer.warmup_steps=2", "name=mine",
]  # fmt: skip


class Done(NamedTuple):
    """A command that has ended: its exit code and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def command(name: str, *arguments: str) -> Done:
    """A command in this process, whose imports are done: a process of its own takes seconds to start."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = {"train": train.main, "evaluate": evaluate.main}[name](list(arguments))
        except UserError as error:  # as the program prints it
            code = error.exit_code
            print(*error.lines, sep="\n", file=err)
    return Done(code, out.getvalue(), err.getvalue())


def lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    """The lines of one kind in a record."""
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in found if line["kind"] == kind]


def numbers(folder: Path) -> dict[int, dict[str, Any]]:
    """All that a record has at each step, without times."""
    return {
        line["global_step"]: {k: v for k, v in line.items() if not k.startswith(("time/", "wall_"))}
        for line in lines(folder, "evaluation")
    }
