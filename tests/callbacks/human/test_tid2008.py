# SPDX-License-Identifier: Apache-2.0
"""human/tid2008 on a tree as its authors distribute it, and on the database's own scores."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import quality_trees

from clip_align.callbacks.human.tid2008 import TID2008
from clip_align.errors import UserError
from clip_align.metrics.correlation import krocc, srocc


def table(shared_data: Path, name: str) -> dict[quality_trees.Condition, tuple[float, float]]:
    """Mean opinion and its standard error."""
    with (shared_data / "opinion_scores" / f"{name}.csv").open(newline="") as file:
        rows = [[float(v) for v in row] for row in list(csv.reader(file))[1:]]
    return {(int(r), int(t), int(level)): (mos, sd) for r, t, level, mos, sd in rows}


def test_a_tree_with_its_awkward_names_and_the_orientation(tmp_path: Path) -> None:
    callback = TID2008(str(quality_trees.tid(tmp_path, types=17, levels=4)), references=2)
    assert len(callback.rated) == 2 * 17 * 4
    assert callback.rated[-1].reference.name == "i25.bmp"
    quality_trees.check_orientation(callback)


def test_tid2013s_list_is_not_taken_for_it(tmp_path: Path) -> None:
    quality_trees.tid(tmp_path, types=24, levels=5)
    with pytest.raises(UserError, match=r"^human/tid2008: .* has the unknown i01_01_5.bmp, .*valid: the 1,700 images"):
        TID2008(str(tmp_path), references=2)


def test_reference_values_are_the_measured_ones(shared_data: Path, tmp_path: Path) -> None:
    own, later = table(shared_data, "tid2008"), table(shared_data, "tid2013")
    quality_trees.tid(tmp_path, 17, 4, quality_trees.EVERY, {of: mos for of, (mos, _) in own.items()}, empty=True)
    callback = TID2008(str(tmp_path))
    assert len(callback.rated) == 1700
    headline = callback.scores[0]
    assert headline.baselines["level alone"] == pytest.approx(0.5928, abs=5e-5)
    assert headline.baselines["PSNR (RGB)"] == 0.5245
    mos, sd = np.array(list(own.values())).T
    again = [later[r, t, level + 1][0] for r, t, level in own]  # level k is TID2013's k + 1
    assert headline.ceilings["replication (TID2013)"] == pytest.approx(srocc(again, mos), abs=5e-4)
    ceilings = {score.name: score.ceilings for score in callback.scores}
    assert ceilings["krocc"]["replication (TID2013)"] == pytest.approx(krocc(again, mos), abs=5e-4)
    noise = np.random.default_rng(0).normal(size=(20, 1700)) * sd
    disturbed = np.mean([srocc(mos + row, mos) for row in noise])
    assert headline.ceilings["rating noise"] == pytest.approx(disturbed, abs=1e-3)
