# SPDX-License-Identifier: Apache-2.0
"""Batches of streamed shards, local and over HTTP, with faults; always against what the shards hold."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clip_align.data.key_hashes import key_hash
from clip_align.data.training_data import TrainingData
from clip_align.errors import RunError, UserError
from tests.data.stream import same, take
from tests.data.streaming.http_store import Faults, http_store

Stream = Callable[..., TrainingData]


@pytest.fixture
def store(shards: Any) -> Iterator[tuple[str, Faults]]:
    """Five shards over HTTP with 31 good samples."""
    shards.good(6, 9, 4, 7, 5)
    with http_store(shards.folder) as (address, faults):
        yield f"{address}/{{0..4}}.tar", faults


def keys(batches: list[Any]) -> list[str]:
    return [key for batch in batches for key in batch["keys"]]


def every(*counts: int) -> set[str]:
    return {f"{n}-{k:05d}" for n, count in enumerate(counts) for k in range(count)}


def test_an_epoch_sees_each_sample_once_and_the_rest_is_reported(shards: Any, stream: Stream) -> None:
    shards.good(6, 9, 4, 7, 5)
    lines: list[str] = []
    data = stream(shards.folder, lines=lines)
    assert data.check() == (
        "data: 5 shards, whose numbers of samples show once they are read; an epoch reads 5 shards in batches of 4",
    )
    batches = take(data, 14)
    for epoch in (batches[:7], batches[7:]):
        assert len(set(keys(epoch))) == 28
        assert set(keys(epoch)) <= every(6, 9, 4, 7, 5)
    assert keys(batches[:7]) != keys(batches[7:])
    assert batches[6]["cursor"] == (1, 0, 0, 0)
    numbers = [int(key.split("-")[1]) for key in batches[0]["keys"]]
    assert batches[0]["text"][:, 2].tolist() == numbers  # image, caption and key belong together
    assert lines == ["data: epoch 0 ends after 28 samples in 7 batches, 3 left over"]
    assert stream(shards.folder).check() == ("data: 31 samples in 5 shards; an epoch is 7 batches of 4",)  # learnt


def test_over_http_it_is_the_same_stream(store: tuple[str, Faults], shards: Any, stream: Stream) -> None:
    local, remote = take(stream(shards.folder, cache="other"), 16), take(stream(store[0]), 16)
    assert same(local, remote)
    assert {name: count for name, count in store[1].requests.items() if name.endswith(".tar")} == {
        f"{n}.tar": 1 for n in range(5)
    }  # the second and third epoch are read from the cache


@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_and_workers_change_nothing(store: tuple[str, Faults], stream: Stream, workers: int) -> None:
    whole = take(stream(store[0], flip=True, crop_scale=(0.5, 1.0)), 9)
    parts = [
        take(stream(store[0], rank=r, ranks=2, batch_size=2, workers=workers, flip=True, crop_scale=(0.5, 1.0)), 9)
        for r in range(2)
    ]
    for number, batch in enumerate(whole):
        assert [key for part in parts for key in part[number]["keys"]] == batch["keys"]
        assert torch.equal(torch.cat([part[number]["image"] for part in parts]), batch["image"])
        assert {part[number]["cursor"] for part in parts} == {batch["cursor"]}


@pytest.mark.parametrize("changes", [{}, {"resampled": True, "epoch_samples": 10, "batch_size": 2}])
def test_any_position_can_be_resumed_from(store: tuple[str, Faults], stream: Stream, changes: dict[str, Any]) -> None:
    batches = take(stream(store[0], **changes), 16)
    for number in (1, 4, 7, 10):
        start = tuple(map(int, batches[number - 1]["cursor"]))
        assert same(take(stream(store[0], cache="empty", **changes), 16 - number, start), batches[number:])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("changes", [{}, {"resampled": True, "epoch_samples": 10}])
def test_batches_that_are_contrasted_together_are_parts_of_a_larger_one(
    store: tuple[str, Faults], stream: Stream, changes: dict[str, Any], workers: int
) -> None:
    """The same samples in the same order; the position after the last part is that after the whole."""
    whole = take(stream(store[0], ranks=2, rank=1, **changes), 9)
    halves = {"ranks": 2, "rank": 1, "batch_size": 2, "accumulate": 2, "workers": workers, **changes}
    parts = take(stream(store[0], **halves), 18)
    for number, batch in enumerate(whole):
        two = parts[2 * number : 2 * number + 2]
        assert [key for part in two for key in part["keys"]] == batch["keys"]
        assert torch.equal(torch.cat([part["image"] for part in two]), batch["image"])
        assert two[1]["cursor"] == batch["cursor"]
        # saved in no checkpoint, but if it were, the whole batch would come again
        again = take(stream(store[0], **{**halves, "workers": 0}), 2, two[0]["cursor"])
        assert keys(again) == batch["keys"]
    for number in (2, 6, 12):
        rest = take(stream(store[0], cache="empty", **halves), 18 - number, parts[number - 1]["cursor"])
        assert same(rest, parts[number:])


def test_no_sample_replaces_bad_ones_of_two_parts(shards: Any, stream: Stream) -> None:
    members = shards.members(24)
    for number in range(0, 24, 4):
        members[2 * number] = (members[2 * number][0], members[2 * number][1][:40])  # its head is right
    shards.tar("0.tar", members)
    batches = take(stream(shards.folder, batch_size=2, accumulate=4, max_bad_share=0.5), 12)
    for first in range(0, 12, 4):
        found = keys(batches[first : first + 4])
        assert len(found) == len(set(found)) == 8


def test_lines_count_what_is_contrasted_together(shards: Any, stream: Stream) -> None:
    shards.good(6, 9, 4, 7, 5)
    lines: list[str] = []
    data = stream(shards.folder, batch_size=2, accumulate=2, lines=lines)
    take(data, 15)
    assert lines == ["data: epoch 0 ends after 28 samples in 7 batches, 3 left over"]
    data = stream(shards.folder, batch_size=2, accumulate=2)
    assert data.check() == ("data: 31 samples in 5 shards; an epoch is 7 batches of 4",)
    assert data.batches_per_epoch == 14  # of data.batch_size
    with pytest.raises(UserError) as error:
        stream(shards.folder, batch_size=2, accumulate=2, grad=10).check()
    assert str(error.value) == (
        "data: 31 samples are fewer than one global batch of 40 (data.batch_size=2 x 1 ranks x accumulate=2 x "
        "accumulate_grad_batches=10); take data.batch_size=1 or less, or take more data"
    )


def test_shards_leave_a_cache_that_holds_less_than_an_epoch(
    store: tuple[str, Faults], shards: Any, stream: Stream
) -> None:
    """Ten shards in turn through room for about five, twice; nothing is lost."""
    sizes = [path.stat().st_size for path in shards.folder.glob("*.tar")]
    data = stream(store[0], window_shards=1, cache_gb=3.2 * max(sizes) / 1e9)
    batches = take(data, 14)
    assert [len(set(keys(part))) for part in (batches[:7], batches[7:])] == [28, 28]
    assert sum(store[1].requests[f"{n}.tar"] for n in range(5)) > 5  # some came twice
    assert sum(batch["copies"] + batch["due"] for batch in batches) == 0
    assert data.set.settings.shard_cache().used() <= 3.2 * max(sizes)  # type: ignore[attr-defined]


def test_a_cache_that_no_window_fits_into(store: tuple[str, Faults], stream: Stream) -> None:
    with pytest.raises(UserError) as error:
        take(stream(store[0], cache_gb=2e-6), 1)
    line = str(error.value)
    assert line.startswith("data.cache_gb=2e-06 is too small for the shards in use: http://127.0.0.1:")
    assert line.endswith("; raise it, or take a smaller data.window_shards")


@pytest.mark.parametrize("kind", ["slow", "500", "cut", "long", "short", "loop"])
def test_a_fault_that_passes_costs_nothing(store: tuple[str, Faults], stream: Stream, kind: str) -> None:
    # a slow one costs the time-out, which has to leave the others time to answer
    shards, timeout_s = ((0, 3), 2.0) if kind == "slow" else (range(5), 30.0)
    store[1].kinds.update({f"{n}.tar": kind for n in shards})
    store[1].times = 1
    batches = take(stream(store[0], timeout_s=timeout_s, cache=kind), 7)
    assert len(set(keys(batches))) == 28


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("slow", "cannot be fetched: TimeoutError no data for 1 s; given up after 2 attempts"),
        ("500", "cannot be fetched: ClientResponseError (HTTP 500); given up after 2 attempts"),
        ("cut", "cannot be fetched: ClientPayloadError"),
        ("long", "cannot be fetched: ClientPayloadError"),
        ("short", "cannot be fetched: is cut at byte"),
        ("loop", "cannot be fetched: TooManyRedirects; given up after 2 attempts"),
    ],
)
def test_a_fault_that_stays_stops_with_the_shards_name(
    store: tuple[str, Faults], stream: Stream, kind: str, reason: str
) -> None:
    store[1].kinds["1.tar"] = kind
    data = stream(store[0], timeout_s=1.0 if kind == "slow" else 30.0, window_shards=1)
    address = store[0].partition("{")[0]
    with pytest.raises((RunError, UserError)) as error:
        take(data, 7)
    assert str(error.value).startswith(f"data.shards: {address}1.tar {reason}")
    assert str(error.value).endswith("; repair it, or leave it out")
    assert "\n" not in str(error.value)


def test_what_fails_later_is_an_error_of_the_run(store: tuple[str, Faults], stream: Stream) -> None:
    data = stream(store[0], window_shards=1)
    order = [int(data.set.plan.shards(0, window)[0]) for window in range(5)]  # type: ignore[attr-defined]
    store[1].kinds[f"{order[3]}.tar"] = "500"
    seen: list[str] = []
    with pytest.raises(RunError, match=f"/{order[3]}.tar cannot be fetched"):
        seen.extend(key for batch in data.loader() for key in batch["keys"])
    assert {key.split("-")[0] for key in seen} <= {str(n) for n in order[:3]}
    assert len(seen) >= 8
    assert len(set(seen)) == len(seen)


def test_bad_samples_are_replaced_and_counted(shards: Any, stream: Stream) -> None:
    for n in range(4):
        members = shards.members(10, f"{n}-")
        members[0] = (members[0][0], members[0][1][:40])  # its head is right
        shards.tar(f"{n}.tar", [*members, (f"{n}-x.png", shards.image())])
    lines: list[str] = []
    data = stream(shards.folder, lines=lines, max_bad_share=0.5)
    loader = data.loader()
    batches = [batch for batch, _ in zip(loader, range(11), strict=False)]
    assert sum(batch["due"] for batch in batches[:10]) == 4
    assert sum(batch["stand_ins"] for batch in batches[:10]) == 4
    assert all(len(batch["keys"]) == len(set(batch["keys"])) == 4 for batch in batches)
    assert lines[0].startswith("data: epoch 0 ends after 40 samples in 10 batches, 0 left over, 4 left out: 4 no capt")
    assert loader.tally.left_out.total >= 4
    with pytest.raises(RunError, match=r"of the samples are bad, data.max_bad_share=0.05 allows 5%"):
        take(stream(shards.folder, max_bad_share=0.05), 3)


def test_held_out_keys_are_never_trained_on(store: tuple[str, Faults], stream: Stream) -> None:
    lines: list[str] = []
    data = stream(store[0], held_out=100, held_out_fraction=0.3, lines=lines)
    held = {sample.key for sample in data.held_out.samples}
    assert lines == [f"data: {len(held)} samples are held out, data.held_out=100 are not in these shards"]
    assert held == {key for key in every(6, 9, 4, 7, 5) if key_hash(key) <= 0.3 * 2**64}  # of all five shards
    assert 3 < len(held) < 20
    sample = data.held_out.samples[0]
    with open(sample.path, "rb") as file:
        file.seek(sample.at)
        assert file.read(sample.size or 0)[:4] == b"\x89PNG"
    assert sample.captions == (f"image number {int(sample.key.split('-')[1])}",)
    assert data.held_out_limit == f"{round(0.3 * 2**64):016x}"
    trained = set(keys(take(data, 15)))
    assert not trained & held
    few = stream(store[0], held_out=2, held_out_fraction=0.3)
    assert len(few.held_out) == 2
    assert not set(keys(take(few, 15))) & held
    assert few.fingerprint == data.fingerprint != stream(store[0]).fingerprint
    requests = Counter(store[1].requests)
    again = stream(store[0], held_out=2, held_out_fraction=0.3)
    assert again.held_out == few.held_out
    assert requests == store[1].requests  # kept


def test_held_out_samples_by_default(store: tuple[str, Faults], stream: Stream) -> None:
    """1,000, or as many as the shards hold."""
    lines: list[str] = []
    data = stream(store[0], held_out=None, held_out_fraction=0.5, lines=lines)
    typed = stream(store[0], held_out=1000, held_out_fraction=0.5)
    assert (data.held_out_count, typed.held_out_count) == (1000, 1000)
    assert data.held_out == typed.held_out  # a resumed run finds those of its beginning: it has the number
    assert data.fingerprint == typed.fingerprint
    held = {sample.key for sample in data.held_out.samples}
    assert lines == [
        f"data: {len(held)} samples are held out, data.held_out=1,000, the default, are not in these shards"
    ]
    assert not set(keys(take(data, 10))) & held
    none = stream(store[0], held_out=0)
    assert (none.held_out_count, none.held_out_limit, len(none.held_out)) == (0, None, 0)
    with pytest.raises(UserError) as error:
        print(stream(store[0], held_out=None, held_out_fraction=0.2).held_out)
    few = len(stream(store[0], held_out=31, held_out_fraction=0.2).held_out)
    assert 0 < few < 10
    assert error.value.lines == (
        f"data.held_out_fraction: 0.2 of the keys are {few} samples, too few to evaluate on; raise it, type "
        "data.held_out=…, or leave out the benchmarks on them: callbacks=[tid2013_remade]",
    )


def test_hashes_that_an_older_index_lacks_are_made(store: tuple[str, Faults], stream: Stream, tmp_path: Path) -> None:
    with_hashes = stream(store[0], held_out=5, held_out_fraction=0.5).held_out.samples
    indexes = sorted((tmp_path / "cache").rglob("*.npz"))
    assert indexes
    for path in indexes:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files if name != "key_hashes"}
        with path.open("wb") as written:
            np.savez(written, **arrays)
    again = stream(store[0], held_out=6, held_out_fraction=0.5).held_out.samples
    assert {sample.key for sample in with_hashes} < {sample.key for sample in again}


def test_counts_of_sizes_json_and_of_img2dataset(shards: Any, stream: Stream) -> None:
    shards.good(6, 9)
    (shards.folder / "sizes.json").write_text('{"0.tar": 6}')
    assert stream(shards.folder).check()[-1].startswith("data: 2 shards, about 12 samples (as in 1)")
    (shards.folder / "1_stats.json").write_text('{"successes": 9, "duration": 1.5}')
    with http_store(shards.folder) as (address, _):
        for where in (shards.folder, f"{address}/{{0,1}}.tar"):
            data = stream(where)
            assert data.check() == ("data: 15 samples in 2 shards; an epoch is 3 batches of 4",)
    with pytest.raises(UserError, match="15 samples are fewer than one global batch of 16"):
        stream(shards.folder, ranks=4).check()


def test_shards_that_lack_samples_are_named(shards: Any, stream: Stream) -> None:
    cut, whole = shards.good(6, 9)
    cut.write_bytes(cut.read_bytes()[:-11_000])
    (shards.folder / "sizes.json").write_text('{"0.tar": 6, "1.tar": 10}')
    lines: list[str] = []
    batches = take(stream(shards.folder, lines=lines, batch_size=2), 12)
    left = int(lines[0].split("its ")[1].split()[0])
    assert set(lines[:3]) == {
        f"data.shards: {cut} is cut at byte {cut.stat().st_size:,}: its {left} whole samples are used",
        f"data.shards: {cut} holds {left} samples, and 6 were expected",
        f"data.shards: {whole} holds 9 samples, and 10 were expected",
    }
    epoch = [batch for batch in batches if batch["keys"]][: (9 + left) // 2]
    assert len(set(keys(epoch))) == (9 + left) // 2 * 2


def test_a_signal_ends_the_wait_for_a_shard(store: tuple[str, Faults], stream: Stream) -> None:
    data = stream(store[0], timeout_s=600.0, window_shards=1)
    order = [int(data.set.plan.shards(0, window)[0]) for window in range(5)]  # type: ignore[attr-defined]
    store[1].kinds[f"{order[2]}.tar"] = "slow"
    loader = data.loader()
    began, stopping = time.monotonic(), list[bool]()
    loader.interrupt_when(lambda: bool(stopping))
    threading.Timer(2.0, lambda: stopping.append(True)).start()
    with pytest.raises(RunError, match="a signal came while the run waited for shards"):
        list(loader)
    assert time.monotonic() - began < 200


def test_resampled_epochs(shards: Any, stream: Stream) -> None:
    shards.good(6, 9, 4, 7, 5)
    data = stream(shards.folder, resampled=True, epoch_samples=10)
    assert data.batches_per_epoch == 2
    batches = take(data, 9)
    assert [batch["cursor"][0] for batch in batches] == [0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert all(len(set(batch["keys"])) == 4 for batch in batches)


def test_captions_for_a_vocabulary(store: tuple[str, Faults], stream: Stream) -> None:
    data = stream(store[0], window_shards=5)
    assert len(list(data.captions())) == 31
    assert len(list(data.captions(7))) == 7
    assert set(data.captions(7)) <= {f"image number {n}" for n in range(9)}


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        ("http://127.0.0.1:1/*.tar", "HTTP lists no files; name the shards with braces, like x-{000..003}.tar"),
        ("http://127.0.0.1:1/{a.tar", "write {000..003} or {a,b}"),
        ("/nowhere/{0..1}.tar", "no such shard: /nowhere/0.tar"),
    ],
)
def test_patterns_that_name_nothing(stream: Stream, pattern: str, line: str) -> None:
    with pytest.raises(UserError) as error:
        stream(pattern).check()
    assert line in str(error.value)
    assert len(error.value.lines) == 1
