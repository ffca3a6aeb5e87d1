# SPDX-License-Identifier: Apache-2.0
"""Training as it is."""

from __future__ import annotations

from clip_align.training.interventions.base import Intervention


class NoIntervention(Intervention):
    """Changes nothing."""
