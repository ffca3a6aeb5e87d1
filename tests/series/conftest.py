# SPDX-License-Identifier: Apache-2.0
"""A short run with all its checkpoints, made once: what tests of evaluations read."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest

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


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of small images with made-up opinions, as a user's csv."""
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("pairs")
    random = np.random.default_rng(0)
    rows = ["reference,distorted,opinion"]
    for reference in range(6):
        clean = random.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(clean).save(folder / f"{reference}.png")
        for level in (1, 2, 3):
            noisy = clean + random.normal(0, 12 * level, clean.shape)
            Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(folder / f"{reference}_{level}.png")
            rows.append(f"{reference}.png,{reference}_{level}.png,{5 - level + 0.1 * reference}")
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n")
    captions = [f"{path.name},a picture of noise number {n}" for n, path in enumerate(sorted(folder.glob("*.png")))]
    (folder / "captions.csv").write_text("\n".join(["image,caption", *captions]) + "\n")
    return folder / "pairs.csv"


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Folders of runs and of the cache, as arguments; common to all tests here."""
    base = tmp_path_factory.mktemp("series")
    return [f"paths.runs={base / 'runs'}", f"paths.cache={base / 'cache'}"]


@pytest.fixture(scope="session")
def trained(places: list[str], pairs: Path) -> Path:
    """The folder of a run of 8 steps with checkpoints at 4 and 8, evaluated with an average and raw weights."""
    data = f"data.csv={pairs.with_name('captions.csv')}"
    done = command("train", *TRAINING, data, f"callbacks.pairs_csv.csv={pairs}", *places)
    assert done.returncode == 0, done.stdout + done.stderr
    return Path(places[0].partition("=")[2]) / "mine"
