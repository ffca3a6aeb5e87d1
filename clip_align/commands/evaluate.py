# SPDX-License-Identifier: Apache-2.0
"""``evaluate``: benchmarks on given weights, such as all checkpoints of a run, into a record of their own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from clip_align.errors import Problem, UserError
from clip_align.runs.provenance import typed_command
from clip_align.settings.hidden_options import report_hidden
from clip_align.settings.load_config import load_with_problems
from clip_align.spelling import nearest

SUMMARY = "evaluate benchmarks on the checkpoints of a run, or on any other weights"
FLAGS, FILES = ("watch",), ("output", "weights", "model_config")
COUNTS = ("samples_per_epoch", "global_batch")
OWN = ("output", "watch", "observer", "weights", "model_config", *COUNTS)
SECTIONS = ("callbacks", "data", "evaluation", "model", "name", "paths", "seed", "tracker", "trainer")
ENCODERS = ("timm/", "torchvision/")
HELP = """python -m clip_align evaluate <subject> [callbacks=[<name>,…]] [key=value …]

A subject is one of
  a run                        a name under paths.runs (`latest` is the newest) or a folder: all checkpoints it keeps
  checkpoints                  files, a folder of them, or a glob in quotes: 'runs/mine/checkpoints/step-*.ckpt';
                               of clip-align, open_clip_train, Lightning, or weights as .pt, .pth, .bin, .safetensors
  <architecture>:<tag>         weights that open_clip knows: ViT-B-32:laion2b_s34b_b79k
  model=timm/<name>            an image encoder of timm or torchvision, for benchmarks without prompts;
  model=torchvision/<name>     weights=<file>, weights=pretrained, else random ones by seed=0
  observer=<name>              level, type, psnr, psnr_luminance, ssim judge pairs without an embedding; pixels, grey
                               (model.image_size=32) are their own; untrained (model=tiny, seed=0) has random weights
Its record is a run folder of its own under paths.runs, with figure, page and evaluations.csv. The same command again
evaluates what is missing there; several processes may do so at once.
  callbacks=[a,b]              the benchmarks; default: those of the run. Their options: callbacks.<name>.<option>=…
  name=mine                    the record is <paths.runs>/mine; default: the subject's name with -evaluated
  output=<folder>              the record is that folder
  watch=true                   wait for further checkpoints, and evaluate them as they appear; Ctrl-C ends it
  evaluation.weights=[ema,raw] sets of weights; default: those that the run was evaluated with
  model.name=ViT-B-32          architecture of checkpoints that do not say it; model_config=<file.json>: one of your own
  samples_per_epoch=407e6      of checkpoints named by epochs; global_batch=32768: samples of one optimizer step
  evaluation.batch_size=64  trainer=cpu  trainer.precision=32  tracker=[wandb]  paths.cache=…  as of train
Exit codes: 0 done; 1 something failed, or a checkpoint could not be evaluated; 2 refused before the first evaluation;
130 Ctrl-C; 143 other signals."""


def main(arguments: Sequence[str]) -> int:
    """Evaluate, print the table and where the page is; returns the exit code."""
    if any(a in ("--help", "-h") for a in arguments):
        print(HELP)
        return 0
    # a path may have "=" in its name
    words = [a for a in arguments if ("=" not in a and not a.startswith("~")) or Path(a).exists()]
    others = [a for a in arguments if a not in words]
    own = {key: value for key, _, value in (a.partition("=") for a in others) if key in OWN}
    encoders = [a.partition("=")[2] for a in others if a.startswith(tuple(f"model={source}" for source in ENCODERS))]
    overrides = [a for a in others if a.partition("=")[0] not in OWN and a.partition("=")[2] not in encoders]
    keys = frozenset(a.partition("=")[0].lstrip("~+") for a in overrides)
    config, problems = load_with_problems(overrides)
    refused = _refused(own, keys)
    known = {problem.key for problem in refused}  # what training's keys suggest for these is of no use here
    problems = [*refused, *_subjects(words, own, encoders), *(p for p in problems if p.key not in known)]
    if problems or config is None:
        raise UserError(*problems)
    report_hidden(overrides)
    from clip_align.series.evaluate import evaluate_series  # imports torch, which takes seconds
    from clip_align.series.find import Foreign
    from clip_align.series.prepare import Request, prepare

    request = Request(
        words=tuple(words),
        config=config,
        typed=keys,
        output=Path(own["output"]).expanduser() if "output" in own else None,
        watch=own.get("watch") == "true",
        observer=own.get("observer"),
        encoder=encoders[-1] if encoders else None,
        weights=own.get("weights"),
        foreign=Foreign(own.get("model_config"), *(_number(own[key]) if key in own else None for key in COUNTS)),
    )
    return evaluate_series(partial(prepare, request), typed_command(arguments))


def _refused(own: Mapping[str, str], keys: frozenset[str]) -> list[Problem]:
    errors = []
    for key in sorted(keys):
        section = key.partition(".")[0]
        if section not in SECTIONS:
            guess = nearest(section, (*OWN, *SECTIONS))
            hint = f"did you mean {guess}? " if guess else ""
            errors.append(Problem(key, f"no key of evaluate; {hint}valid: {', '.join((*OWN, *SECTIONS))}"))
    errors += [
        Problem(key, f"{own[key]} is neither true nor false")
        for key in FLAGS
        if own.get(key, "true") not in ("true", "false")
    ]
    errors += [Problem(key, "empty; give a file or a folder") for key in FILES if own.get(key) == ""]
    errors += [
        Problem(key, f"{own[key]!r} is no number of samples above 0; type 407e6 or 32768")
        for key in COUNTS
        if key in own and _number(own[key]) is None
    ]
    if (file := own.get("model_config")) and not Path(file).expanduser().is_file():
        errors.append(Problem("model_config", f"{file}: no such file"))
    return errors


def _subjects(words: Sequence[str], own: Mapping[str, str], encoders: Sequence[str]) -> list[Problem]:
    """Problems of no subject, or several of different kinds."""
    named = [*([" ".join(words)] if words else []), *(f"model={name}" for name in encoders)]
    named += [f"observer={own['observer']}"] if "observer" in own else []
    errors = []
    if not named:
        errors.append(Problem("evaluate", "what? give a run or a checkpoint: python -m clip_align evaluate latest"))
    if len(named) > 1:
        errors.append(Problem("evaluate", f"{' and '.join(named)}: one at a time; each has a record of its own"))
    if "weights" in own and not encoders:
        errors.append(Problem("weights", "with model=timm/… or torchvision/… only; a checkpoint is named by its file"))
    if "watch" in own and named and not words:
        errors.append(Problem("watch", "for checkpoints only; nothing else appears later"))
    return errors


def _number(text: str) -> float | None:
    try:
        value = float(text.replace("_", ""))
    except ValueError:
        return None
    return value if value > 0 and math.isfinite(value) else None
