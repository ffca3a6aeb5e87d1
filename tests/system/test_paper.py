# SPDX-License-Identifier: Apache-2.0
"""``experiment=paper`` from end to end, on miniature copies of its data sets as their authors lay them out."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cue_layout
import numpy as np
import pytest
import quality_trees
from cifar_archive import write_cifar
from miniature_shards import samples, tar
from training_runs import ROOT

from clip_align.commands.train import main
from clip_align.errors import UserError
from clip_align.perception.cifar import CIFAR100
from clip_align.perception.sixteen_classes import CATEGORIES
from clip_align.record.record import read
from clip_align.report.panels import panels

MISSING = {
    "tid2013": "human/tid2013: no such folder: {data}/tid2013; expected below it: ",
    "cue_conflict": "texture/cue_conflict: no such folder: {data}/cue_conflict; expected below it: ",
    "cifar100": "noise/cifar100: no such folder: {data}/cifar100; expected below it: ",
}
# a miniature is not the original, and what a processor trains in a minute is less than the experiment
SMALL = [
    "callbacks.cifar100.subset=true", "callbacks.cifar100.images=20", "callbacks.cifar100.levels=[0.1]",
    "callbacks.cifar100.templates=plain", "callbacks.tid2013.references=2", "callbacks.tid2013.subset=simple",
    "callbacks.cue_conflict.classes=[cat,dog,bird]", "callbacks.cue_conflict.templates=photo", "data.batch_size=8",
    "data.workers=0", "trainer.precision=32", "trainer.compile=false", "trainer.max_steps=3",
    "optimizer.warmup_steps=1", "trainer.log_every_n_steps=1", "evaluation.every_n_steps=3", "evaluation.per_octave=0",
    "checkpoint.best=null", "checkpoint.keep_last=1", "tracker=none",
]  # fmt: skip


def places(folder: Path) -> list[str]:
    return ["experiment=paper", f"paths.data={folder}/data", f"paths.runs={folder}/runs", f"paths.cache={folder}/cache"]


def make_data(folder: Path, names: Sequence[str]) -> str:
    """Miniature copies of these data sets below ``folder``/data, and a shard; returns the override that names it."""
    data = folder / "data"
    if "tid2013" in names:
        quality_trees.tid(data / "tid2013", types=24, levels=5)
    if "cifar100" in names:
        images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
        write_cifar(data / "cifar100", CIFAR100, images, list(range(20)))
    if "cue_conflict" in names:
        cue_layout.write_images(data / "cue_conflict", cue_layout.conflict_stems(CATEGORIES))
    return f"data.shards={tar(folder / 'shards' / '00000.tar', samples(range(24)))}"


@pytest.mark.parametrize("there", [(), ("tid2013",), ("tid2013", "cifar100")])
def test_the_dry_run_names_what_is_missing_where_it_is_and_where_it_goes(
    there: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = [make_data(tmp_path, there)] if there else []
    with pytest.raises(UserError) as caught:
        main([*places(tmp_path), *SMALL, *shards, "model=tiny", "dry_run=true"])  # a ViT's step takes long to estimate
    lines = list(caught.value.lines)
    if not there:
        assert lines.pop(0) == "data.shards: not given; this key has no default: data.shards=…"
    missing = [name for name in MISSING if name not in there]
    for line, name in zip(lines, missing, strict=True):
        assert line.startswith(MISSING[name].format(data=f"{tmp_path}/data"))
        assert " is at http" in line
        assert line.endswith(f"; unpack it there, or name its folder with callbacks.{name}.root=…")
    out = capsys.readouterr().out
    assert "note     trainer: trainer=ddp finds no GPU on this machine" in out
    for name in there:
        assert f" callbacks.{name}: " in out
    (evaluations,) = (line for line in out.splitlines() if line.startswith("cost     evaluations: "))
    assert evaluations.endswith(f"not counted: {', '.join(missing)}")
    assert "cost     memory: " in out


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_experiment_fills_the_four_panels(tmp_path: Path) -> None:
    shards = make_data(tmp_path, list(MISSING))
    command = [sys.executable, "train.py", *places(tmp_path), shards, "name=paper", "model.name=ViT-S-32-alt", *SMALL]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1400)
    assert done.returncode == 0, done.stdout + done.stderr
    run = tmp_path / "runs" / "paper"
    shutil.rmtree(run / "checkpoints")  # gigabytes
    history = read(run)
    drawn = {panel.name: panel for panel in panels(history) if panel.name != "training"}
    assert list(drawn) == ["zero_shot", "human", "texture", "noise"]
    for panel in drawn.values():
        assert not panel.empty
    for key in (
        *("noise/cifar100/accuracy_clean", "human/tid2013/srocc"),
        *("texture/cue_conflict/shape_hits", "texture/cue_conflict/texture_hits"),
    ):
        assert [event["global_step"] for event in history.evaluations if event.get(key) is not None] == [0, 3]
        assert all(f"{key}@ema" in event for event in history.evaluations)
    page = (run / "report.html").read_text()
    for title in ("Zero-shot accuracy", "Human alignment", "Texture bias", "Accuracy lost to noise"):
        assert title in page
    assert (run / "curves.png").stat().st_size > 20_000
