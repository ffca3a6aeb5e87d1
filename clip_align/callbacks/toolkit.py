# SPDX-License-Identifier: Apache-2.0
"""Everything needed to write a benchmark, in one import; `docs/callbacks.md` describes each function.

The shipped benchmarks use the same functions::

    from clip_align.callbacks.toolkit import Features, Items, PerceptualCallback, Score, Stimulus, over_items
"""

from __future__ import annotations

from clip_align.analysis.jackknife import (
    bundles,
    jackknife,
    leave_one_out,
    leave_one_out_range,
    two_way_jackknife,
)
from clip_align.callbacks.base import Features, Items, ModelInfo, PerceptualCallback, Score, Stimulus
from clip_align.callbacks.common.known_classes import KnownClasses, known_classes
from clip_align.callbacks.common.pair_scores import minus_distances, over_items
from clip_align.callbacks.common.spearman import SPEARMAN
from clip_align.errors import UserError
from clip_align.evaluation.observers import baselines_by_score, observed
from clip_align.metrics.accuracy import NO_CHOICE, accuracy, choices, why_no_decisions, wilson
from clip_align.metrics.agreement import cohens_kappa, error_consistency, mean_error_consistency
from clip_align.metrics.correlation import krocc, plcc, srocc, why_undefined, within_level_srocc
from clip_align.metrics.estimate import Estimate, undefined
from clip_align.metrics.intervals import cluster_sums, jackknife_of_sums, t95
from clip_align.metrics.noise import corrected_drop, drop, relative_drop, relative_drop_limit
from clip_align.metrics.ratio import ratio
from clip_align.metrics.texture import (
    bias_range,
    error_dependence,
    shape_hits,
    texture_bias,
    texture_bias_corrected,
    texture_hits,
    why_gate_closed,
)
from clip_align.perception.distances import DISTANCES, DistanceName
from clip_align.perception.image_files import read_rgb
from clip_align.perception.observers import (
    LEVEL_ALONE,
    PSNR,
    PSNR_LUMINANCE,
    SSIM,
    ColumnAlone,
    ConditionAlone,
    OfImages,
    psnr_luminance,
    ssim,
)
from clip_align.perception.psnr import psnr
from clip_align.structure import Distinct, Existing, Holds, Matches, Range

__all__ = [
    "DISTANCES",
    "LEVEL_ALONE",
    "NO_CHOICE",
    "PSNR",
    "PSNR_LUMINANCE",
    "SPEARMAN",
    "SSIM",
    "ColumnAlone",
    "ConditionAlone",
    "DistanceName",
    "Distinct",
    "Estimate",
    "Existing",
    "Features",
    "Holds",
    "Items",
    "KnownClasses",
    "Matches",
    "ModelInfo",
    "OfImages",
    "PerceptualCallback",
    "Range",
    "Score",
    "Stimulus",
    "UserError",
    "accuracy",
    "baselines_by_score",
    "bias_range",
    "bundles",
    "choices",
    "cluster_sums",
    "cohens_kappa",
    "corrected_drop",
    "drop",
    "error_consistency",
    "error_dependence",
    "jackknife",
    "jackknife_of_sums",
    "known_classes",
    "krocc",
    "leave_one_out",
    "leave_one_out_range",
    "mean_error_consistency",
    "minus_distances",
    "observed",
    "over_items",
    "plcc",
    "psnr",
    "psnr_luminance",
    "ratio",
    "read_rgb",
    "relative_drop",
    "relative_drop_limit",
    "shape_hits",
    "srocc",
    "ssim",
    "t95",
    "texture_bias",
    "texture_bias_corrected",
    "texture_hits",
    "two_way_jackknife",
    "undefined",
    "why_gate_closed",
    "why_no_decisions",
    "why_undefined",
    "wilson",
    "within_level_srocc",
]
