# SPDX-License-Identifier: Apache-2.0
"""What is refused before step 0 once torch is there: all at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from clip_align.data import worker_count
from clip_align.data.progress import Progress
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


@pytest.mark.parametrize(("typed", "expected"), [([], 2), (["data.workers=1"], 1)])
def test_workers_that_are_left_open_are_determined_at_each_launch(
    typed: list[str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the machine's cores and ranks; the configuration keeps null, so that another machine decides anew."""
    monkeypatch.setattr(worker_count, "usable_cores", lambda: 6)
    rows = ["image,caption"]
    for number in range(8):
        Image.new("RGB", (32, 32), (number, 0, 0)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,a photo of a dog")
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    config = load([
        "data=folder", f"data.csv={tmp_path}/t.csv", "data.batch_size=4", "callbacks=[]", "checkpoint.best=null",
        *typed, f"paths.runs={tmp_path}/runs",
    ])  # fmt: skip
    lines: list[str | Progress] = []
    start = run_start(config, 2)
    components = prepare(start, RankLayout(0, 0, 2, 2, gpu=True), tmp_path / "cache", lines.append)
    assert components.loader.num_workers == components.data_provenance["workers"] == expected
    assert start.config.data.workers == (None if not typed else 1)
    said = [line for line in map(str, lines) if line.startswith("data.workers")]
    assert said == ([] if typed else ["data.workers: 2 for each rank (6 cores for 2 ranks)"])
