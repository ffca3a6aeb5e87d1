# SPDX-License-Identifier: Apache-2.0
"""Whole runs with everything on: two ranks in mixed precision over uneven shards; a checkout that cannot be written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from miniature_shards import samples, tar
from privileges import bound
from training_runs import ROOT, code_of, lines, losses, provenance, real, text

from clip_align.data.world.captions import class_prompts

pytestmark = pytest.mark.slow
SIZES = (37, 3, 58, 16, 1)  # samples in each shard
HEADLINES = ("human/tid2013_remade/srocc", "noise/world_noise/accuracy_clean", "zero_shot/world/accuracy")


def scores(line: dict[str, object]) -> dict[str, object]:
    """Everything an evaluation found out, its durations left out."""
    return {k: v for k, v in line.items() if "/" in k and "time" not in k}


def test_two_ranks_in_mixed_precision_on_uneven_shards_with_all_callbacks(tmp_path: Path) -> None:
    starts = [sum(SIZES[:n]) for n in range(len(SIZES))]
    prompts = [text for texts in class_prompts().values() for text in texts]  # so that the model can be evaluated
    for n, (start, size) in enumerate(zip(starts, SIZES, strict=True)):
        tar(tmp_path / "shards" / f"{n:03d}.tar", samples(range(start, start + size), prompts))
    common = [
        "data=webdataset", f"data.shards={tmp_path}/shards/{{000..004}}.tar", "callbacks=standard",
        "trainer.precision=bf16-mixed", "evaluation.early_steps=[]", "trainer.log_every_n_steps=1",
        "optimizer.warmup_steps=1", "tracker=none", f"paths.runs={tmp_path}", f"paths.cache={tmp_path}/cache",
    ]  # fmt: skip
    two = [*common, "trainer=ddp", "trainer.devices=2", "data.batch_size=16", "trainer.max_steps=8", "name=two"]
    assert code_of(real([*two, "evaluation.every_n_steps=8"], tmp_path / "out"), 240) == 0, text(tmp_path)
    one = [*common, "trainer=cpu", "data.batch_size=32", "trainer.max_steps=1", "evaluation.every_n_steps=9"]
    assert code_of(real([*one, "name=one"], tmp_path / "out"), 240) == 0, text(tmp_path)
    records = {path.resolve() for path in tmp_path.rglob("metrics.jsonl")}
    assert records == {tmp_path / name / "metrics.jsonl" for name in ("one", "two")}
    assert (provenance(tmp_path / "two")["ranks"], provenance(tmp_path / "two")["status"]) == (2, "done")
    steps = [line["global_step"] for line in lines(tmp_path / "two", "train")]
    assert steps == sorted(set(steps)) == list(range(1, 9))
    assert list(losses(tmp_path / "two")) == steps
    evaluated = [line["global_step"] for line in lines(tmp_path / "two", "evaluation")]
    assert evaluated == [0, 8]
    assert {line["key"] for line in lines(tmp_path / "two", "benchmark")} == {
        "human/tid2013_remade", "human/contrast_sensitivity", "human/spectral_sensitivity",
        "human/chromatic_discrimination", "texture/world_cue_conflict", "noise/world_noise", "zero_shot/world",
    }  # fmt: skip
    found, expected = (scores(lines(tmp_path / name, "evaluation")[0]) for name in ("two", "one"))
    assert found.keys() == expected.keys()
    assert all(isinstance(found[key], float) for key in HEADLINES)
    for key, value in expected.items():
        assert found[key] == (pytest.approx(value, abs=1e-6) if isinstance(value, float) else value), key


def test_no_git_no_home_and_a_checkout_that_cannot_be_written(tmp_path: Path) -> None:
    copy, runs = tmp_path / "copy", tmp_path / "elsewhere"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, timeout=100)
    if tracked.returncode:
        pytest.skip("the tracked files are not known: this is no git checkout")
    for name in tracked.stdout.decode().split("\0"):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
    before = {p: p.stat().st_mtime_ns for p in [copy, *copy.rglob("*")]}
    for path in sorted(before, reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        denied = subprocess.run([*bound(), "touch", str(copy / "new")], capture_output=True, timeout=100)
        assert denied.returncode != 0, "the copy can be written: this would show nothing"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "WANDB", "PYTHON"))}
        environment = {**kept, "HOME": "/nowhere", "OMP_NUM_THREADS": "1"}
        given = [
            "data.images=512", "data.batch_size=32", "callbacks=world", "evaluation.every_n_steps=2", "trainer=cpu",
            "trainer.max_steps=4", "optimizer.warmup_steps=1", f"paths.runs={runs}", f"paths.cache={runs}/cache",
            "name=x",
        ]  # fmt: skip
        command = [*bound(), sys.executable, str(copy / "train.py"), *given]
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        assert {p: p.stat().st_mtime_ns for p in [copy, *copy.rglob("*")]} == before
    finally:
        for path in before:
            path.chmod(0o755)
    about = provenance(runs / "x")
    assert (about["status"], about["git_commit"]) == ("done", None)
    assert "Traceback" not in done.stdout + done.stderr
    assert (runs / "x" / "report.html").is_file()
    assert json.loads((runs / "x" / "metrics.jsonl").read_text().splitlines()[-1])["event"] == "finished"
