# SPDX-License-Identifier: Apache-2.0
"""Identities of the measures of saliency maps, on random maps, and cases worked by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from clip_align.known_answer import KnownAnswer
from clip_align.metrics import saliency

SHAPE, FIXATIONS = (48, 64), 300
EXACT = 1e-12


def known_answers() -> Iterator[KnownAnswer]:
    """Saliency: identities of the measures, and cases worked by hand."""
    rng = np.random.default_rng(0)
    s, other = (rng.random(SHAPE) + 0.1 for _ in range(2))
    counts = saliency.fixation_counts(rng.uniform(0, 64, FIXATIONS), rng.uniform(0, 48, FIXATIONS), *SHAPE)
    d = saliency.fixation_density(counts, 3.0)
    nss = saliency.nss(s, counts)
    yield KnownAnswer("NSS, map times 3 minus 7: change", saliency.nss(3 * s - 7, counts) - nss, 0, EXACT)
    yield KnownAnswer("NSS, map and its negative: sum", saliency.nss(-s, counts) + nss, 0, EXACT)
    yield KnownAnswer("NSS, every pixel fixated once", saliency.nss(s, np.ones(SHAPE)), 0, EXACT)
    by_cc = saliency.cc(s, counts) * counts.std() / counts.mean()
    yield KnownAnswer("NSS minus CC with the counts x sd/mean", nss - float(by_cc), 0, EXACT)
    yield KnownAnswer("CC, a map with itself", saliency.cc(s, s), 1, EXACT)
    yield KnownAnswer("CC, a map with its negative", saliency.cc(s, -s), -1, EXACT)
    yield KnownAnswer("CC, both ways: change", saliency.cc(s, d) - saliency.cc(d, s), 0, EXACT)
    yield KnownAnswer("SIM, a map with itself", saliency.sim(s, 5 * s), 1, EXACT)
    yield KnownAnswer("SIM, maps without a common pixel", saliency.sim(np.eye(4), 1 - np.eye(4)), 0, EXACT)
    apart = float(np.abs(s / s.sum() - d / d.sum()).sum() / 2)
    yield KnownAnswer("SIM plus the total variation distance", saliency.sim(s, d) + apart, 1, EXACT)
    yield KnownAnswer("KL, a map with itself", saliency.kl(s, s), 0, 1e-11)
    entropy = -float((d[d > 0] * np.log(d[d > 0])).sum())
    kl = saliency.kl(np.ones(SHAPE), d)
    yield KnownAnswer("KL of a uniform map minus log N - entropy", kl - (math.log(d.size) - entropy), 0, 1e-10)
    for variant in saliency.AUC_VARIANTS:
        value = saliency.auc_judd(s, counts, variant)
        changed = saliency.auc_judd(np.exp(3 * s), counts, variant)
        yield KnownAnswer(f"AUC ({variant}), monotone transform: change", changed - value, 0, EXACT)
        uniform = saliency.auc_judd(np.ones(SHAPE), counts, variant)
        yield KnownAnswer(f"AUC ({variant}), uniform map", uniform, 0.5, EXACT)
    both = saliency.auc_judd(s, counts) + saliency.auc_judd(-s, counts)
    yield KnownAnswer("AUC (rank), map and its negative: sum", both, 1, EXACT)
    # fixated: 3 and 1; not: 2 and 0. Thresholds 3: (0, 1/2); 1: (1/2, 1); then (1, 1)
    by_hand = saliency.auc_judd([[3, 2], [1, 0]], [[1, 0], [5, 0]], "mit")
    yield KnownAnswer("AUC (mit), four pixels by hand", by_hand, 0.875, EXACT)
    gain, back = saliency.information_gain(s, other, counts), saliency.information_gain(other, s, counts)
    yield KnownAnswer("information gain, both ways: sum", gain + back, 0, EXACT)
    one = np.array([[0.0, 1.0], [0.0, 0.0]])
    sure = saliency.information_gain(one, np.ones((2, 2)), 3 * one)
    yield KnownAnswer("information gain in bits, 1 pixel of 4 known", sure, 2, EXACT)
