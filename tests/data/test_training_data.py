# SPDX-License-Identifier: Apache-2.0
"""Batches of good samples, and what is refused or noted before step 0."""

from __future__ import annotations

import io
import json
import random
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clip_align.config import Source
from clip_align.data.sampling_plan import Cursor
from clip_align.data.sources.folder import FolderData
from clip_align.data.sources.world import WorldData
from clip_align.data.training_data import TrainingData
from clip_align.data.world.shards import RenderedWorld
from clip_align.errors import UserError
from tests.data.stream import Make, same, take


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


@pytest.mark.parametrize(("crop", "reduced"), [((1.0, 1.0), 1.0), ((0.5, 1.0), 1.0), ((0.2, 1.0), 0.0)])
def test_jpeg_at_reduced_size_are_as_fixed_as_others(
    shards: Any, make: Make, crop: tuple[float, float], reduced: float
) -> None:
    """Of 24 px for a model of 8: half of the area still has 8 px a side at half the size, a fifth would not."""
    shards.tar("0.tar", [(f"{n}.{e}", d) for n in range(8) for e, d in (("jpg", photo(n)), ("txt", b"a 1"))])
    keys = {"crop_scale": crop, "flip": True}
    whole, batches = (take(make(shards.folder, jpeg_draft=draft, **keys), 6) for draft in (False, True))
    differ = [float(not torch.equal(a["image"], b["image"])) for a, b in zip(whole, batches, strict=True)]
    assert differ == [reduced] * 6
    assert same(take(make(shards.folder, jpeg_draft=True, memory_mb=0, workers=2, **keys), 6), batches)
    assert same(take(make(shards.folder, jpeg_draft=True, **keys), 3, batches[2]["cursor"]), batches[3:])
    assert "JPEG decoded at reduced size" in str(make(shards.folder, jpeg_draft=True).provenance["decoder"])
    assert "reduced" not in str(make(shards.folder).provenance["decoder"])


def photo(seed: int) -> bytes:
    """A JPEG of 24 px with smooth colours."""
    pixels = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((24, 24), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


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
    with pytest.raises(UserError) as error:
        make(shards.folder, accumulate=2, grad=3).check()
    assert str(error.value) == (
        "data: 11 samples are fewer than one global batch of 24 (data.batch_size=4 x 1 ranks x accumulate=2 x "
        "accumulate_grad_batches=3); take data.batch_size=1 or less, or take more data"
    )


def test_batches_that_are_contrasted_together_are_parts_of_a_larger_one(shards: Any, make: Make) -> None:
    """The same samples in the same order, the same position after them, the same remainder left out."""
    shards.good(20, 23)  # 43: two batches of 16 on two ranks, 11 left over
    for rank in range(2):
        whole = take(make(shards.folder, rank=rank, ranks=2, batch_size=8), 5, Cursor(1, 1))
        parts = take(make(shards.folder, rank=rank, ranks=2, batch_size=4, accumulate=2), 10, Cursor(1, 1))
        for number, batch in enumerate(whole):
            two = parts[2 * number : 2 * number + 2]
            assert [*two[0]["keys"], *two[1]["keys"]] == batch["keys"]
            assert torch.equal(torch.cat([part["image"] for part in two]), batch["image"])
            assert two[1]["cursor"] == batch["cursor"]
            # saved in no checkpoint, but if it were, the step would be done again
            assert two[0]["cursor"] == (Cursor(1, 1) if number == 0 else whole[number - 1]["cursor"])


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
    assert data.set.found.rates == (1.0, 1.0)
    assert data.set.plan.per_source == (8, 0)


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
    before = data.set.found.fingerprint
    (tmp_path / "3.png").write_bytes(shards.image(3, size=(13, 13)))
    assert TrainingData(config, 8, tokenizer, 0, 0, 1, tmp_path / "cache").set.found.fingerprint != before
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

    def ensure(data: object, cache: Path, progress: object) -> RenderedWorld:
        calls.extend((data, cache))
        return RenderedWorld(shards.folder, paths, shards.folder)

    monkeypatch.setattr("clip_align.data.world.shards.ensure_world", ensure)
    data = TrainingData(settings, 8, tokenizer, 0, 0, 1, tmp_path / "cache")
    assert data.check() == ("data: 11 samples in 2 shards; an epoch is 2 batches of 4, 3 samples left over",)
    assert calls == [settings, tmp_path / "cache"]
    assert len({key for batch in take(data, 2) for key in batch["keys"]}) == 8
