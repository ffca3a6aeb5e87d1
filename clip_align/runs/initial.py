# SPDX-License-Identifier: Apache-2.0
"""What ``init_from`` and ``model.pretrained`` name, before anything is read. Torch-free."""

from __future__ import annotations

from pathlib import Path

from clip_align.errors import Problem, UserError
from clip_align.runs.folder import RunFolder, resolve_run

__all__ = ["WEIGHT_FILES", "named_file", "no_such_file", "source_of"]

WEIGHT_FILES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")


def source_of(runs: str, typed: str) -> Path | RunFolder:
    """The checkpoint file, or the run, that a new run takes its weights from.

    Args:
        runs: ``paths.runs``.
        typed: name of a run, its folder, or one of its checkpoints.

    UserError where there is neither.
    """
    path = next((p for p in (Path(typed).expanduser(), Path(runs) / typed) if p.is_file()), None)
    if path is not None and path.name != "latest":  # the text file in place of the link, which names a run
        return path
    if typed.endswith(".ckpt"):
        raise UserError(Problem("init_from", f"{typed}: no such checkpoint; name a run, or one of its checkpoints"))
    try:
        run = resolve_run(runs, typed)
    except UserError as error:
        raise UserError(*(Problem("init_from", problem.text) for problem in error.problems)) from None
    if not any(run.checkpoints.glob("*.ckpt")):
        raise UserError(Problem("init_from", f"{run.path} holds no checkpoint; name a run that has one"))
    return run


def named_file(pretrained: str) -> Path | None:
    """The file that ``model.pretrained`` names; None for a tag of open_clip."""
    if "/" in pretrained or pretrained.endswith(WEIGHT_FILES):
        return Path(pretrained).expanduser()
    return None


def no_such_file(pretrained: str) -> str:
    """What is wrong with a ``model.pretrained`` that names a file which is not there."""
    return f"no such file: {pretrained}; give a file of weights, or a tag of open_clip such as laion2b_s34b_b79k"
