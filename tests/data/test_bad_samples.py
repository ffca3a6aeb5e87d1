# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from clip_align.data.bad_samples import BadSampleCounter, Causes, causes_of
from clip_align.errors import RunError


def test_the_share_is_judged_over_an_epoch_or_a_thousand_samples() -> None:
    tally = BadSampleCounter(0.1, 0.0, Causes(), epoch=40)
    tally.count(8, [("damaged image", f"k{n}") for n in range(4)])  # half of the first batch, a tenth of an epoch
    assert tally.fraction == pytest.approx(0.1)
    with pytest.raises(RunError):
        tally.count(8, [("not an image", "k9")])
    large = BadSampleCounter(0.1, 0.0, Causes(), epoch=10**6)
    large.count(128, [("damaged image", "k")] * 100)
    with pytest.raises(RunError):
        large.count(128, [("damaged image", "k")])


def test_the_error_names_counts_by_cause_and_the_first_of_each() -> None:
    tally = BadSampleCounter(0.05, 0.0, Causes(), epoch=100)
    with pytest.raises(RunError) as error:
        tally.count(100, [("damaged image", "a"), ("not an image", "b"), ("damaged image", "c")] * 2)
    assert str(error.value) == (
        "data: 6.0% of the samples are bad, data.max_bad_share=0.05 allows 5%: 2 damaged image (first: a), "
        "1 not an image (first: b); repair the shards or raise data.max_bad_share"
    )


def test_what_the_index_left_out_counts_too() -> None:
    causes = Causes()
    causes.add("no caption", "x", 8)
    tally = BadSampleCounter(0.1, 0.08, causes, epoch=100)
    tally.count(100, [("damaged image", "a"), ("damaged image", "c")])
    assert tally.fraction == pytest.approx(0.08 + 0.92 * 0.02)
    assert list(tally.met) == [("damaged image", "a"), ("damaged image", "c")]
    with pytest.raises(RunError, match=r"8 no caption \(first: x\), 3 damaged image \(first: a\)"):
        tally.count(0, [("damaged image", "b")])
    assert causes.total == 8  # the caller's own counts stay as they were


def test_a_sample_that_is_met_in_every_epoch_is_one_bad_sample() -> None:
    tally = BadSampleCounter(0.1, 0.0, Causes(), epoch=40)
    for _ in range(20):
        tally.count(40, [("damaged image", "a")])
    assert causes_of(tally.met).counts == {"damaged image": 1}
    assert tally.fraction == pytest.approx(1 / 40)


def test_a_limit_of_nothing_and_of_everything() -> None:
    with pytest.raises(RunError):
        BadSampleCounter(0.0, 0.0, Causes(), 10).count(1000, [("no caption", "a")])
    BadSampleCounter(0.0, 0.0, Causes(), 10).count(1000, [])
    BadSampleCounter(1.0, 0.0, Causes(), 10).count(10, [("no caption", "a")] * 10)
