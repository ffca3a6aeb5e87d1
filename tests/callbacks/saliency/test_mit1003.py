# SPDX-License-Identifier: Apache-2.0
"""saliency/mit1003: from the eye tracker's samples to baselines; missing data are one line."""

from __future__ import annotations

from pathlib import Path

import miniature_saliency
import numpy as np
import pytest

from clip_align.callbacks.saliency.mit1003 import MIT1003
from clip_align.errors import UserError
from clip_align.evaluation.model_info import ModelInfo


def test_its_samples_become_the_fixations_that_they_were_made_of(tmp_path: Path) -> None:
    callback = MIT1003(root=str(miniature_saliency.mit1003(tmp_path / "mit")), maps="input_gradient")
    assert [(image.height, image.width) for image in callback.images] == [(1024, 405)] + [(768, 1024)] * 5
    assert callback.looked[0].shape == (200, 79)
    for number, image in enumerate(callback.images):
        places = np.concatenate(
            [miniature_saliency.looked(number * 4 + v, image.width, image.height) for v in range(4)]
        )
        near = np.hypot(places[:, 0, None] - image.x, places[:, 1, None] - image.y).min(axis=0)
        assert len(image.x) >= 15  # neighbours that are close are one fixation
        assert (near < 25).all()
    assert callback.adapt(ModelInfo(16, ("projection",))) is None
    assert callback.scores[0].baselines["one viewer"] > callback.scores[0].baselines["centre bias"]


def test_missing_data_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        MIT1003(root=str(tmp_path / "none"))
    assert str(caught.value) == (
        f"saliency/mit1003: no such folder: {tmp_path}/none; expected below it: ALLSTIMULI/*.jpeg, DATA/*/*.mat. "
        "MIT1003 (size not stated) is at http://people.csail.mit.edu/tjudd/WherePeopleLook/; unpack it there, or name "
        "its folder with callbacks.mit1003.root=…"
    )
