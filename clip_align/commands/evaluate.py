# SPDX-License-Identifier: Apache-2.0
"""``evaluate``: benchmarks on given weights, such as all checkpoints of a run, into a record of their own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from clip_align.errors import Problem, UserError
from clip_align.runs.provenance import typed_command
from clip_align.settings.load_config import load_with_problems
from clip_align.spelling import nearest

SUMMARY = "evaluate benchmarks on the checkpoints of a run, or on any other weights"
OWN = ("output", "watch")
SECTIONS = ("callbacks", "data", "evaluation", "model", "name", "paths", "seed", "tracker", "trainer")
HELP = """python -m clip_align evaluate <subject> [callbacks=[<name>,…]] [key=value …]

A subject is
  a run            a name under paths.runs (`latest` is the newest) or a folder: all its checkpoints that are kept
  a checkpoint     a file, several, or a glob in quotes: 'runs/mine/checkpoints/step-*.ckpt'
Its record is a run folder of its own under paths.runs, with figure, page and evaluations.csv. The same command again
evaluates what is missing there; several processes may do so at once.
  callbacks=[a,b]  the benchmarks; default: those of the run. Their options: callbacks.<name>.<option>=…
  name=mine        the record is <paths.runs>/mine; default: the subject's name with -evaluated
  output=<folder>  the record is that folder
  watch=true       wait for further checkpoints, and evaluate them as they appear; Ctrl-C ends it
  evaluation.weights=[ema,raw]  sets of weights; default: those that the run was evaluated with
  evaluation.batch_size=64  trainer=cpu  trainer.precision=32  tracker=[wandb]  paths.cache=…  as of train
Exit codes: 0 done; 1 something failed, or a checkpoint could not be evaluated; 2 refused before the first evaluation;
130 Ctrl-C; 143 other signals."""


def main(arguments: Sequence[str]) -> int:
    """Evaluate, print the table and where the page is; returns the exit code."""
    if any(a in ("--help", "-h") for a in arguments):
        print(HELP)
        return 0
    # a path may have "=" in its name
    words = [a for a in arguments if ("=" not in a.lstrip("~+") and not a.startswith("~")) or Path(a).exists()]
    others = [a for a in arguments if a not in words]
    own = {key: value for key, _, value in (a.partition("=") for a in others) if key in OWN}
    overrides = [a for a in others if a.partition("=")[0] not in OWN]
    keys = frozenset(a.partition("=")[0].lstrip("~+") for a in overrides)
    config, problems = load_with_problems(overrides)
    problems = [*_refused(words, own, keys), *problems]
    if problems or config is None:
        raise UserError(*problems)
    from clip_align.series.evaluate import evaluate_series  # imports torch, which takes seconds
    from clip_align.series.prepare import Request, prepare

    output = Path(own["output"]).expanduser() if "output" in own else None
    request = Request(tuple(words), config, keys, output, own.get("watch") == "true")
    return evaluate_series(partial(prepare, request), typed_command(arguments))


def _refused(words: Sequence[str], own: dict[str, str], keys: frozenset[str]) -> list[Problem]:
    errors = []
    for key in sorted(keys):
        section = key.partition(".")[0]
        if section not in SECTIONS:
            guess = nearest(section, (*OWN, *SECTIONS))
            hint = f"did you mean {guess}? " if guess else ""
            errors.append(Problem(key, f"no key of evaluate; {hint}valid: {', '.join((*OWN, *SECTIONS))}"))
    if own.get("watch", "true") not in ("true", "false"):
        errors.append(Problem("watch", f"{own['watch']} is neither true nor false"))
    if own.get("output") == "":
        errors.append(Problem("output", "empty; give a folder"))
    if not words:
        errors.append(Problem("evaluate", "what? give a run or a checkpoint: python -m clip_align evaluate latest"))
    return errors
