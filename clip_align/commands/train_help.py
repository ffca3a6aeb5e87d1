# SPDX-License-Identifier: Apache-2.0
"""What ``train --help`` says: groups with their options, common keys, examples; read from the yaml files."""

from __future__ import annotations

import textwrap

from omegaconf import OmegaConf

from clip_align.config import conf_dir
from clip_align.settings.compose import group_names, hydra, options

KEYS = (
    ("trainer.max_steps=1300", "optimizer steps; or trainer.samples=1e6"),
    ("data.batch_size=128", "samples per rank and step"),
    ("data.shards='/a/x-{000..003}.tar'", "with data=webdataset: as typed, or a list [a,b]"),
    ("data.csv=/a/captions.csv", "with data=folder: images and captions"),
    ("model.name=RN50x4", "any of open_clip's 95 names that need no network"),
    ("optimizer.lr=1e-3", "also optimizer.schedule=cosine|constant, optimizer.warmup_steps"),
    ("trainer.precision=bf16-mixed", "32, bf16-mixed, 16-mixed"),
    ("callbacks=[standard,pairs_csv]", "what is watched; callbacks=[] for nothing, ~callbacks.<name> for one less"),
    ("evaluation.every_n_steps=60", "or of one callback: callbacks.<name>.every_n_steps"),
    ("tracker=[wandb,csv]", "mirrors of the record; tracker.project, entity, group, tags"),
    ("name=mine seed=1", "the run is runs/mine; paths.runs and paths.cache move folders"),
    ("resume=mine", "continue with a run; resume=auto name=mine: continue if there is one"),
    ("dry_run=true", "what is found and missing, and what the run will cost"),
)
EXAMPLES = (
    "python train.py",
    "python train.py model=vit_b_32 data=webdataset data.shards='/data/{0000..0099}.tar' trainer.samples=1e8",
    "python train.py --multirun optimizer.lr=1e-3,2e-3 name=rates",
    "torchrun --nproc_per_node 8 train.py trainer=ddp model=vit_b_16 …",
)


def text() -> str:
    """The whole help; a star marks what is chosen by default."""
    lines = ["python train.py [--multirun] [group=option …] [key=value …]", "", "Groups (* = default):"]
    defaults = _defaults()
    with hydra() as loader:
        for group in group_names(loader):
            names = [f"{o}*" if o in defaults.get(group, ()) else o for o in options(group, loader)]
            lines += textwrap.wrap(" ".join(names), 104, initial_indent=f"  {group:13}", subsequent_indent=" " * 15)
    lines += ["", "Common keys:", *(f"  {key:36} {what}" for key, what in KEYS)]
    lines += ["", "Examples:", *(f"  {example}" for example in EXAMPLES)]
    lines += ["", f"Every key with its unit: the yaml files in {conf_dir()}"]
    return "\n".join(lines)


def _defaults() -> dict[str, list[str]]:
    """Chosen options by group, from the primary file's defaults list."""
    chosen: dict[str, list[str]] = {}
    for entry in OmegaConf.load(conf_dir() / "config.yaml").defaults:
        if not isinstance(entry, str):
            for group, value in OmegaConf.to_container(entry).items():  # type: ignore[union-attr]
                chosen[str(group)] = [str(v) for v in value] if isinstance(value, list) else [str(value)]
    return chosen
