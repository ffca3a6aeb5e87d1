# SPDX-License-Identifier: Apache-2.0
"""``import clip_align as ca``: evaluate a model, train, read and draw records, from Python and in notebooks.

>>> import clip_align as ca
>>> sorted(ca.__all__)
['evaluate', 'read', 'report', 'train']
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clip_align.config import PathsConfig
from clip_align.errors import REFUSED, Problem, RunError, UserError
from clip_align.record.tidy import Tidy, tidy
from clip_align.runs.folder import RunFolder, resolve_run

if TYPE_CHECKING:
    import torch
    from torch import nn

    from clip_align.callbacks.base import PerceptualCallback

__all__ = ["evaluate", "read", "report", "train"]

RUNS = PathsConfig().runs


def read(run: str | Path, runs: str | Path = RUNS) -> Tidy:
    """The record of a run, or of an evaluation, as tidy tables.

    Args:
        run: its name, its folder, or ``latest``.
        runs: folder of the runs.

    Returns:
        Tables whose rows are plain dictionaries; ``pandas.DataFrame(ca.read("mine").scores)`` is a frame.

    UserError where there is no such run.

    >>> import json, tempfile, clip_align as ca
    >>> from pathlib import Path
    >>> folder = Path(tempfile.mkdtemp())
    >>> place = {"global_step": 60, "samples_seen": 7680, "epoch": 0, "wall_seconds": 9.0}
    >>> benchmark = {"kind": "benchmark", **place, "key": "human/pairs", "scores": [{"name": "srocc"}]}
    >>> scores = {"human/pairs/srocc": 0.6, "human/pairs/srocc/low": 0.5, "human/pairs/srocc/high": 0.7}
    >>> lines = [benchmark, {"kind": "evaluation", **place, **scores}]
    >>> _ = (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\\n" for line in lines))
    >>> row = ca.read(folder).scores[0]
    >>> row["step"], row["score"], row["value"], row["low"], row["high"], row["reason"]
    (60, 'srocc', 0.6, 0.5, 0.7, None)
    """
    return tidy(resolve_run(runs, run).path)


def evaluate(
    model: nn.Module | Callable[[torch.Tensor], torch.Tensor],
    callbacks: Sequence[str | PerceptualCallback],
    *,
    size: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    tokenizer: Callable[[list[str]], torch.Tensor] | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    cache: str | Path | None = None,
    output: str | Path | None = None,
    step: int = 0,
    samples: int = 0,
) -> Tidy:
    """Evaluate a model on benchmarks, in this process.

    Args:
        model: a module with ``encode_image`` ([N, 3, S, S] -> [N, D]), or a function of that kind.
        callbacks: benchmarks by name, as in ``callbacks=[…]``, or objects with options of their own.
        size: S in pixels; default: ``model.visual.image_size``; required of a function.
        mean, std: of the channels on [0, 1]; default: those of ``model.visual``; required of a function.
        tokenizer: texts to int64 [N, context]; default: open_clip's for a model with its vocabulary.
        device: where a function takes its images, default the CPU; a module is evaluated where it is.
        batch_size: images per forward pass; default 256.
        cache: folder of the images that benchmarks make; default: the user's cache folder.
        output: folder for a record with items, figure and page; None: nothing is written.
        step, samples: how far the model has been trained, for the record; other steps in ``output`` stay.

    Returns:
        The scores as tables; ``evaluate(…).value("human/tid2013_remade/srocc")`` is one of them.

    UserError with what is wrong, a line each.
    """
    from clip_align.series.in_memory import evaluate_model, model_under_evaluation

    found = model_under_evaluation(model, size, mean, std, tokenizer, device)
    place = (step, samples)
    folder = None if output is None else Path(output).expanduser()
    return evaluate_model(found, callbacks, batch_size, None if cache is None else str(cache), folder, place)


def train(overrides: Sequence[str] = (), **keys: Any) -> Tidy:
    """Train as ``python train.py`` does with the same overrides; the record as tables.

    Ctrl-C, or a notebook's stop button, ends it in order: with a checkpoint, a record and a RunError that says how to
    resume. Outside the main thread no signal handlers are set: there a training ends with its last step only. Random
    states, loggers, warnings, threads and environment of the process are afterwards what they were before. On several
    ranks of this machine all ranks are other processes.

    Args:
        overrides: ``["model=tiny", "trainer.max_steps=200"]``.
        **keys: overrides without a dot in their key: ``name="mine"``, ``seed=1``.

    UserError for what is refused, RunError for a training that failed or was interrupted. In a notebook the figure is
    shown.
    """
    from clip_align.settings.load_config import load
    from clip_align.training.resume import resume_overrides
    from clip_align.training.run import run_inside
    from clip_align.training.run_end import STATUS

    given = [*overrides, *(f"{key}={value}" for key, value in keys.items())]
    if not any(word.startswith(("name=", "resume=")) for word in given):  # a resumed run has its name
        import time

        given.append(time.strftime("name=notebook-%Y%m%d-%H%M%S"))
    config = load(given)
    end = run_inside(config, ["clip-align", "train", *given])
    if end.code == REFUSED:
        raise UserError(*end.reasons)
    if end.code and end.reasons:
        raise RunError(*end.reasons)
    if end.code and end.folder is None:
        raise RunError(Problem("train", f"{STATUS[end.code]} before the first step"))
    # a resumed run that was complete already has not opened its folder
    folder = end.folder or Path(config.resume or Path(config.paths.runs) / (config.name or ""))
    _show(folder / "curves.png")
    if end.code:
        overrides = resume_overrides(RunFolder(folder), config.paths)
        what = f"{STATUS[end.code]} at step {end.position().global_step}; to resume: ca.train({overrides})"
        raise RunError(Problem("train", what))
    return tidy(folder)


def report(*runs: str | Path, output: str | Path | None = None, folder: str | Path = RUNS) -> Path:
    """Draw figure and page of a run again, or several runs on the same axes; the folder where they are.

    Args:
        *runs: names under ``folder``, or folders of runs.
        output: where to; default: the run's own folder; required for several.
        folder: of the runs.

    UserError for a run that is not there.
    """
    if not runs:
        raise UserError(Problem("report", "which run? give a name or a folder: ca.report('latest')"))
    found = [resolve_run(folder, run).path for run in runs]
    target = Path(output).expanduser() if output is not None else found[0]
    if len(found) == 1:
        from clip_align.report import page  # matplotlib

        page.write(found[0], judge=True, output=target)
    elif output is None:
        raise UserError(Problem("report", "several runs need a folder of their own: output=…"))
    else:
        from clip_align.report import compare

        compare.write(found, target)
    _show(target / "curves.png")
    return target


def _show(figure: Path) -> None:
    """Show a figure in a notebook; elsewhere nothing."""
    shell: Any = sys.modules.get("IPython")
    running = shell.get_ipython() if shell is not None else None
    if running is None or not hasattr(running, "kernel") or not figure.is_file():
        return
    shown: Any = importlib.import_module("IPython.display")  # there, since IPython runs this
    shown.display(shown.Image(filename=str(figure)))
