# SPDX-License-Identifier: Apache-2.0
"""The next batch is read while the present one is encoded."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stubs import Pairs

from clip_align.errors import RunError
from clip_align.evaluation import encode
from clip_align.evaluation.inputs import CachedImages, ReadImages, input_images, read_images
from clip_align.evaluation.read_ahead import read_ahead
from clip_align.testing.stubs import StubModel, evaluated_model, evaluator

WAIT = 120  # s, for what another thread is about to do


class Value:
    """A value that can be watched."""

    def __init__(self, number: int) -> None:
        self.number = number


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_values_come_in_order_and_no_thread_is_left(count: int) -> None:
    assert list(read_ahead(lambda n: n * n, range(count))) == [n * n for n in range(count)]
    assert not threads()


def test_the_next_value_is_read_while_one_is_used_and_no_third() -> None:
    begun = [threading.Event() for _ in range(4)]
    alive: weakref.WeakSet[Value] = weakref.WeakSet()

    def read(number: int) -> Value:
        begun[number].set()
        value = Value(number)
        alive.add(value)
        return value

    with closing(read_ahead(read, range(4))) as values:
        for number in range(3):
            value = next(values)
            assert begun[number + 1].wait(WAIT)
            assert value.number == number
            assert [event.is_set() for event in begun] == [True] * (number + 2) + [False] * (2 - number)
            assert len(alive) <= 2
            del value
    assert not threads()


def test_an_error_is_raised_where_its_value_is_due() -> None:
    def read(number: int) -> int:
        if number == 2:
            raise OSError(f"cannot read {number}")
        return number

    values = read_ahead(read, range(9))
    assert [next(values), next(values)] == [0, 1]
    with pytest.raises(OSError, match="cannot read 2"):
        next(values)
    assert not threads()


class Watching(StubModel):
    """Waits, in its forward pass, until the batch after this one is being read."""

    def __init__(self, begun: Sequence[threading.Event], last: int) -> None:
        super().__init__()
        self.begun, self.last, self.passes = begun, last, 0

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        self.passes += 1
        if self.passes <= self.last:
            assert self.begun[self.passes].wait(WAIT), "the next batch is not read during the forward pass"
        return super().encode_image(images)


def test_an_event_reads_a_batch_ahead_and_gives_the_same_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, record = evaluator([Pairs()], evaluated_model(), tmp_path, batch_size=6)
    plain.evaluate(0, ["human/pairs"], contextlib.nullcontext)
    expected = record.scores()
    begun = [threading.Event() for _ in range(64)]
    reads: list[np.ndarray] = []

    def read(sources: Sequence[CachedImages], rows: Any, *rest: Any) -> ReadImages:
        begun[len(reads)].set()
        reads.append(rows)
        return read_images(sources, rows, *rest)

    monkeypatch.setattr(encode, "read_images", read)
    rows = len(plain.passes(["human/pairs"])[0].union.request.rows)
    batches = -(-rows // 6)
    assert batches > 2
    model = Watching(begun, batches - 1)
    made, record = evaluator([Pairs()], evaluated_model(model), tmp_path, batch_size=6)
    made.evaluate(0, ["human/pairs"], contextlib.nullcontext)
    assert len(reads) == model.passes == batches
    assert record.scores() == expected
    assert not threads()


def test_an_error_of_the_reader_is_that_of_the_encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []

    def read(*arguments: Any) -> ReadImages:
        reads.append(len(reads))
        if len(reads) == 3:
            raise OSError("the disk is gone")
        return read_images(*arguments)

    monkeypatch.setattr(encode, "read_images", read)
    made, _ = evaluator([Pairs()], evaluated_model(), tmp_path, batch_size=6)
    with pytest.raises(RunError, match=r"^encoding: OSError: the disk is gone$"):
        made.evaluate(0, ["human/pairs"], contextlib.nullcontext)
    assert len(reads) == 3
    assert not threads()


@pytest.mark.parametrize("after", [0, 2])
def test_an_interruption_leaves_no_thread(tmp_path: Path, after: int) -> None:
    made, _ = evaluator([Pairs()], evaluated_model(), tmp_path, batch_size=6)
    one = made.passes(["human/pairs"])[0]
    asked: list[int] = []

    def interrupted() -> bool:
        asked.append(len(asked))
        return len(asked) > after

    with torch.no_grad():
        found = encode.encode(
            one.evaluated_model, one.union.request, 6, made.ranks, contextlib.nullcontext, interrupted
        )
    assert found is None
    assert len(asked) == after + 1
    assert not threads()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gets_the_same_images_on_a_stream_of_its_own() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    generator = np.random.default_rng(0)
    sources = [CachedImages(generator.integers(0, 256, (64, 1, 32, 32, 3), np.uint8), "native")]
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    batches = [np.column_stack((np.zeros(16, np.int64), np.arange(16) + 16 * n)) for n in range(4)]
    with closing(read_ahead(lambda n: read_images(sources, batches[n], stream), range(4))) as values:
        for rows, read in zip(batches, values, strict=True):
            torch.randn(2048, 2048, device=device).matmul(torch.randn(2048, 2048, device=device))  # keeps it busy
            found = input_images(sources, read, 32, device).cpu().numpy()
            np.testing.assert_array_equal(found, sources[0].images[rows[:, 1], 0])
