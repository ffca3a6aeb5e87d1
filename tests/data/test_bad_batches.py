# SPDX-License-Identifier: Apache-2.0
"""Batches with bad samples: what counts as one, what replaces it, and when the run ends."""

from __future__ import annotations

import random
import string
import time
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch

from clip_align.data import loader
from clip_align.data.decode import decode
from clip_align.data.loader import Batch
from clip_align.data.samples import TarSamples
from clip_align.data.training_data import TrainingData
from clip_align.errors import RunError
from tests.data.stream import Make, same, take


def take_task(data: TrainingData) -> Batch:
    """The first batch as a worker hands it over."""
    loader = data.loader()
    batch: Batch = loader.dataset[next(iter(loader.sampler))]
    return batch


def cut(members: list[tuple[str, bytes]], *numbers: int) -> list[tuple[str, bytes]]:
    """The members with cut images, which show themselves when they are decoded."""
    for number in numbers:
        name, data = members[3 * number]
        members[3 * number] = (name, data[:80])
    return members


def test_a_bad_image_is_replaced_counted_and_named(shards: Any, make: Make) -> None:
    shards.tar("0.tar", cut(shards.members(9), 4))
    data = make(shards.folder, max_bad_share=0.2)
    batches = take(data, 2 * data.batches_per_epoch)
    for batch in batches:
        assert len(set(batch["keys"])) == len(batch["image"]) == len(batch["text"]) == 4
        assert "k00004" not in batch["keys"]
    skipped = [entry for batch in batches for entry in batch["skipped"]]
    assert set(skipped) == {("damaged image", "k00004")}
    assert same(take(make(shards.folder, max_bad_share=0.2, workers=2), 4), batches)


def test_a_replacement_from_the_remainder_repeats_nothing(shards: Any, make: Make) -> None:
    shards.tar("0.tar", cut(shards.members(7), 0))
    data = make(shards.folder, max_bad_share=0.5)  # one batch of 4 an epoch and three spares
    for batch in take(data, 6):
        assert len(set(batch["keys"])) == 4
        assert "k00000" not in batch["keys"]
        assert batch["stand_ins"] == batch["copies"] == 0


@pytest.mark.parametrize("ranks", [1, 2])
def test_no_batch_over_all_ranks_holds_a_sample_twice(shards: Any, make: Make, ranks: int) -> None:
    """A copy would be its own false negative. A tenth of the samples is bad, nothing is left over."""
    shards.tar("0.tar", cut(shards.members(48), 3, 8, 20, 31, 47))
    how = {"batch_size": 12 // ranks, "max_bad_share": 0.3, "ranks": ranks}
    parts = [take(make(shards.folder, rank=r, **how), 12) for r in range(ranks)]
    assert [len(part) for part in parts] == [12] * ranks
    stand_ins = 0
    for together in zip(*parts, strict=True):
        keys = [key for batch in together for key in batch["keys"]]
        assert len(keys) == len(set(keys)) == 12
        assert all(batch["copies"] == 0 for batch in together)
        stand_ins += sum(batch["stand_ins"] for batch in together)
    assert stand_ins == 3 * 5  # each bad sample is due once an epoch
    resumed = take(make(shards.folder, rank=0, **how), 5, parts[0][6]["cursor"])
    assert same(resumed, parts[0][7:])
    assert same(take(make(shards.folder, rank=0, workers=2, **how), 12), parts[0])


def test_replacements_are_counted_but_not_as_bad(shards: Any, make: Make) -> None:
    shards.tar("0.tar", cut(shards.members(48), 3, 8, 20, 31, 47))
    loader = make(shards.folder, batch_size=12, max_bad_share=0.3).loader()
    list(islice(loader, 40))
    assert loader.tally.fraction == pytest.approx(5 / 48)  # bad ones tried as replacements were not due
    assert loader.tally.stand_ins == 50
    assert loader.tally.copies == 0


def test_in_an_epoch_of_one_batch_a_copy_is_counted(shards: Any, make: Make) -> None:
    shards.tar("0.tar", cut(shards.members(4), 1))
    loader = make(shards.folder, max_bad_share=0.5).loader()
    (batch,) = islice(loader, 1)
    assert sorted(set(batch["keys"])) == ["k00000", "k00002", "k00003"]
    assert len(batch["keys"]) == 4
    assert (batch["stand_ins"], batch["copies"], loader.tally.copies) == (0, 1, 1)
    (place,) = batch["repeated"]  # which the loss leaves out
    assert batch["keys"].count(batch["keys"][place]) == 2


class Explosive:
    """A tokenizer that one caption is too much for; picklable."""

    def __call__(self, texts: list[str]) -> torch.Tensor:
        if any("number 5" in text for text in texts):
            raise KeyError("number 5")
        return torch.tensor([[len(text), int(text.split()[-1])] for text in texts])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_caption_that_the_tokenizer_fails_on_is_a_bad_sample(shards: Any, make: Make, workers: int) -> None:
    shards.good(12)
    data = make(shards.folder, max_bad_share=0.2, workers=workers)
    data.tokenizer = Explosive()
    batches = take(data, 6)
    assert {entry for batch in batches for entry in batch["skipped"]} == {("tokenizer error (KeyError)", "0-00005")}
    for batch in batches:
        assert [int(key[2:]) for key in batch["keys"]] == batch["text"][:, 1].tolist()


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_whatever_a_sample_raises_is_counted_and_named(
    shards: Any, make: Make, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers are forked, so that they have what is broken here."""
    shards.good(12)
    data = make(shards.folder, max_bad_share=0.2, workers=workers)
    read = TarSamples.captions

    def captions(self: TarSamples, number: int) -> list[str]:
        return read(self, number) if number != 7 else [][number]

    monkeypatch.setattr(TarSamples, "captions", captions)
    batches = take(data, 6, start_method="fork")
    assert {entry for batch in batches for entry in batch["skipped"]} == {("error (IndexError)", "0-00007")}


@pytest.mark.parametrize("crop", [(0.5, 1.0), (1.0, 1.0)])
@pytest.mark.parametrize("memory_mb", [0, 64])
def test_an_image_that_cannot_be_cropped_is_a_bad_sample(
    shards: Any, make: Make, crop: tuple[float, float], memory_mb: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards.good(12)
    data = make(shards.folder, max_bad_share=0.2, crop_scale=crop, memory_mb=memory_mb)
    read = TarSamples.image
    monkeypatch.setattr(TarSamples, "image", lambda self, n: read(self, n) if n != 7 else None)
    empty = torch.empty(3, 0, 9, dtype=torch.uint8)
    monkeypatch.setattr(loader, "decode", lambda raw, *limits: empty if raw is None else decode(raw, *limits))
    batches = take(data, 6)
    assert {entry for batch in batches for entry in batch["skipped"]} == {("error (RuntimeError)", "0-00007")}
    assert not [batch for batch in batches if "0-00007" in batch["keys"]]


def test_numeric_entities_and_long_words_in_open_clips_tokenizer(shards: Any, make: Make) -> None:
    """Thousands of digits raise ValueError in it; a long word takes it time that grows with the square."""
    open_clip = pytest.importorskip("open_clip")
    digits = b"&#" + b"9" * 5000 + b";"
    letters = "".join(random.Random(0).choices(string.ascii_lowercase, k=100_000)).encode()
    odd = [("x.png", shards.image()), ("x.txt", digits), ("y.png", shards.image()), ("y.txt", letters)]
    shards.tar("0.tar", [*shards.members(8), *odd])
    data = make(shards.folder, batch_size=10, max_bad_share=0.2, max_caption_chars=6000)
    data.tokenizer = open_clip.get_tokenizer("ViT-B-32")
    data.data = replace(data.data, max_caption_chars=6000)
    (batch,) = take(data, 1)
    assert batch["skipped"] == [("tokenizer error (ValueError)", "x")]
    data.data = replace(data.data, max_caption_chars=2000)
    began = time.monotonic()
    (batch,) = take(data, 1)
    assert time.monotonic() - began < 60  # all of it takes a quarter of an hour
    assert batch["skipped"] in ([], [("tokenizer error (ValueError)", "x")])  # as the digits that are left are read


def test_captions_are_cut_before_they_are_tokenized(shards: Any, make: Make) -> None:
    shards.tar("0.tar", [(f"{n}.{e}", d) for n in range(4) for e, d in (("png", shards.image()), ("txt", b"ab " * 99))])
    (batch,) = take(make(shards.folder, max_caption_chars=16), 1)
    assert batch["text"][:, 0].tolist() == [16] * 4
    assert set(make(shards.folder, max_caption_chars=16).captions()) == {"ab ab ab ab ab a"}


def test_files_and_images_that_are_too_large_are_counted(shards: Any, make: Make) -> None:
    members = [*shards.members(10), *shards.sample(77, size=(700, 700)), *shards.sample(78, size=(120, 90))]
    shards.tar("0.tar", members)
    keys = {"max_image_mb": 1, "max_megapixels": 0.01, "batch_size": 12, "max_bad_share": 0.5}
    (batch,) = take(make(shards.folder, **keys), 1)
    assert sorted(batch["skipped"]) == [("too large", "k00077"), ("too large", "k00078")]
    assert len(shards.image(77, size=(700, 700))) > 2**20
    assert take(make(shards.folder, batch_size=12), 1)[0]["skipped"] == []


def test_names_from_the_data_are_shown_not_obeyed(shards: Any, make: Make) -> None:
    name = "x\x1b[2J\u202e"
    shards.tar("a\x1b[1m.tar", [*shards.members(8), (f"{name}.png", shards.image()), (f"{name}.txt", b"\xff")])
    shards.tar("b.tar", [(f"{name}.png", shards.image()[:80]), (f"{name}.txt", b"words")])
    (shards.folder / "a\x1b[1m_stats.json").write_text("{}")
    data = make(shards.folder, batch_size=9, max_bad_share=0.5)
    lines = data.check()
    assert not any(set(line) & {"\x1b", "\u202e"} for line in lines)
    assert any(r"1 bad text (first: x\x1b[2J\u202e)" in line for line in lines)
    assert any(r"a\x1b[1m_stats.json" in line for line in lines)
    assert take(data, 1)[0]["skipped"] == [("damaged image", r"x\x1b[2J\u202e")]


def test_too_many_bad_images_end_the_run(shards: Any, make: Make) -> None:
    members = shards.members(20)
    for number in (2, 9, 13):
        members[3 * number] = (members[3 * number][0], members[3 * number][1][:80])
    shards.tar("0.tar", members)
    data = make(shards.folder)
    data.check()  # nobody knows before the images are decoded
    with pytest.raises(
        RunError, match=r"^data: 15.0% of the samples are bad, .* 3 damaged image \(first: k000"
    ) as error:
        take(data, 6)
    assert "\n" not in str(error.value)


def test_a_batch_without_one_good_sample_ends_the_run(shards: Any, make: Make) -> None:
    members = [(name, data[:80] if name.endswith("png") else data) for name, data in shards.members(4)]
    shards.tar("0.tar", members)
    for workers in (0, 1):
        with pytest.raises(RunError) as error:
            take(make(shards.folder, max_bad_share=1.0, workers=workers), 1)
        first = take_task(make(shards.folder))["skipped"][0][1]
        assert str(error.value) == (
            f"data: not one good sample in a whole batch (first: damaged image, {first}); repair the shards"
        )


def test_a_shard_that_is_cut_or_removed_during_training(shards: Any, make: Make) -> None:
    first, second = shards.good(12, 4)
    data = make(shards.folder, max_bad_share=1.0, batch_size=8)
    assert data.samples == 16
    second.unlink()
    first.write_bytes(first.read_bytes()[:-11_000])
    skipped = {entry for batch in take(data, 2) for entry in batch["skipped"]}
    causes = [cause for cause, _ in skipped]
    assert causes.count("unreadable file") == 4
    assert 0 < causes.count("damaged image") < 4
