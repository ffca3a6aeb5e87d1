# SPDX-License-Identifier: Apache-2.0
"""``data.where`` and the places of captions in both readers, which mean the same in both."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clip_align.data.key_hashes import key_hash
from clip_align.data.sampling_plan import Cursor
from clip_align.data.training_data import TrainingData
from clip_align.errors import RunError, UserError
from tests.data.stream import same, take
from tests.data.streaming.http_store import http_store

WHERE = "similarity > 0.5 and width >= 100"
Read = Callable[..., TrainingData]


def facts_of(shard: int, number: int) -> dict[str, Any]:
    """A json: every second sample meets `WHERE`; of the others some lack a field, or have a text in it."""
    facts: dict[str, Any] = {"key": f"{shard}-{number}", "similarity": 0.9 if number % 2 else 0.1, "width": 100}
    if number == 2:
        del facts["similarity"]
    if number == 4:
        facts["similarity"] = "0.9"
    return facts


def write(shards: Any, *counts: int, facts: Callable[[int, int], Any] = facts_of) -> set[str]:
    """Shards of so many samples each; returns the keys of those that meet `WHERE`."""
    kept = set()
    for shard, count in enumerate(counts):
        members = []
        for number in range(count):
            image, _, text = shards.sample(number, f"{shard}-")
            members += [image, (f"{shard}-{number:05d}.json", json.dumps(facts(shard, number)).encode()), text]
            if number % 2:
                kept.add(f"{shard}-{number:05d}")
        shards.tar(f"{shard}.tar", members)
    return kept


@pytest.fixture(params=["indexed", "streamed"])
def read(request: pytest.FixtureRequest, make: Any, stream: Any) -> Read:
    """Training data of the reader's kind."""
    return make if request.param == "indexed" else stream


def keys(batches: list[Any]) -> list[str]:
    return [key for batch in batches for key in batch["keys"]]


def test_an_epoch_is_what_meets_the_condition(shards: Any, read: Read) -> None:
    kept = write(shards, 12, 16, 9, 11)  # 6, 8, 4, 5
    batches = take(read(shards.folder, where=WHERE), 10)
    for epoch in (batches[:5], batches[5:]):
        assert len(set(keys(epoch))) == 20
        assert set(keys(epoch)) <= kept
    numbers = [int(key.split("-")[1]) for key in keys(batches)]
    assert [n for batch in batches for n in batch["text"][:, 2].tolist()] == numbers  # its own caption and image


@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_share_the_batches_of_one(shards: Any, read: Read, workers: int) -> None:
    write(shards, 12, 16, 9, 11)
    whole = take(read(shards.folder, where=WHERE, flip=True), 7)
    parts = [
        take(read(shards.folder, rank=r, ranks=2, batch_size=2, where=WHERE, flip=True, workers=workers), 7)
        for r in range(2)
    ]
    for number, batch in enumerate(whole):
        assert [key for part in parts for key in part[number]["keys"]] == batch["keys"]
        assert {part[number]["cursor"] for part in parts} == {batch["cursor"]}


def test_any_position_can_be_resumed_from(shards: Any, read: Read) -> None:
    write(shards, 12, 16, 9, 11)
    batches = take(read(shards.folder, where=WHERE), 12)
    for number in (4, 6):
        start = tuple(map(int, batches[number - 1]["cursor"]))
        assert same(take(read(shards.folder, where=WHERE), 12 - number, start), batches[number:])


def test_a_condition_that_all_meet_changes_no_sample(shards: Any, read: Read) -> None:
    write(shards, 12, 9)
    whole = take(read(shards.folder), 6)
    assert same(whole, take(read(shards.folder, where="width == 100"), 6))
    fingerprints = {read(shards.folder, **keys).fingerprint for keys in ({}, {"where": "width == 100"})}
    assert len(fingerprints) == 2


def test_shards_of_which_nothing_is_left(shards: Any, read: Read) -> None:
    """Between others, and at the end: they fill no batch, and stop nothing."""

    def facts(shard: int, number: int) -> dict[str, Any]:
        return {**facts_of(shard, number), "width": 100 if shard in (0, 3) else 5}

    write(shards, 12, 8, 8, 12, 8, facts=facts)
    batches = take(read(shards.folder, where=WHERE, window_shards=1), 6)
    assert {key[0] for key in keys(batches)} == {"0", "3"}
    assert [len(set(keys(part))) for part in (batches[:3], batches[3:])] == [12, 12]


def test_filtered_samples_are_counted_and_are_no_bad_ones(shards: Any, read: Read) -> None:
    write(shards, 12, 8)
    data = read(shards.folder, where=WHERE, max_bad_share=0.0)
    loader = data.loader()
    batch = iter(loader)
    for _ in range(2):
        next(batch)
    expected = {"that do not meet it": 6, "without similarity": 2, "where a number and a text are compared": 2}
    assert loader.tally.filtered.counts == expected
    assert loader.tally.kept == 10
    assert loader.tally.fraction == 0


def test_a_bad_sample_counts_only_where_it_is_wanted(shards: Any, make: Any) -> None:
    members = shards.members(8)
    members[1] = ("k00000.json", b'{"width": 9}')
    for number in range(1, 8):
        members[3 * number + 1] = (f"k{number:05d}.json", b'{"width": 100}')
    del members[2], members[4]  # captions of an unwanted and of a wanted one
    shards.tar("0.tar", members)
    lines = make(shards.folder, where="width >= 100", max_bad_share=0.2).check()
    assert lines[:2] == (
        "data: 1 samples left out: 1 no caption (first: k00001, its json has: width)",
        "data: 6 samples meet data.where=width >= 100, 1 left out: 1 that do not meet it (first: k00000)",
    )


def test_lines_before_step_0(shards: Any, make: Any, stream: Any, tmp_path: Path) -> None:
    write(shards, 12, 8)
    (shards.folder / "0_stats.json").write_text('{"successes": 12}')  # of all: nothing to report
    assert make(shards.folder, where=WHERE).check() == (
        "data: 10 samples meet data.where=similarity > 0.5 and width >= 100, 10 left out: 6 that do not meet it "
        "(first: 0-00000), 2 without similarity (first: 0-00002), 2 where a number and a text are compared (first: "
        "0-00004)",
        "data: 10 samples in 2 shards; an epoch is 2 batches of 4, 2 samples left over",
    )
    lines: list[str] = []
    data = stream(shards.folder, where=WHERE, lines=lines)
    assert data.check() == (
        "data: 2 shards, about 24 samples (as in 1), of which those count that meet data.where=similarity > 0.5 and "
        "width >= 100; an epoch reads 2 shards in batches of 4",
    )
    take(data, 3)
    assert lines == [
        "data: epoch 0 ends after 8 samples in 2 batches, 2 left over, 10 left out by data.where: 6 that do not meet "
        "it (first: 0-00000), 2 without similarity (first: 0-00002), 2 where a number and a text are compared (first: "
        "0-00004)"
    ]
    again = stream(shards.folder, where=WHERE)
    assert again.check()[0].startswith("data: 20 samples in 2 shards, of which those count")  # learnt
    assert (again.samples, again.batches_per_epoch) == (None, None)


@pytest.mark.parametrize(
    ("where", "line"),
    [
        (
            "similarty > 0.5",
            "no sample in PLACE has the field similarty; did you mean similarity? the fields there are: key, "
            "similarity, width",
        ),
        ("punsafe < 1", "no sample in PLACE has the field punsafe; the fields there are: key, similarity, width"),
        (
            "similarity > 5 and width > 3",
            "similarity > 5 and width > 3 leaves none of 20 samples in PLACE: 16 that do not meet it (first: FIRST), 2 "
            "without similarity (first: SECOND), 2 where a number and a text are compared (first: THIRD)",
        ),
    ],
)
def test_a_condition_that_leaves_nothing_is_refused(shards: Any, read: Read, where: str, line: str) -> None:
    write(shards, 12, 8)
    data = read(shards.folder, where=where)
    with pytest.raises(UserError) as error:
        data.loader()
    assert type(error.value) is not RunError
    message = str(error.value).replace("the first 2 shards", "PLACE").replace("2 shards", "PLACE")
    for name, number in (("FIRST", 0), ("SECOND", 2), ("THIRD", 4)):
        for shard in (0, 1):
            message = message.replace(f"{shard}-{number:05d}", name)
    assert message == f"data.where: {line}"


@pytest.mark.parametrize("ask", ["captions", "held_out", "batches"])
def test_streamed_shards_are_refused_at_whatever_reads_them_first(shards: Any, stream: Any, ask: str) -> None:
    write(shards, 12, 8)
    data = stream(shards.folder, where="punsafe < 1", held_out=None)
    with pytest.raises(UserError, match=r"^data.where: no sample in the first 2 shards has the field punsafe; the"):
        {"captions": lambda: list(data.captions(5)), "held_out": lambda: data.held_out, "batches": data.loader}[ask]()


def test_a_resumed_run_may_stand_in_a_window_without_the_field(shards: Any, stream: Any) -> None:
    def facts(shard: int, number: int) -> dict[str, Any]:
        return facts_of(shard, number) if shard == 0 else {"other": 1}

    write(shards, 12, 8, facts=facts)
    data = stream(shards.folder, where=WHERE, window_shards=1, batch_size=2)
    first = int(data.set.plan.shards(0, 0)[0])
    start = (0, 1 if first == 0 else 0, 0, 2)
    assert {key[0] for key in keys(take(data, 3, start))} == {"0"}  # of the next epoch


def test_no_json_at_all(shards: Any, make: Any) -> None:
    shards.tar("0.tar", [member for member in shards.members(4) if not member[0].endswith("json")])
    with pytest.raises(UserError) as error:
        make(shards.folder, where="a > 1").check()
    assert str(error.value) == "data.where: no sample in 1 shards has the field a; no sample has a json"


def test_samples_held_out_are_those_that_meet_the_condition(shards: Any, make: Any, stream: Any) -> None:
    kept = write(shards, 60, 60)
    data = make(shards.folder, where=WHERE, held_out=5)
    expected = sorted(kept, key=key_hash)[:5]
    assert [sample.key for sample in data.held_out.samples] == expected
    assert not set(keys(take(data, 13))) & set(expected)
    data = stream(shards.folder, where=WHERE, held_out=3, held_out_fraction=0.2)
    shown = [sample.key for sample in data.held_out.samples]
    below = {key for key in kept if key_hash(key) <= 0.2 * 2**64}
    assert set(shown) <= below
    assert set(keys(take(data, 10))) == set(keys(take(data, 10))) <= kept - below


def test_remote_shards_have_an_index_for_each_condition(shards: Any, stream: Any, tmp_path: Path) -> None:
    """Side by side in the cache, in its accounts, and removed with their shard."""
    kept = write(shards, 12, 8)
    with http_store(shards.folder) as (address, faults):
        url = f"{address}/{{0..1}}.tar"
        some, whole = stream(url, where=WHERE), stream(url)
        assert set(keys(take(some, 2))) <= kept
        assert len(set(keys(take(whole, 5)))) == 20
        assert faults.requests["0.tar"] == 1
    cache = whole.set.settings.shard_cache()
    files = [path for path in cache.folder.iterdir() if not path.name.startswith(".")]
    assert sorted(path.suffix for path in files) == [".npz"] * 4 + [".tar"] * 2
    assert cache.used() == sum(path.stat().st_size for path in files)
    assert sorted(len(entry.indexes) for entry in cache.entries()) == [2, 2]
    for data in (some, whole):
        data.set.supply.close()  # what it holds stays
    cache.limit = 0
    with (tmp_path / "part").open("wb"), pytest.raises(Exception, match="more are needed"):
        cache._reserve(tmp_path / "part", 1)
    assert [path for path in cache.folder.iterdir() if not path.name.startswith(".")] == []


CAPTIONS = {"caption": ["of the json 1", "of the json 2"], "llava": "longer text 3", "empty": [" ", None]}


def captioned(shards: Any, count: int = 40) -> None:
    members = []
    for number in range(count):
        facts = CAPTIONS if number else {"caption": "alone 7"}
        members += [
            (f"{number}.png", shards.image(number)),
            (f"{number}.txt", b"first line 5\n\n second  line 6 \n"),
            (f"{number}.json", json.dumps(facts).encode()),
        ]
    shards.tar("0.tar", members)


@pytest.mark.parametrize(
    ("options", "numbers", "of_first"),
    [
        ({}, {6}, {6}),
        ({"caption_lines": True}, {5, 6}, {5, 6}),
        ({"caption_lines": True, "captions": "first"}, {5}, {5}),
        ({"caption_fields": {"caption": 1.0}}, {1, 2}, {7}),
        ({"caption_fields": {"llava": 1.0, "caption": 1.0}, "captions": "first"}, {3}, {7}),
        ({"caption_fields": {"txt": 1.0, "llava": 1.0}}, {6, 3}, {6}),
        (
            {"caption_fields": {"empty": 1.0, "txt": 1.0, "caption": 2.0}, "caption_lines": True},
            {5, 6, 1, 2},
            {5, 6, 7},
        ),
    ],
)
def test_where_captions_are(
    shards: Any, read: Read, options: dict[str, Any], numbers: set[int], of_first: set[int]
) -> None:
    captioned(shards)
    data = read(shards.folder, batch_size=8, **options)
    batches = take(data, 20)
    drawn = [(k, n) for b in batches for k, n in zip(b["keys"], b["text"][:, 2].tolist(), strict=True)]
    assert {n for key, n in drawn if key != "0"} == numbers
    assert {n for key, n in drawn if key == "0"} <= of_first
    if len(options) == 2 and len(numbers) > 2:  # once is enough for what takes processes
        assert same(take(read(shards.folder, batch_size=8, workers=2, **options), 10), batches[:10])
        assert same(take(data, 6, batches[5]["cursor"]), batches[6:12])


def test_a_weight_is_how_often_a_field_is_drawn(shards: Any, make: Any) -> None:
    captioned(shards)
    data = make(shards.folder, batch_size=8, caption_fields={"txt": 1.0, "caption": 3.0})
    drawn = [n for epoch in range(30) for b in take(data, 5, Cursor(epoch, 0)) for n in b["text"][:, 2].tolist()]
    counts = {n: drawn.count(n) / len(drawn) for n in (6, 1, 2)}
    # 1,200 draws, sd .014: the captions of a field share its weight
    assert counts[6] == pytest.approx(0.25, abs=0.05)
    assert counts[1] == pytest.approx(0.375, abs=0.05)
    assert counts[2] == pytest.approx(0.375, abs=0.05)


@pytest.mark.parametrize(("first", "expected"), [("random", (3, 1, 2)), ("first", (3,))])
def test_held_out_samples_show_all_captions_or_the_first(
    shards: Any, make: Any, stream: Any, first: str, expected: tuple[int, ...]
) -> None:
    captioned(shards, 60)
    options = {"caption_fields": {"llava": 1.0, "caption": 2.0}, "held_out": 4, "captions": first}
    for data in (make(shards.folder, **options), stream(shards.folder, held_out_fraction=0.4, **options)):
        shown = [one for one in data.held_out.samples if one.key != "0"]
        assert shown
        assert {tuple(int(text.split()[-1]) for text in one.captions) for one in shown} == {expected}


def test_a_sample_without_any_of_the_fields_is_a_bad_one(shards: Any, make: Any) -> None:
    captioned(shards)
    with pytest.raises(UserError) as error:
        make(shards.folder, caption_fields={"llava": 1.0}, max_bad_share=0.01).check()
    assert str(error.value).startswith(
        "data: 2.5% of the samples are bad, data.max_bad_share=0.01 allows 1%: 1 no caption (first: 0, its json has: "
        "caption)"
    )
    assert make(shards.folder, caption_fields={"llava": 1.0}).samples == 39


def test_indexes_without_these_options_are_found_by_an_older_release(shards: Any, make: Any, tmp_path: Path) -> None:
    """Their file has the same name, arrays and facts as before."""
    import numpy as np

    shards.good(5)
    make(shards.folder, caption_lines=True, captions="first").check()  # read from the same index
    make(shards.folder).check()
    (file,) = (tmp_path / "cache" / "index").glob("*.npz")
    with np.load(file) as arrays:
        assert set(arrays) == {"facts", "keys", "ends", "image", "text", "from_json", "key_hashes"}
        assert set(json.loads(arrays["facts"].tobytes())) == {"bad", "note", "left_out", "size"}
