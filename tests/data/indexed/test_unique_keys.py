# SPDX-License-Identifier: Apache-2.0
"""``data.unique_keys``: of the samples with one key the first in the order of shards is used."""

from __future__ import annotations

from itertools import islice
from typing import Any

from tests.data.stream import Make, same, take


def repeated(shards: Any) -> None:
    """Three shards: keys 0 to 7, 4 to 11, and 4 to 7 twice more; images tell which sample it is."""
    shards.tar("0.tar", shards.members(8))
    shards.tar("1.tar", [m for n in range(4, 12) for m in shards.sample(n, size=(9, 9))])
    shards.tar("2.tar", [m for _ in range(2) for n in range(4, 8) for m in shards.sample(n, size=(10, 10))])


def test_each_key_is_read_once_from_the_first_shard(shards: Any, make: Make) -> None:
    repeated(shards)
    data = make(shards.folder, unique_keys=True)
    assert data.check() == (
        "data: 12 samples have different keys, 12 whose key came before are left out: the first is k00004",
        "data: 12 samples in 3 shards; an epoch is 3 batches of 4",
    )
    batches = take(data, 6)
    for epoch in (batches[:3], batches[3:]):
        assert sorted(key for batch in epoch for key in batch["keys"]) == [f"k{n:05d}" for n in range(12)]
    samples = data.set.reader
    sides = {samples.key(n): samples.image(n) for n in range(12)}
    assert sides == {f"k{n:05d}": shards.image(n, size=(12, 12) if n < 8 else (9, 9)) for n in range(12)}
    assert same(take(data, 4, batches[1]["cursor"]), batches[2:])
    loader = data.loader()
    next(islice(loader, 1))
    assert loader.tally.filtered.counts == {"whose key came before": 12}
    assert make(shards.folder).samples == 24
    assert make(shards.folder).fingerprint != data.fingerprint


def test_after_a_condition_and_before_samples_are_held_out(shards: Any, make: Make) -> None:
    members = []
    for number in range(40):
        image, _, text = shards.sample(number % 20)
        members += [image, (image[0].replace("png", "json"), b'{"a": %d}' % (number >= 10)), text]
    shards.tar("0.tar", members)
    data = make(shards.folder, unique_keys=True, where="a == 1", held_out=6)
    data.check()
    assert (data.samples, len(data.held_out)) == (14, 6)
    assert {data.set.reader.key(n) for n in range(14)} | {one.key for one in data.held_out.samples} == {
        f"k{n:05d}" for n in range(20)
    }
    assert data.loader().tally.filtered.counts == {"that do not meet it": 10, "whose key came before": 10}


def test_where_no_key_is_repeated_no_sample_changes(shards: Any, make: Make) -> None:
    shards.good(6, 7)
    lines = make(shards.folder, unique_keys=True).check()
    assert lines[0] == "data: 13 samples have different keys, 0 whose key came before are left out"
    assert same(take(make(shards.folder, unique_keys=True), 5), take(make(shards.folder), 5))


def test_streaming_refuses_it(shards: Any, stream: Any) -> None:
    shards.good(6)
    findings = list(stream(shards.folder, unique_keys=True).data.combinations(1))
    assert [str(finding.problem) for finding in findings] == [
        "data.unique_keys: true compares the keys of all samples before step 0, and data=streaming knows none of them "
        "then; take data=webdataset, or remove repeated samples when the shards are written"
    ]
