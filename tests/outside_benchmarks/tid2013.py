# SPDX-License-Identifier: Apache-2.0
"""TID2013 itself: the database as its authors distribute it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from clip_align.callbacks.toolkit import (
    SPEARMAN,
    DistanceName,
    Features,
    Holds,
    Items,
    PerceptualCallback,
    Range,
    Stimulus,
    UserError,
    krocc,
    minus_distances,
    over_items,
    plcc,
    read_rgb,
    srocc,
    within_level_srocc,
)

NAME = re.compile(r"i(\d\d)_(\d\d)_(\d)\.bmp")  # reference, type, level; lists and disks differ in case
TYPES = (
    *("gaussian_noise", "colour_noise", "correlated_noise", "masked_noise", "high_frequency_noise", "impulse_noise"),
    *("quantization_noise", "blur", "denoising", "jpeg", "jpeg2000", "jpeg_errors", "jpeg2000_errors", "pattern_noise"),
    *("local_blocks", "mean_shift", "contrast", "saturation", "multiplicative_noise", "comfort_noise"),
    *("compressed_noise", "colour_quantization", "aberrations", "sparse_sampling"),
)


class TID2013(PerceptualCallback):
    """Mean opinions (higher = better) of 3,000 distorted images against minus the model's distance to the reference.

    Chance 0. Intervals: new references; ``srocc_two_way``: new references and other types. ``root``: the folder of
    ``mos_with_names.txt``. ``distance``: the headline's. ``tiles``: places an image is seen at, where it is tiled.
    """

    family: ClassVar[str] = "human"
    version: ClassVar[int] = 1
    human_data: ClassVar[str] = "mean opinions of 971 observers"
    stand_in: ClassVar[str] = "none"
    source: ClassVar[str] = "Ponomarenko et al. 2015, www.ponomarenko.info/tid2013.htm"
    licence: ClassVar[str] = "for education and research, not to be passed on modified"

    def __init__(
        self,
        root: Annotated[str, Holds("mos_with_names.txt")],
        distance: DistanceName = "normalised_euclidean",
        tiles: Annotated[int, Range(low=1)] = 4,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        self.folder, self.distance, self.tiles = Path(root).expanduser(), distance, tiles
        rows = [row.split() for row in (self.folder / "mos_with_names.txt").read_text().splitlines() if row.strip()]
        self.mos = {row[-1].lower(): float(row[0]) for row in rows}
        self.files = {**self.listed("reference_images"), **self.listed("distorted_images")}
        wrong = [name for name in self.mos if not NAME.fullmatch(name)]
        absent = [x for name in self.mos if name not in wrong for x in (name, reference(name)) if x not in self.files]
        if wrong or absent or len(self.mos) < len(rows):
            raise UserError(
                f"{self.key}: {self.folder}: {len(rows) - len(self.mos)} names given twice, {len(wrong)} of another "
                f"form than i01_01_1.bmp, {len(set(absent))} images missing: {', '.join((wrong + absent)[:3])}; "
                "unpack the database again"
            )
        parts = [NAME.fullmatch(name).groups() for name in self.mos]  # type: ignore[union-attr]
        self.reference, self.type, self.level = np.array(parts, dtype=int).reshape(-1, 3).T
        level_alone = float(srocc(-self.level, list(self.mos.values())))
        unit = f"{len(set(self.reference))} references, jackknife, t"
        detail = replace(SPEARMAN, unit=unit, role="detail", has_verdict=False)
        self.scores = (
            replace(SPEARMAN, unit=unit, by="type", baselines={"level alone": level_alone}),
            replace(
                detail,
                name="within_level_srocc",
                label="within a level",
                compute=over_items(within_level_srocc, lambda items: items.column("level")),
            ),
            replace(
                detail,
                name="srocc_two_way",
                label="SROCC, other types too",
                compute=over_items(srocc, two_way=True),
                clusters=("reference", "type"),
            ),
            replace(detail, name="plcc", label="PLCC", compute=over_items(plcc)),
            replace(detail, name="krocc", label="KROCC (tau-b)", compute=over_items(krocc)),
        )

    def listed(self, folder: str) -> dict[str, Path]:
        """The folder's images by their lower-case names; UserError where two share one."""
        files = [p for p in sorted((self.folder / folder).glob("*")) if p.suffix.lower() == ".bmp"]
        twice = [name for name, count in Counter(p.name.lower() for p in files).items() if count > 1]
        if twice:
            raise UserError(f"{self.key}: {self.folder / folder} has {twice[0]} in two spellings; remove one of them")
        return {p.name.lower(): p for p in files}

    def stimuli(self) -> Iterator[Stimulus]:
        """References and distorted images, tiled at the reference's places."""
        for name in (*dict.fromkeys(map(reference, self.mos)), *self.mos):
            load = partial(read_rgb, self.files[name])
            yield Stimulus(f"tid2013/{name}", load, places=f"tid2013/{name[:3]}", part="tid2013")

    def pairs(self) -> list[tuple[str, str]]:
        """One a row of the list."""
        return [(f"tid2013/{reference(name)}", f"tid2013/{name}") for name in self.mos]

    def items(self, features: Features) -> Items:
        """One pair each."""
        model, notes = minus_distances(features, self.distance)
        return Items(
            model,
            list(self.mos.values()),
            list(self.mos),
            clusters={"reference": self.reference, "type": np.array(TYPES)[self.type - 1]},
            conditions={"level": self.level},
            notes=notes,
        )


def reference(name: str) -> str:
    """File name, in lower case, of the reference of a distorted image."""
    return f"{name[:3]}.bmp"
