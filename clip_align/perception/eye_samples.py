# SPDX-License-Identifier: Apache-2.0
"""From samples of an eye tracker to fixations, by the rule that MIT1003's authors distribute with their recordings.

A saccade begins where the smoothed speed rises fast and ends where it has fallen as fast; what is between two saccades
is a fixation, at the median of its samples. The rule is that of ``checkFixations`` (B. Hidalgo-Sotelo, in the
database's code; Judd et al., ICCV 2009), re-implemented with its parameters.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["fixations_of_samples"]

SAMPLES_PER_SECOND = 240
WINDOW = 4  # samples over which speed is averaged: 16.7 ms
RISE = 34 * 6  # pixels per second by which speed rises from one window to the next: 34 px per degree, 6 degrees
SHORTEST_RUN = 3  # successive samples of rising speed that begin a saccade
SEARCHED = 25  # samples in which its end is looked for
SHORTEST_FIXATION = 12  # samples, 50 ms; a shorter one belongs to the saccades around it

Runs = list[tuple[int, int]]


def fixations_of_samples(samples: ArrayLike) -> NDArray[np.float64]:
    """Fixations [F, 2], x and y in pixels, in the order in which they were made.

    Args:
        samples: x and y [N, 2] in pixels, 240 a second; negative or NaN in a blink.

    A blink moves the eye far outside the image, and becomes a fixation there. A recording without a saccade is one
    fixation; one without a sample has none.
    """
    xy = np.asarray(samples, dtype=np.float64)[:, :2]
    if not len(xy):
        return np.zeros((0, 2))
    still = np.ones(len(xy), bool)
    for start, end in _saccades(_acceleration(xy), len(xy)):
        still[start : end + 1] = False
    return np.array([np.nanmedian(xy[a : b + 1], axis=0) for a, b in _runs(still) if np.isfinite(xy[a : b + 1]).any()])


def _acceleration(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how much speed, in pixels per second, rises from the window at each sample to the next: [N]."""
    moved = np.concatenate([[0.0], np.hypot(*np.diff(xy, axis=0).T)])
    # over this sample and those before it
    smooth = np.convolve(moved, np.full(WINDOW, 1 / WINDOW))[: len(moved)]
    rise = np.zeros(len(moved))
    ahead = WINDOW + 1
    last = max(len(moved) - ahead, 1)  # the first sample and the last five have no windows
    rise[1:last] = (smooth[1 + ahead :] - smooth[1:last]) * SAMPLES_PER_SECOND / WINDOW
    return rise


def _saccades(rise: NDArray[np.float64], samples: int) -> Runs:
    """First and last sample of each saccade."""
    onsets = [(a, b) for a, b in _runs(rise > RISE) if b - a + 1 >= SHORTEST_RUN]
    found: Runs = []
    for start, run_end in onsets:
        end = _end(rise, run_end)
        if end is None and len(onsets) == 1 and run_end == np.flatnonzero(rise)[-1]:
            end = samples - 1  # the recording ends in its only saccade
        if end is None:
            continue
        if found and start - found[-1][1] <= SHORTEST_FIXATION:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    if found and samples - 1 - found[-1][1] <= SHORTEST_FIXATION:
        found[-1] = (found[-1][0], samples - 1)
    return found


def _end(rise: NDArray[np.float64], run_end: int) -> int | None:
    """The last sample at which speed falls fast, after speed has risen until ``run_end``; None if there is none."""
    for at in range(run_end + 1, min(run_end + 1 + SEARCHED, len(rise) - 2)):
        if rise[at] < -RISE and not rise[at + 1] < -RISE:
            return at
    return None


def _runs(where: NDArray[np.bool_]) -> Runs:
    """First and last index of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], where, [False]]).astype(np.int8)))
    return [(int(a), int(b) - 1) for a, b in edges.reshape(-1, 2)]
