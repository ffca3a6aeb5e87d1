# SPDX-License-Identifier: Apache-2.0
"""Facts of the re-made distortions of KADID-10k: the published parameters, met by the images, and pairs measured again.

The opinions are the user's own copy of the database's list; they are checked by ``verify kadid10k``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clip_align.known_answer import KnownAnswer, count
from clip_align.perception.distortions import generator
from clip_align.perception.kadid10k_baselines import measure, table
from clip_align.perception.kadid10k_remade import NAMES, image
from clip_align.perception.kadid_distortions import TYPES, UNCHANGED
from clip_align.perception.pixel_measures import MEASURES

SIDE = 256  # of the grey field that noise is measured on, pixels
# type, level, and variance on mid-grey of samples on [0, 1]: as published; of half the samples' size for type 14
NOISE = ((11, 1, 0.001), (11, 5, 0.01), (14, 1, 0.001 / 4), (14, 5, 0.05 / 4))
AGAIN = (7, 700, 1500, 2279)  # pairs that are made and measured again: of four photographs and types


def known_answers() -> Iterator[KnownAnswer]:
    """KADID-10k's distortions re-made: what they change, and by how much."""
    yield count("pairs", len(NAMES), 2280)
    yield count("types of distortion", len(TYPES), 19)
    for type, level in UNCHANGED:
        different = int(np.count_nonzero(image(5, type, level) != image(5)))
        yield count(f"{TYPES[type].name}, level {level}: samples changed", different, 0)
    grey = np.full((SIDE, SIDE, 3), 0.5)
    for type, level, variance in NOISE:
        made = TYPES[type].made(grey, level, f"verify {type} {level}")
        name = f"{TYPES[type].name}, level {level}: variance on mid-grey / published"
        yield KnownAnswer(name, float(made.var()) / variance, 1.0, 0.02)
    impulses = TYPES[13].make(grey, 0.03, generator("verify 13"))
    yield KnownAnswer("impulse noise, level 5: fraction of samples", float((impulses != 0.5).mean()), 0.03, 0.002)
    for row in AGAIN:
        number, type, level = NAMES[row]
        # codecs may differ between versions of Pillow by some hundredths of a dB
        for measure_name, value, tolerance in zip(
            MEASURES, measure(number, type, level), (0.05, 0.05, 0.002), strict=True
        ):
            name = f"{measure_name} of photograph {number}, type {type}, level {level}, made again"
            yield KnownAnswer(name, value, float(table()[measure_name][row]), tolerance)
