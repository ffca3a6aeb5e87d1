# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from clip_align.evaluation.score import Score
from clip_align.metrics.estimate import Estimate


@pytest.mark.parametrize("axis", [(1.0, 0.0), (0.5, 0.5)])
def test_limits_of_an_axis_in_the_wrong_order_are_refused(axis: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="score cc: axis is"):
        Score("cc", "correlation", lambda items: Estimate(0.5), direction="", axis=axis)
