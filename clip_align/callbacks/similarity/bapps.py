# SPDX-License-Identifier: Apache-2.0
"""Patch similarity on BAPPS: which of two distorted patches is more like the original?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from clip_align.callbacks.base import Download
from clip_align.callbacks.common.two_alternatives import Choice, TwoAlternatives
from clip_align.errors import UserError, option_problem
from clip_align.metrics.choices import mean_of_strata
from clip_align.structure import Distinct

Kind = Literal["traditional", "cnn", "superres", "deblur", "color", "frameinterp", "mix"]
VALIDATION: tuple[Kind, ...] = ("traditional", "cnn", "superres", "deblur", "color", "frameinterp")


class Bapps(TwoAlternatives):
    """People's choices of the distorted patch that is more like the original: six types of distortion, 64 px.

    ``agreement``: mean over the types of how many people choose as the model does (p where it finds the second patch
    nearer, 1 - p where the first), the authors' "all"; ``agreement_pooled``: all triplets alike. Chance .5. Ceilings,
    from the votes of the same triplets: the majority of people, and one more person (p^2 + (1 - p)^2).

    Source: Zhang, Isola, Efros, Shechtman and Wang, CVPR 2018, arXiv 1801.03924; the code is BSD-2, terms of the data
    are not stated. Run the script of ``download`` and name the folder that holds ``2afc``.

    Args:
        root: folder of ``2afc``.
        types: folders below ``2afc/<split>``.
        split: ``val`` (5 votes a triplet) or ``train`` (2 votes; types traditional, cnn, mix).
        base: arguments of `TwoAlternatives` (``distance``, ``ties``) and `PerceptualCallback`.
    """

    family: ClassVar[str] = "similarity"
    version: ClassVar[int] = 1
    human_data: ClassVar[str] = "choices of the more similar patch, five people a triplet"
    stand_in: ClassVar[str] = "none"
    source: ClassVar[str] = "Zhang et al., CVPR 2018, arXiv 1801.03924"
    licence: ClassVar[str] = "not stated with the data (code: BSD-2)"
    download: ClassVar[Download] = Download(
        name="BAPPS",
        what="36,300 triplets of patches (validation) and people's choices of the more similar one",
        address="https://github.com/richzhang/PerceptualSimilarity",
        size="1.3 GB for validation alone, 6.6 GB in all",
        terms="not stated with the data (code: BSD-2)",
        citation="Zhang, Isola, Efros, Shechtman, Wang: The unreasonable effectiveness of deep features. CVPR 2018",
        needed=("2afc",),
    )

    def __init__(
        self,
        root: str,
        types: Annotated[Sequence[Kind], Distinct()] = VALIDATION,
        split: Literal["val", "train"] = "val",
        **base: Any,
    ) -> None:
        super().__init__(**base)
        folder = (self.download.folder(root, self.key) / "2afc" / split).absolute()
        choices = [choice for kind in types for choice in read_type(folder, kind, self.key)]
        people, strata = np.array([c.people for c in choices]), [c.stratum for c in choices]
        ceilings = {
            "people's majority": mean_of_strata(np.maximum(people, 1 - people), strata).value,
            "one more person": mean_of_strata(people**2 + (1 - people) ** 2, strata).value,
        }
        self.compare(choices, folder, "type", {name: value for name, value in ceilings.items() if value is not None})


def read_type(folder: Path, kind: str, key: str) -> list[Choice]:
    """The triplets of one type, matched by the stems of their files; UserError for a damaged judgement.

    Args:
        folder: of the split.
        kind: folder of the type below it, with ``ref``, ``p0``, ``p1`` and ``judge``.
        key: of the benchmark, for error messages.
    """
    files = sorted(p for p in (folder / kind / "judge").glob("*.npy") if not p.name.startswith("."))
    if not files:
        what = f"no judgements {folder / kind / 'judge'}/*.npy; valid types are the folders below {folder}"
        raise UserError(option_problem(key, "types", what))
    found = []
    for file in files:
        try:
            judged = np.load(file, allow_pickle=False).reshape(-1)  # of shape (1,), or a scalar
            people = float(judged[0]) if len(judged) == 1 else float("nan")
        except (OSError, ValueError, EOFError) as error:  # EOFError: an empty file
            raise UserError(option_problem(key, "root", f"cannot read {file}: {error}; unpack it again")) from error
        if not 0 <= people <= 1:  # also NaN
            what = f"{file} holds {judged.tolist()}; valid is one number from 0 to 1; unpack it again"
            raise UserError(option_problem(key, "root", what))
        paths = [f"{kind}/{part}/{file.stem}.png" for part in ("ref", "p0", "p1")]
        found.append(Choice(f"{kind}/{file.stem}", paths[0], paths[1], paths[2], people, kind))
    return found
