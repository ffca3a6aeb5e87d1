# SPDX-License-Identifier: Apache-2.0
"""saliency/osie: its own layout gives what the same fixations give from a csv; missing data are one line."""

from __future__ import annotations

from pathlib import Path

import miniature_saliency
import numpy as np
import pytest

from clip_align.callbacks.saliency.fixations_csv import FixationsCsv
from clip_align.callbacks.saliency.osie import OSIE
from clip_align.errors import UserError
from clip_align.evaluation.model_info import ModelInfo


def test_its_layout_gives_what_a_csv_gives(tmp_path: Path) -> None:
    root = miniature_saliency.osie(tmp_path / "osie")
    callback = OSIE(root=str(root), sigma_px=3, maps="input_gradient")
    rows = ["image,viewer,x,y"]
    for image in callback.images:
        rows += [
            f"{image.path.name},{v},{x!r},{y!r}"
            for v, x, y in zip(image.viewer.tolist(), image.x.tolist(), image.y.tolist(), strict=True)
        ]
    (tmp_path / "all.csv").write_text("\n".join(rows), encoding="utf-8")
    other = FixationsCsv(
        csv=str(tmp_path / "all.csv"),
        root=str(root / "data" / "stimuli"),
        sigma_px=3,
        outside="zero",
        maps="input_gradient",
    )
    assert len(rows) == 1 + 6 * 4 * 5
    for each in (callback, other):
        assert each.adapt(ModelInfo(16, ("projection",))) is None
    for one, same in zip(callback.scores, other.scores, strict=True):
        assert dict(one.baselines) == pytest.approx(dict(same.baselines), abs=1e-12)
    # all look around one place, so that viewers predict each other far better than the middle does
    cc = callback.scores[0].baselines
    assert cc["one viewer"] > cc["centre bias"] + 0.1
    assert np.isfinite(callback.items.__self__._without_a_model().one_viewer).all()  # type: ignore[attr-defined]


def test_missing_data_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        OSIE(root=str(tmp_path))
    assert str(caught.value) == (
        f"saliency/osie: {tmp_path} lacks data/stimuli/*.jpg, data/eye/fixations.mat; expected below it: "
        "data/stimuli/*.jpg, data/eye/fixations.mat. OSIE (size not stated) is at "
        "https://github.com/NUS-VIP/predicting-human-gaze-beyond-pixels; unpack it there, or name its folder with "
        "callbacks.osie.root=…"
    )
