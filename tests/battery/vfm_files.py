# SPDX-License-Identifier: Apache-2.0
"""The files of Cai et al.'s repository that benchmarks read, with numbers of one's own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clip_align.perception.displayed_gratings import CONDITIONS, CONSTANCY, FREQUENCIES

# (contrast of the mask, threshold); the first and the last are masks that the authors leave out
MADE_UP = tuple((0.004 * 2**n, 0.01 * 1.4**n) for n in range(8))


def vfm_hvs(
    root: Path,
    masking: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    matching: Mapping[float, Sequence[float]] | None = None,
) -> Path:
    """Write the three files.

    Args:
        root: folder of the repository.
        masking: (mask, threshold) by condition.
        matching: the nine matched contrasts by contrast of the reference.
    """
    matching = matching or {0.01 * 2**n: [0.01 * 2**n] * len(FREQUENCIES) for n in range(5)}
    (root / "gt_json").mkdir(parents=True, exist_ok=True)
    for name, condition in CONDITIONS.items():
        masks, thresholds = zip(*(masking or {}).get(name, MADE_UP), strict=True)
        write(root / condition.file, {"mask_contrast_list": list(masks), "test_contrast_list": list(thresholds)})
    rows: dict[str, Any] = {
        f"ref_contrast_index_{n}": {"x_rho": list(FREQUENCIES), "y_test_contrast_average": list(row)}
        for n, row in enumerate(matching.values())
    }
    write(root / CONSTANCY, {"average_reference_contrast": list(matching), **rows})
    return root


def write(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data), encoding="utf-8")
