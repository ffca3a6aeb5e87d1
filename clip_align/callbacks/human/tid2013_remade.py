# SPDX-License-Identifier: Apache-2.0
"""Low-level human alignment: correlation of the model's distances with human opinions of distortions.

1,920 re-made pairs, each with TID2013's opinion of the original: 24 crops of the photographs behind TID2013's
references (to the pixel for 6 of them) x 16 distortion types x 5 levels. The model's value of a pair is minus the
distance of its two embeddings; a score is the correlation with the opinions, positive = aligned.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, ClassVar

from clip_align.callbacks.common.remade_pairs import RemadePairs, RemadeTable
from clip_align.perception import tid2013_remade
from clip_align.perception.baselines import CEILINGS, TRAINED_CLIPS, TRAINED_CLIPS_SOURCE, baselines


class TID2013Remade(RemadePairs):
    """1,920 re-made pairs, each with TID2013's opinion of the original. Higher opinion = better; chance 0.

    ``distance``, ``tiles``: see `RemadePairs`.

    Items are sorted by reference, type, level; model values are named after the distances, the headline one first.
    Scores have ``baselines`` (pixel measures, level or type alone) and ``ceilings`` (of the original stimuli).
    Baselines of untrained networks depend on the trained model and are added by `add_baselines`.
    """

    # 2: layers are compared token by token; 3: five sets of tile positions a photograph (small models alone)
    version: ClassVar[int] = 3
    part: ClassVar[str] = tid2013_remade.PART
    human_data: ClassVar[str] = "TID2013's mean opinion scores of its own images, values unmodified"
    stand_in: ClassVar[str] = (
        "the images: 16 of TID2013's 24 distortion types re-made on crops of the same Kodak photographs; "
        "6 of the 24 references are the database's to the pixel, 18 a shifted part of the same photograph"
    )
    source: ClassVar[str] = "Ponomarenko et al., Signal Process. Image Commun. 30 (2015) 57-77; Kodak PhotoCD PCD0992"
    licence: ClassVar[str] = "LicenseRef-TID2013 (scores) AND LicenseRef-Kodak-PhotoCD (photographs)"

    def __init__(self, **base: Any) -> None:
        super().__init__(**base)
        of = tid2013_remade.pairs()  # 1,920 rows
        # the recipe's version is an argument, and so part of what identifies a cached image
        make = partial(tid2013_remade.image, recipe=tid2013_remade.RECIPE)
        self.use(RemadeTable(of.reference, of.type, of.level, of.opinion), make)
        for place, name in enumerate(("srocc", "within_level_srocc")):
            self.describe(
                name,
                has_verdict=True,
                # within a level the level alone orders nothing: NaN, left out
                baselines={n: values[place] for n, values in baselines().items() if math.isfinite(values[place])},
                ceilings={n: values[place] for n, values in CEILINGS.items()},
                context={n: v for n, values in TRAINED_CLIPS.items() if (v := values[place]) is not None},
                context_source=TRAINED_CLIPS_SOURCE,
            )
