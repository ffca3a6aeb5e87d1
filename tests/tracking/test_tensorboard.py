# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from clip_align.record.record import read
from clip_align.runs.folder import RunFolder
from clip_align.tracking import tensorboard
from clip_align.tracking.tensorboard import FOLDER, TensorBoardMirror

SROCC = "human/tid2013_remade/srocc"
CONFIG = {"seed": 3}


def read_back(folder: Path) -> Any:
    accumulator = EventAccumulator(str(folder / FOLDER), size_guidance={"scalars": 0})
    accumulator.Reload()
    return accumulator


def test_scalars_lie_on_samples_seen(tmp_path: Path, synthetic: ModuleType) -> None:
    mirror = TensorBoardMirror(RunFolder(tmp_path), CONFIG)
    lines = list(synthetic.lines(420))
    for line in lines:
        mirror.line(line)
    mirror.close("done")
    found = read_back(tmp_path)
    evaluations = [x for x in lines if x["kind"] == "evaluation"]
    assert [e.step for e in found.Scalars(SROCC)] == [x["samples_seen"] for x in evaluations]
    assert [e.value for e in found.Scalars(SROCC)] == pytest.approx([x[SROCC] for x in evaluations], rel=1e-6)
    assert found.Scalars(f"interval/{SROCC}/low")[0].value == pytest.approx(evaluations[0][f"{SROCC}/low"], rel=1e-6)
    assert len(found.Scalars("train/loss")) == 42
    bias = "texture/world_cue_conflict/texture_bias"
    assert [e.step // 128 for e in found.Scalars(bias)] == [360, 420]  # from the second defined evaluation on
    assert "human/tid2013_remade/plcc" not in found.Tags()["scalars"]  # a detail: in the record


def test_a_resumed_run_overtakes_what_older_files_hold(tmp_path: Path, synthetic: ModuleType) -> None:
    synthetic.write(tmp_path, synthetic.lines(300))
    first = TensorBoardMirror(RunFolder(tmp_path), CONFIG)
    for line in synthetic.lines(300):
        first.line(line)
    first.close("terminated")
    again = TensorBoardMirror(RunFolder(tmp_path), CONFIG, read(tmp_path))
    again.rewind(120, 120 * 128)
    again.line({**synthetic.evaluation(180, synthetic.benchmarks()), SROCC: 0.123})
    again.close("done")
    scalars = read_back(tmp_path).Scalars(SROCC)
    assert [e.step // 128 for e in scalars] == [0, 2, 8, 32, 60, 120, 180]
    assert scalars[-1].value == pytest.approx(0.123)


def test_it_needs_no_torch() -> None:
    code = "import sys, clip_align.tracking.tensorboard as t, pathlib, tempfile;"
    code += "t.TensorBoardMirror(t.RunFolder(pathlib.Path(tempfile.mkdtemp())), {}).close('done');"
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=600).returncode == 0


def texts(found: Any) -> dict[str, str]:
    tags = found.Tags()["tensors"]
    return {tag: found.Tensors(tag)[-1].tensor_proto.string_val[0].decode() for tag in tags}


def test_it_names_the_unit_of_its_step_and_has_configuration_verdicts_and_figure(
    tmp_path: Path, synthetic: ModuleType
) -> None:
    reported: list[str] = []
    run = RunFolder(tmp_path / "a run")
    mirror = TensorBoardMirror(run, {"seed": 3, "data": {"name": "world"}}, None, reported.append)
    Image.new("RGB", (40, 30)).save(run.curves_png)
    for line in synthetic.lines(60):
        mirror.line(line)
    Image.new("RGB", (80, 60)).save(run.curves_png)
    os.utime(run.curves_png, (1, 1))  # drawn again: the last one is always there
    for line in synthetic.verdicts(60):
        mirror.line(line)
    mirror.close("done")
    command = f"tensorboard --logdir '{run.path}/tensorboard'"
    assert reported == [f"tensorboard: watch with: {command} (its step is samples seen)"]
    found = read_back(run.path)
    written = texts(found)
    assert "samples seen" in written["about/text_summary"]
    assert written["config/text_summary"] == "```yaml\nseed: 3\ndata:\n  name: world\n```"
    verdict = written["verdict/human/tid2013_remade/srocc/text_summary"]
    assert verdict == synthetic.verdicts(60)[0]["sentence"]
    images = found.Images("curves")
    assert [(i.step, i.width, i.height) for i in images] == [(0, 40, 30), (60 * 128, 80, 60)]


def test_a_long_run_keeps_few_figures(tmp_path: Path, synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(tensorboard.time, "monotonic", lambda: now)
    run = RunFolder(tmp_path)
    mirror = TensorBoardMirror(run, {})
    Image.new("RGB", (4, 4)).save(run.curves_png)
    for minute in range(24 * 60):
        now = 60.0 * minute
        os.utime(run.curves_png, (now + 1, now + 1))
        mirror.line({**synthetic.where(minute), "kind": "evaluation"})
    mirror.close("done")
    accumulator = EventAccumulator(str(tmp_path / FOLDER), size_guidance={"images": 0})
    accumulator.Reload()
    steps = [i.step // 128 for i in accumulator.Images("curves")]
    assert steps == [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 1023, 1439]  # always the last
