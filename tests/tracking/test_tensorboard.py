# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from clip_align.record.record import read
from clip_align.runs.folder import RunFolder
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
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
