# SPDX-License-Identifier: Apache-2.0
"""KADID-10k's distortions re-made on the embedded photographs, against its opinions of each type and level."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np

from clip_align.callbacks.base import Download
from clip_align.callbacks.common.pair_scores import judged
from clip_align.callbacks.common.remade_pairs import RemadePairs, RemadeTable
from clip_align.perception import kadid10k_baselines, kadid10k_remade, pixel_measures
from clip_align.perception.observers import Labels, PairSet
from clip_align.perception.quality_databases import kadid10k

__all__ = ["KADID10kRemade"]


class KADID10kRemade(RemadePairs):
    """2,280 re-made pairs with KADID-10k's mean opinion of their type and level. Higher opinion = better; chance 0.

    19 of its 25 types at five levels on 24 photographs that are not the database's: what people said of one image is
    not known, only the mean over its 81 references. The images come with the package, the opinions are read from the
    database's own list.

    Args:
        root: folder with ``dmos.csv``; the database's images are not needed.
        distance, tiles: see `RemadePairs`.

    Items are sorted by reference, type, level. Levels of mean shift and contrast change go from one direction of change
    through none to the other. Four types and levels change nothing: their distances are 0, and tied. No ceiling is
    known: content, which the means leave out, is no part of the opinions.
    """

    version: ClassVar[int] = 1
    part: ClassVar[str] = kadid10k_remade.PART
    human_data: ClassVar[str] = "KADID-10k's mean opinions by type and level, over its own 81 references"
    stand_in: ClassVar[str] = (
        "the images: 19 of KADID-10k's 25 distortion types re-made on crops of 24 Kodak photographs, none of them the "
        "database's"
    )
    download: ClassVar[Download] = kadid10k.KADID10K_SCORES
    source: ClassVar[str] = "Lin, Hosu, Saupe, QoMEX 2019; Kodak PhotoCD PCD0992"
    licence: ClassVar[str] = "no licence text found (scores, not embedded) AND LicenseRef-Kodak-PhotoCD (photographs)"

    def __init__(self, root: str, **base: Any) -> None:
        super().__init__(**base)
        means = kadid10k.condition_means(self.download.folder(root, self.key), self.key)
        reference, type, level = np.array(kadid10k_remade.NAMES).T
        opinion = np.array([means[condition] for condition in zip(type.tolist(), level.tolist(), strict=True)])
        table = RemadeTable(reference, type, level, opinion, of_images=False)
        self.use(table, partial(kadid10k_remade.image, recipe=kadid10k_remade.RECIPE))
        for name, baselines in _baselines(table).items():
            self.describe(name, baselines=baselines)


def _baselines(table: RemadeTable) -> Mapping[str, Mapping[str, float]]:
    """Scores of observers without a model, by score and label."""
    observers = pixel_measures.observers(kadid10k_baselines.table())
    labels = Labels({"reference": table.reference, "type": table.type, "level": table.level}, table.opinion)
    return judged(observers, PairSet(len(table.opinion), lambda: iter(()), lambda: labels))
