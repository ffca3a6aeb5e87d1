# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import random
import string
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clip_align.config import Source
from clip_align.data import loader
from clip_align.data.decode import decode
from clip_align.data.loader import Batch
from clip_align.data.samples import TarSamples
from clip_align.data.sampling_plan import Cursor
from clip_align.data.sources.folder import FolderData
from clip_align.data.sources.world import WorldData
from clip_align.data.training_data import TrainingData
from clip_align.data.world.shards import World
from clip_align.errors import RunError, UserError
from tests.data.stream import Make, same, take


def take_task(data: TrainingData) -> Batch:
    """The first batch as a worker hands it over."""
    loader = data.loader()
    batch: Batch = loader.dataset[next(iter(loader.sampler))]
    return batch


def test_a_batch(shards: Any, make: Make) -> None:
    shards.good(6, 4)
    data = make(shards.folder)
    assert data.check() == ("data: 10 samples in 2 shards; an epoch is 2 batches of 4, 2 samples left over",)
    assert (data.samples, data.batches_per_epoch) == (10, 2)
    (batch,) = take(data, 1)
    assert batch["image"].dtype == torch.uint8
    assert batch["image"].shape == (4, 3, 8, 8)
    assert batch["text"].dtype == torch.int64
    assert batch["cursor"] == (0, 1)
    assert batch["skipped"] == []
    numbers = [int(key.split("-")[1]) for key in batch["keys"]]
    assert batch["text"][:, 2].tolist() == numbers  # image, caption and key belong together


def test_an_epoch_sees_nothing_twice_and_the_next_another_order(shards: Any, make: Make) -> None:
    shards.good(6, 3, 8)
    batches = take(make(shards.folder), 8)
    epochs = [[key for b in batches[start : start + 4] for key in b["keys"]] for start in (0, 4)]
    assert [len(set(keys)) for keys in epochs] == [16, 16]
    assert epochs[0] != epochs[1]
    assert [b["cursor"] for b in batches[:5]] == [(0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]


@pytest.mark.parametrize("crop", [(1.0, 1.0), (0.5, 1.0)])
def test_ranks_together_see_what_one_rank_sees(shards: Any, make: Make, crop: tuple[float, float]) -> None:
    """Augmentation included; and every rank has equally many batches although shards are few and uneven."""
    shards.good(7, 1, 9)
    one = take(make(shards.folder, batch_size=6, flip=True, crop_scale=crop), 4)
    for ranks in (2, 3):
        parts = [
            take(make(shards.folder, batch_size=6 // ranks, rank=r, ranks=ranks, flip=True, crop_scale=crop), 4)
            for r in range(ranks)
        ]
        for number, whole in enumerate(one):
            assert [k for part in parts for k in part[number]["keys"]] == whole["keys"]
            assert torch.equal(torch.cat([part[number]["image"] for part in parts]), whole["image"])


def test_any_position_can_be_gone_on_from(shards: Any, make: Make) -> None:
    shards.good(6, 7)
    data = make(shards.folder, flip=True, crop_scale=(0.5, 1.0))
    batches = take(data, 8)
    for number in (1, 3, 5):
        assert same(take(data, 8 - number, batches[number - 1]["cursor"]), batches[number:])


def test_memory_changes_nothing(shards: Any, make: Make) -> None:
    shards.good(6, 7)
    for crop in ((1.0, 1.0), (0.5, 1.0)):
        keys = {"flip": True, "crop_scale": crop}
        assert same(take(make(shards.folder, memory_mb=0, **keys), 9), take(make(shards.folder, **keys), 9))


def test_memory_is_bounded(shards: Any, make: Make) -> None:
    shards.good(12)
    loader = make(shards.folder).loader()
    batches: Any = loader.dataset
    batches._free = 3 * (192 + 24 + 1200)
    list(islice(loader, 9))
    assert len(batches._kept) == 3
    assert batches._free == 0


@pytest.mark.parametrize("how", [{"flip": True}, {"crop_scale": (0.3, 0.9)}], ids=["flips", "crops"])
def test_flips_and_crops_change_with_the_epoch_and_the_seed(shards: Any, make: Make, how: dict[str, Any]) -> None:
    shards.good(8)

    def images(seed: int, epoch: int) -> torch.Tensor:
        batch = take(make(shards.folder, batch_size=8, seed=seed, **how), epoch + 1)[epoch]
        return batch["image"][np.argsort(batch["keys"])]

    first = images(0, 0)
    assert torch.equal(first, images(0, 0))
    assert not torch.equal(first, images(0, 1))
    assert not torch.equal(first, images(1, 0))


def test_a_flip_mirrors_some_of_the_images(shards: Any, make: Make) -> None:
    shards.good(8)
    flipped, plain = (take(make(shards.folder, batch_size=8, flip=flip), 1)[0]["image"] for flip in (True, False))
    mirrored = (flipped != plain).flatten(1).any(dim=1)
    assert 0 < mirrored.sum() < 8
    assert torch.equal(flipped[mirrored], plain[mirrored].flip(-1))


def test_the_global_generators_are_left_alone(shards: Any, make: Make) -> None:
    shards.good(8)
    data = make(shards.folder, flip=True, crop_scale=(0.5, 1.0))
    before = (random.getstate(), str(np.random.get_state()), torch.get_rng_state())
    take(data, 3)
    after = (random.getstate(), str(np.random.get_state()), torch.get_rng_state())
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])


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
    monkeypatch.setattr(loader, "decode", lambda raw, most: empty if raw is None else decode(raw, most))
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
    assert time.monotonic() - began < 10  # all of it takes a quarter of an hour
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


def test_one_of_several_captions_is_drawn_by_seed_and_epoch(shards: Any, make: Make) -> None:
    several = json.dumps({"caption": [f"words {n}" for n in range(5)]}).encode()
    shards.tar("0.tar", [(f"{n}.{e}", d) for n in range(40) for e, d in (("png", shards.image()), ("json", several))])
    data = make(shards.folder, batch_size=8)
    assert len(list(data.captions())) == 200

    def drawn(data: TrainingData, epoch: int, **how: Any) -> dict[str, int]:
        batches = take(data, 5, Cursor(epoch, 0), **how)
        return {k: n for b in batches for k, n in zip(b["keys"], b["text"][:, 2].tolist(), strict=True)}

    first = drawn(data, 0)
    assert set(first.values()) == {0, 1, 2, 3, 4}
    assert drawn(data, 1) != first
    assert drawn(make(shards.folder, batch_size=8, seed=1), 0) != first
    assert drawn(make(shards.folder, batch_size=8, workers=2), 0) == first
    assert drawn(make(shards.folder, batch_size=8, memory_mb=0), 0) == first
    loader = data.loader()  # kept in memory from the first epoch on
    second = list(islice(loader, 10))[5:]
    assert {k: n for b in second for k, n in zip(b["keys"], b["text"][:, 2].tolist(), strict=True)} == drawn(data, 1)
    ranks = [drawn(make(shards.folder, batch_size=4, rank=r, ranks=2), 0) for r in range(2)]
    assert ranks[0] | ranks[1] == first


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


def test_fewer_samples_than_a_global_batch(shards: Any, make: Make) -> None:
    shards.good(5, 6)
    make(shards.folder).check()
    with pytest.raises(UserError) as error:
        make(shards.folder, ranks=2, accumulate=2).check()
    assert str(error.value) == (
        "data: 11 samples are fewer than one global batch of 16 (data.batch_size=4 x 2 ranks x accumulate=2); "
        "take data.batch_size=2 or less, or take more data"
    )
    with pytest.raises(UserError) as error:
        make(shards.folder, ranks=4, accumulate=3).check()
    assert str(error.value) == (
        "data: 11 samples are fewer than one global batch of 48 (data.batch_size=4 x 4 ranks x accumulate=3); "
        "start fewer ranks, accumulate less, or take more data"
    )


def test_every_bad_shard_is_named_before_step_0(shards: Any, make: Make) -> None:
    shards.good(5)
    shards.tar("empty.tar", [])
    (shards.folder / "zero.tar").touch()
    shards.tar("mute.tar", [(f"{n}.png", shards.image(n)) for n in range(3)])
    with pytest.raises(UserError) as error:
        make(shards.folder).check()
    folder = shards.folder
    assert error.value.lines == (
        f"data.shards: {folder}/empty.tar is an empty tar; leave it out",
        f"data.shards: {folder}/mute.tar has no sample that can be used (3 no caption (first: 0)); a sample is an "
        "image (jpg, jpeg, png, webp) and a caption (txt, or 'caption' in json) under one key",
        f"data.shards: {folder}/zero.tar is a file of 0 bytes; fetch it again or leave it out",
    )


def test_many_bad_shards_are_shortened(shards: Any, make: Make) -> None:
    for number in range(14):
        (shards.folder / f"{number:02d}.tar").touch()
    with pytest.raises(UserError) as error:
        make(shards.folder).check()
    assert len(error.value.lines) == 11
    assert error.value.lines[-1] == "data.shards: … and 4 more like these"


def test_too_many_bad_samples_before_step_0(shards: Any, make: Make) -> None:
    shards.tar("a.tar", [*shards.members(8), ("x.txt", b"a"), ("y.png", shards.image())])
    with pytest.raises(
        UserError, match=r"^data: 20.0% of the samples are bad, data.max_bad_share=0.1 allows 10%: 1 no"
    ):
        make(shards.folder).check()
    lines = make(shards.folder, max_bad_share=0.2).check()
    assert lines[0] == "data: 2 samples left out: 1 no image (first: x), 1 no caption (first: y)"


def test_a_cut_tar_and_a_wrong_count_are_reported(shards: Any, make: Make) -> None:
    cut, whole = shards.good(6, 8)
    cut.write_bytes(cut.read_bytes()[:-11_000])
    (shards.folder / "0_stats.json").write_text('{"successes": 6}')
    (shards.folder / "1_stats.json").write_text('{"successes": 8}')
    lines = make(shards.folder).check()
    left = int(lines[0].split("its ")[1].split()[0])
    assert 2 <= left < 6
    assert lines[0] == f"data.shards: {cut} is cut at byte {cut.stat().st_size:,}: its {left} whole samples are used"
    assert lines[1] == f"data.shards: 0_stats.json counts 6 samples, {cut} holds {left}"
    assert len(lines) == 3
    assert whole.name not in lines[2]


def test_weights_decide_what_an_epoch_takes(shards: Any, make: Make) -> None:
    a, b = shards.good(8, 8)
    data = make(Source(str(a), 2.0), Source(str(b), 1.0))
    assert data.check() == (
        "data: an epoch takes 8 (67%) of source 1, 4 (33%) of source 2",
        "data: 16 samples in 2 shards; an epoch is 3 batches of 4",
    )
    keys = [key for batch in take(data, 6) for key in batch["keys"]]
    for epoch in (keys[:12], keys[12:]):
        assert sorted(key[0] for key in epoch) == ["0"] * 8 + ["1"] * 4
    assert len({key for key in keys if key[0] == "1"}) == 8  # each half of it in its turn


def test_a_source_whose_shards_are_listed_before_does_not_count(shards: Any, make: Make) -> None:
    (path,) = shards.good(8)
    (shards.folder / "link.tar").symlink_to("0.tar")
    data = make(Source(str(path), 1.0), Source(str(shards.folder / "link.tar"), 4.0))
    assert data.found.rates == (1.0, 1.0)
    assert data.plan.per_source == (8, 0)


def test_captions_and_fingerprint(shards: Any, make: Make) -> None:
    shards.good(3, 2)
    data = make(shards.folder)
    assert list(data.captions()) == [f"image number {n}" for n in (0, 1, 2, 0, 1)]
    assert list(data.captions(limit=2)) == ["image number 0", "image number 2"]
    before = data.provenance
    assert before["samples"] == 5
    assert make(shards.folder).provenance == before
    shards.good(3, 3)
    assert make(shards.folder).provenance["data_fingerprint"] != before["data_fingerprint"]


def test_progress_is_reported_while_shards_are_indexed(
    shards: Any, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clip_align.data.progress.SECONDS", -1)
    shards.good(2, 2)
    lines: list[str] = []
    data = make(shards.folder)
    data._progress = lines.append
    data.check()
    assert list(map(str, lines)) == ["indexing shards: 1 of 2", "indexing shards: 2 of 2"]


def test_a_folder_with_a_csv(shards: Any, tokenizer: Any, tmp_path: Path) -> None:
    rows = ["image,caption"]
    for number in range(9):
        (tmp_path / f"{number}.png").write_bytes(shards.image(number))
        rows.append(f"{number}.png,image number {number}")
    (tmp_path / "t.csv").write_text("\n".join([*rows, "none.png,x"]))
    config = FolderData(csv=str(tmp_path / "t.csv"), batch_size=4, crop_scale=(0.9, 1.0))
    data = TrainingData(config, 8, tokenizer, 0, 0, 1, tmp_path / "cache")
    assert data.check() == (
        "data: 1 samples left out: 1 no image (first: none.png)",
        "data: 9 samples in a folder; an epoch is 2 batches of 4, 1 samples left over",
    )
    before = data.found.fingerprint
    (tmp_path / "3.png").write_bytes(shards.image(3, size=(13, 13)))
    assert TrainingData(config, 8, tokenizer, 0, 0, 1, tmp_path / "cache").found.fingerprint != before
    for batch in take(data, 4):
        assert [f"{n}.png" for n in batch["text"][:, 2].tolist()] == batch["keys"]
    missing = TrainingData(
        FolderData(csv=str(tmp_path / "t.csv"), max_bad_share=0.05), 8, tokenizer, 0, 0, 1, tmp_path / "cache"
    )
    with pytest.raises(UserError, match=r"10.0% of the samples are bad"):
        missing.check()


def test_the_worlds_shards_are_read_like_any_others(
    shards: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = shards.good(6, 5)
    settings = WorldData(images=16, batch_size=4)
    calls: list[object] = []

    def ensure(data: object, cache: Path, progress: object) -> World:
        calls.extend((data, cache))
        return World(shards.folder, paths, shards.folder)

    monkeypatch.setattr("clip_align.data.world.shards.ensure_world", ensure)
    data = TrainingData(settings, 8, tokenizer, 0, 0, 1, tmp_path / "cache")
    assert data.check() == ("data: 11 samples in 2 shards; an epoch is 2 batches of 4, 3 samples left over",)
    assert calls == [settings, tmp_path / "cache"]
    assert len({key for batch in take(data, 2) for key in batch["keys"]}) == 8
