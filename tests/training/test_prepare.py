# SPDX-License-Identifier: Apache-2.0
"""What is refused before step 0 once torch is there: all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from clip_align.errors import UserError
from clip_align.settings.load_config import load
from clip_align.training.components import prepare
from clip_align.training.launch_ranks import RankLayout
from clip_align.training.resume import run_start


def test_data_and_callbacks_are_refused_together(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("image,text\na.png,a dog\n")
    (tmp_path / "pairs.csv").write_text("reference,distorted\n")
    config = load([
        "data=folder", f"data.csv={tmp_path}/data.csv", "callbacks=pairs_csv", "trainer=cpu", "checkpoint.best=null",
        f"callbacks.pairs_csv.csv={tmp_path}/pairs.csv", f"paths.runs={tmp_path}/runs",
    ])  # fmt: skip
    with pytest.raises(UserError) as caught:
        prepare(run_start(config, 1), RankLayout(0, 0, 1, 1, gpu=False), tmp_path, lambda line: None)
    first, *others = caught.value.lines
    assert first == f"data.caption_column: {tmp_path}/data.csv has no column 'caption'; it has: image, text"
    assert [line.partition(":")[0] for line in others] == ["human/pairs_csv"]
