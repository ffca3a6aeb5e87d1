# SPDX-License-Identifier: Apache-2.0
"""Samples that are never trained on: the same on every rank, in every order, and absent from every epoch."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from clip_align.config import Config, Source
from clip_align.config_plain import from_plain, to_plain
from clip_align.data.bad_samples import Causes
from clip_align.data.indexed.held_out import (
    TrainedSamples,
    held_out_by_default,
    held_out_limit,
    held_out_numbers,
    held_out_samples,
    without,
)
from clip_align.data.indexed.inventory import in_folder
from clip_align.data.samples import FolderSamples
from clip_align.data.sources.webdataset import ShardData
from clip_align.data.training_data import TrainingData
from clip_align.errors import UserError
from clip_align.testing.random_images import random_image


def folder(names: list[str]) -> FolderSamples:
    return FolderSamples("/a", names, [f"caption of {name}" for name in names], [1] * len(names))


def numbers_of(samples: FolderSamples, count: int) -> NDArray[np.int64]:
    return held_out_numbers(in_folder(samples, Causes()), count)


def kept(samples: TrainedSamples) -> list[str]:
    return [samples.key(number) for number in range(len(samples))]


def test_keys_alone_decide() -> None:
    names = [f"{n}.jpg" for n in range(200)]
    chosen = {names[n] for n in numbers_of(folder(names), 20)}
    assert len(chosen) == 20
    shuffled = np.random.default_rng(0).permutation(names).tolist()
    assert {shuffled[n] for n in numbers_of(folder(shuffled), 20)} == chosen
    assert {names[n] for n in numbers_of(folder(names), 19)} < chosen
    more = names + [f"{n}.jpg" for n in range(200, 300)]
    # with more data, those that stay are the smallest hashes of all
    assert {more[n] for n in numbers_of(folder(more), 20)} & set(names) <= chosen


def test_samples_of_one_key_are_held_out_together() -> None:
    names = [f"{n % 50}.jpg" for n in range(200)]  # four captions an image, a row each
    numbers = numbers_of(folder(names), 5)
    assert len(numbers) == 20
    rest, left_out = without(in_folder(folder(names), Causes()), 5)
    assert left_out.tolist() == numbers.tolist()
    assert not {names[n] for n in numbers} & set(kept(rest.samples))  # type: ignore[arg-type]


def test_the_rest_is_all_others_in_order_and_in_their_blocks() -> None:
    class Blocks(FolderSamples):
        pass

    for seed in range(20):
        rng = np.random.default_rng(seed)
        samples = folder([f"{n}" for n in range(60)])
        samples.blocks = [7, 0, 23, 30]
        left_out = np.sort(rng.choice(60, rng.integers(0, 31), replace=False))
        rest = TrainedSamples(samples, left_out)
        expected = [n for n in range(60) if n not in left_out]
        assert [rest.whole_number(n) for n in range(len(rest))] == expected
        assert sum(rest.blocks) == len(rest) == len(expected)
        ends = np.cumsum([7, 0, 23, 30])
        assert np.cumsum(rest.blocks).tolist() == [sum(n < end for n in expected) for end in ends]
        assert rest.captions(3) == [f"caption of {expected[3]}"]
        assert kept(pickle.loads(pickle.dumps(rest))) == kept(rest)


def on_disk(tmp_path: Path, names: list[str], repeats: int = 1) -> FolderSamples:
    """Images of 8 px, each in so many rows of the csv."""
    for name in names:
        Image.fromarray(random_image(name, 8, 8)).save(tmp_path / name)
    rows = [name for name in names for _ in range(repeats)]
    return FolderSamples(
        str(tmp_path), rows, [f"caption {n} of {name}" for n, name in enumerate(rows)], [1] * len(rows)
    )


def test_an_image_with_several_captions_is_held_out_once(tmp_path: Path) -> None:
    samples = on_disk(tmp_path, [f"{n}.png" for n in range(9)], repeats=4)
    numbers = numbers_of(samples, 3)
    assert len(numbers) == 12
    found = held_out_samples(samples, numbers.tolist(), 9, 100)
    assert len(found) == len({sample.key for sample in found.samples}) == 3
    assert all(sample.captions in {(f"caption {n}"[:9],) for n in range(36)} for sample in found.samples)


def test_bad_images_are_neither_shown_nor_trained_on(tmp_path: Path) -> None:
    samples = on_disk(tmp_path, [f"{n}.png" for n in range(12)])
    numbers = numbers_of(samples, 6).tolist()
    damaged, absent, large, *good = (samples.key(number) for number in numbers)
    (tmp_path / damaged).write_bytes((tmp_path / damaged).read_bytes()[:90])
    (tmp_path / absent).unlink()
    Image.fromarray(random_image("large", 20, 20)).save(tmp_path / large)
    found = held_out_samples(samples, numbers, 100, 8 * 8)
    assert {sample.key for sample in found.samples} == set(good)
    assert str(found.bad) == (
        f"1 damaged image (first: {damaged}), 1 unreadable file (first: {absent}), 1 too large (first: {large})"
    )
    rest, _ = without(in_folder(samples, Causes()), 6)
    assert not {damaged, absent, large} & set(kept(rest.samples))  # type: ignore[arg-type]


def test_the_limit_says_whether_others_are_held_out() -> None:
    samples = folder([f"{n}.jpg" for n in range(200)])

    def limit(given: FolderSamples, count: int) -> str:
        found = held_out_limit(given, numbers_of(given, count).tolist())
        assert found is not None
        return found

    assert held_out_limit(samples, []) is None
    assert limit(samples, 19) < limit(samples, 20)
    more = folder([f"{n}.jpg" for n in range(300)])
    assert limit(more, 20) <= limit(samples, 20)  # those of before, but for those that new ones replace
    fewer = folder([samples.key(n) for n in range(200) if n not in numbers_of(samples, 10)])
    assert limit(fewer, 20) > limit(samples, 20)  # ten that were trained on


def test_none_held_out_is_the_same_inventory() -> None:
    whole = in_folder(folder(["a", "b"]), Causes())
    found, numbers = without(whole, 0)
    assert found is whole
    assert not len(numbers)


def test_at_most_half_is_held_out() -> None:
    whole = in_folder(folder([str(n) for n in range(9)]), Causes())
    with pytest.raises(UserError) as caught:
        without(whole, 5)
    assert caught.value.lines == (
        "data.held_out: the 5 keys asked for are those of 5 of 9 samples; at most half of them can be held out: give "
        "data.held_out=4 or less",
    )
    repeated = in_folder(folder([str(n % 10) for n in range(40)]), Causes())
    with pytest.raises(UserError, match=r"24 of 40 samples; .* give data.held_out=5 or less$"):
        without(repeated, 6)
    assert len(without(repeated, 5)[1]) == 20
    with pytest.raises(UserError) as caught:
        without(in_folder(folder(["a", "a", "a"]), Causes()), 1000)
    assert caught.value.lines == (
        "data.held_out: the 1,000 keys asked for are those of 3 of 3 samples; leave out the benchmarks on them",
    )
    found, _ = without(whole, 4)
    assert len(found.samples) == 5
    assert found.notes == ("data: 4 samples are held out (data.held_out=4), 5 are trained on",)
    assert found.fingerprint != whole.fingerprint


def of_rank(
    shards: Path, cache: Path, rank: int = 0, world: int = 1, held_out: int | None = 100, seed: int = 0
) -> TrainingData:
    data = ShardData(shards=(Source(str(shards / "0000{0,1}.tar")),), batch_size=50, held_out=held_out, workers=0)
    return TrainingData(data, 32, lambda texts: torch.zeros(len(texts), 4, dtype=torch.int64), seed, rank, world, cache)


def test_real_shards_never_train_on_what_is_held_out(shared_data: Path, tmp_path: Path) -> None:
    shards = shared_data / "cifar10" / "train"
    data = of_rank(shards, tmp_path)
    held = {sample.key for sample in data.held_out.samples}
    assert len(held) == 100
    assert data.samples == 1900
    trained: set[str] = set()
    for rank in range(3):
        mine = of_rank(shards, tmp_path, rank, 3)
        assert {sample.key for sample in mine.held_out.samples} == held
        loader = mine.loader()
        for _, batch in zip(range(2 * mine.batches_per_epoch), loader, strict=False):  # two epochs
            trained |= set(batch["keys"])
    assert not trained & held
    assert len(trained) > 1850  # all but the remainder of each epoch, less than a global batch
    assert {sample.key for sample in of_rank(shards, tmp_path, seed=7).held_out.samples} == held
    first = data.held_out.samples[0]
    image = Path(first.path).read_bytes()[first.at : first.at + (first.size or 0)]
    assert image.startswith(b"\xff\xd8\xff")
    assert all(sample.captions for sample in data.held_out.samples)
    assert not set(data.captions()) - set(of_rank(shards, tmp_path, held_out=0).captions())


def test_with_none_held_out_batches_are_those_of_before(shared_data: Path, tmp_path: Path) -> None:
    data = of_rank(shared_data / "cifar10" / "train", tmp_path, held_out=0)
    assert not len(data.held_out)
    assert data.held_out_limit is None
    assert data.set.found is data.set.whole
    assert type(data.set.found.samples).__name__ == "TarSamples"  # training reads the same object as without the option


def test_a_stored_configuration_without_the_key_holds_none_out() -> None:
    plain = to_plain(Config(data=replace(ShardData(), shards=(Source("a"),), held_out=7)))
    assert from_plain(plain).data.held_out == 7
    del plain["data"]["held_out"]  # of a checkpoint from before there was such a key
    assert from_plain(plain).data.held_out == 0


@pytest.mark.parametrize(("keys", "repeats", "expected"), [(100, 1, 10), (999, 3, 99), (10_009, 1, 1_000)])
def test_by_default_a_tenth_of_the_keys_is_held_out_and_at_most_1000(keys: int, repeats: int, expected: int) -> None:
    found = in_folder(folder([f"{n % keys}" for n in range(keys * repeats)]), Causes())
    assert held_out_by_default(found) == expected
    rest, numbers = without(found, expected, by_default=True)
    assert len(numbers) == expected * repeats
    assert rest.notes == (
        f"data: {expected * repeats:,} samples are held out (data.held_out={expected}, by default), "
        f"{(keys - expected) * repeats:,} are trained on",
    )


def test_very_small_data_have_a_clear_line() -> None:
    with pytest.raises(UserError) as caught:
        held_out_by_default(in_folder(folder([str(n) for n in range(99)]), Causes()))
    assert caught.value.lines == (
        "data.held_out: of 99 samples 9 would be held out, too few to evaluate on; take at least 100, give a number, "
        "or leave out the benchmarks on them: callbacks=[tid2013_remade]",
    )


def test_the_default_is_the_same_on_all_ranks_and_as_if_typed(shared_data: Path, tmp_path: Path) -> None:
    shards = shared_data / "cifar10" / "train"
    ranks = [of_rank(shards, tmp_path, rank, 2, held_out=None) for rank in range(2)]
    typed = of_rank(shards, tmp_path, held_out=200)
    for data in ranks:
        assert data.held_out_count == 200  # of 2,000
        assert data.held_out.samples == typed.held_out.samples
        assert data.fingerprint == typed.fingerprint
    cached = tmp_path / "index"
    before = {path.name: path.read_bytes() for path in cached.glob("*.npz")}
    assert len(before) == 2
    for path in cached.glob("*.npz"):  # as an older release wrote them, without hashes
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files if name != "key_hashes"}
        np.savez(path, **arrays)
    assert of_rank(shards, tmp_path, held_out=200).held_out.samples == typed.held_out.samples
    assert {path.name: path.read_bytes() for path in cached.glob("*.npz")} == before  # made once, then kept
