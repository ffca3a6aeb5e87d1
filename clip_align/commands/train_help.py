# SPDX-License-Identifier: Apache-2.0
"""The text of ``train --help``: groups with their options, common keys, examples; read from the yaml files."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from omegaconf import OmegaConf

from clip_align import open_clip_names
from clip_align.config import conf_dir
from clip_align.errors import Problem, UserError
from clip_align.settings import yaml_keys
from clip_align.settings.compose import group_names, hydra, options
from clip_align.spelling import nearest

KEYS = (
    ("trainer.max_steps=1300", "optimizer steps; or trainer.samples=1e6"),
    ("data.batch_size=128", "samples per rank and step"),
    ("data.shards='/a/x-{000..003}.tar'", "with data=webdataset: as typed, or a list [a,b]"),
    ("data.csv=/a/captions.csv", "with data=folder: images and captions"),
    ("model.name=RN50x4", "an open_clip name that needs no network; --help model lists them"),
    ("optimizer.lr=1e-3", "also optimizer.schedule=cosine|constant, optimizer.warmup_steps"),
    ("trainer.precision=bf16-mixed", "32, bf16-mixed, 16-mixed"),
    ("callbacks=[standard,pairs_csv]", "the benchmarks; callbacks=[] for none, ~callbacks.<name> removes one"),
    ("evaluation.every_n_steps=60", "or of one callback: callbacks.<name>.every_n_steps"),
    ("tracker=[wandb,csv]", "mirrors of the record; tracker.project, entity, group, tags"),
    ("name=mine seed=1", "the run is runs/mine; paths.runs and paths.cache move folders"),
    ("resume=mine", "continue with a run; resume=auto name=mine: continue if there is one"),
    ("dry_run=true", "what is found and missing, and what the run will cost"),
    ("--help <group>", "its options and every key with default and unit, e.g. --help data"),
    ("--cfg", "print the configuration with the other arguments, and stop"),
    ("--version", "print the version"),
)
EXAMPLES = (
    "python train.py",
    "python train.py model=vit_b_32 data=webdataset data.shards='/data/{0000..0099}.tar' trainer.samples=1e8",
    "python train.py --multirun optimizer.lr=1e-3,2e-3 name=rates",
    "torchrun --nproc_per_node 8 train.py trainer=ddp model=vit_b_16 …",
)


def text() -> str:
    """The help; a star marks default options."""
    lines = ["python train.py [--multirun] [group=option …] [key=value …]", "", "Groups (* = default):"]
    defaults = _defaults()
    with hydra() as loader:
        for group in group_names(loader):
            # by Hydra, so that options of installed packages are among them
            known = options(group, loader)
            names = [f"{option}{'*' if option in defaults.get(group, ()) else ''}" for option in known]
            # 13 columns for the longest group; lines of about 100 characters
            lines += textwrap.wrap(" ".join(names), 104, initial_indent=f"  {group:13}", subsequent_indent=" " * 15)
    lines += ["", "Common keys:", *(f"  {key:36} {what}" for key, what in KEYS)]
    lines += ["", "Examples:", *(f"  {example}" for example in EXAMPLES)]
    lines += ["", f"Every key with its unit: the yaml files in {conf_dir()}"]
    return "\n".join(lines)


def _defaults() -> dict[str, list[str]]:
    """Chosen options by group, from the primary file's defaults list."""
    chosen: dict[str, list[str]] = {}
    for entry in OmegaConf.load(conf_dir() / "config.yaml").defaults:
        if not isinstance(entry, str):  # _self_
            for group, value in OmegaConf.to_container(entry).items():  # type: ignore[union-attr]
                chosen[str(group)] = [str(v) for v in value] if isinstance(value, list) else [str(value)]
    return chosen


def of_group(name: str) -> str:
    """The options of a group (``data``) or one of them (``data=world``): every key with its default and unit."""
    group, _, option = name.partition("=")
    sections = {key.name for key in yaml_keys.keys(conf_dir() / "config.yaml") if not key.default}
    valid = sorted({*yaml_keys.groups(), *sections})
    if group not in valid or (option and option not in yaml_keys.options(group)):
        known = [f"{group}={o}" for o in yaml_keys.options(group)] if group in valid else valid
        guess = nearest(name, known)
        hint = f"did you mean {guess}? " if guess else ""
        what = f"no such group or option; {hint}valid: {', '.join(known)}"
        raise UserError(Problem("--help", what, shown=f"--help {name}"))
    lines: list[str] = []
    if not option and (common := yaml_keys.common(group)):
        lines = [f"{group}: with every option" if group in yaml_keys.groups() else group, *_table(common)]
    chosen = [option] if option else yaml_keys.options(group) if group in yaml_keys.groups() else []
    for name in chosen:
        path = conf_dir() / group / f"{name}.yaml"
        lines += ["", f"{group}={name}", *_wrapped(yaml_keys.about(path), "  ")]
        lines += _table(yaml_keys.keys(path, group))
    if group == "model":
        lines += ["", "model.name: these names of open_clip need no network"]
        lines += _wrapped(" ".join(open_clip_names.offline_names()), "  ")
    return "\n".join(lines).lstrip("\n")


def _table(keys: Sequence[yaml_keys.Key]) -> list[str]:
    """One line per key; a long description continues below its column."""
    lines = []
    for key in keys:
        if key.default:
            start = f"  {f'{key.name}={key.default}':44} "  # 47 columns, so that the meanings line up
            lines += textwrap.wrap(f"{start}{key.about}".rstrip(), 118, subsequent_indent=" " * 47) or [start]
    return lines


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, 110, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
