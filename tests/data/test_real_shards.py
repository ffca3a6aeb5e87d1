# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10 shards, and shards that are wrong on purpose, member by member (their README lists what is good)."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from clip_align.config import Source
from clip_align.data.sources.webdataset import ShardData
from clip_align.data.training_data import TrainingData
from clip_align.errors import UserError

ODD_GOOD = {
    "04_bad_images.tar": 21,
    "05_uneven_37.tar": 37,
    "06_uneven_3.tar": 3,
    "07_cut_in_the_middle.tar": 20,
    "08_json_captions.tar": 20,
    "09_image_modes.tar": 14,
    "10_captions.tar": 9,  # 14 without those that have no caption (0, 1, 9), bad text (3) or no image (10)
    "11_keys.tar": 14,
}


@pytest.fixture
def open_shards(shared_data: Path, tmp_path: Path, tokenizer: Any) -> Any:
    def build(*patterns: str, size: int = 32, **keys: Any) -> TrainingData:
        sources = tuple(Source(str(shared_data / pattern)) for pattern in patterns)
        data = ShardData(**{"shards": sources, "batch_size": 1, "flip": False, "max_bad_share": 0.5, **keys})
        return TrainingData(data, size, tokenizer, 0, 0, 1, tmp_path / "cache")

    return build


def delivered(data: TrainingData) -> tuple[set[int], list[tuple[str, str]], dict[str, str]]:
    """Numbers of the samples that decode, what was skipped, and captions by key."""
    batches: Any = data.loader().dataset
    skipped: list[tuple[str, str]] = []
    good = batches._pairs(range(data.samples), 0, skipped)
    captions = {data.set.found.samples.key(n): data.set.found.samples.captions(n)[0] for n in range(data.samples)}
    assert all(pair.image.shape == (3, 32, 32) for pair in good.values())
    return set(good), skipped, captions


@pytest.mark.parametrize(("name", "good"), ODD_GOOD.items())
def test_odd_shards_deliver_what_is_good_in_them(open_shards: Any, name: str, good: int) -> None:
    data = open_shards(f"cifar10_odd/{name}")
    data.check()
    numbers, skipped, captions = delivered(data)
    assert len(numbers) == good
    assert all(captions.values())
    assert [key for _, key in skipped] == (["040000007"] if name.startswith("04") else [])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("01_empty.tar", "is an empty tar"),
        ("02_zero_bytes.tar", "is a file of 0 bytes"),
        ("03_no_captions.tar", r"has no sample that can be used \(20 no caption \(first: 030000000\)\)"),
    ],
)
def test_odd_shards_with_nothing_good_are_one_line_each(open_shards: Any, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        open_shards(f"cifar10_odd/{name}").check()
    assert len(error.value.lines) == 1


def test_odd_members(open_shards: Any) -> None:
    found = open_shards("cifar10_odd/10_captions.tar").set.found
    assert found.bad.counts == {"no caption": 3, "bad text": 1, "no image": 1}
    assert found.bad.first == {"no caption": "100000000", "bad text": "100000003", "no image": "100000010"}
    _, _, captions = delivered(open_shards("cifar10_odd/10_captions.tar"))
    assert "100000008" in captions  # broken json, good txt
    assert "\n" not in captions["100000005"]
    assert not captions["100000006"].startswith("\ufeff")
    assert "\0" not in captions["100000007"]
    assert len(captions["100000004"]) > 1000
    keys = delivered(open_shards("cifar10_odd/11_keys.tar"))[2]
    assert {"sub.dir/110000009", "110000011.v1"} < set(keys)
    bad = open_shards("cifar10_odd/04_bad_images.tar").set.found.bad
    assert bad.first == {"damaged image": "040000013", "not an image": "040000017"}


def test_all_usable_odd_shards_together_as_a_stream(open_shards: Any) -> None:
    data = open_shards("cifar10_odd/{04,05,06,07,08,09,10,11}*.tar", batch_size=16, crop_scale=(0.9, 1.0), flip=True)
    lines = data.check()
    assert any(
        "07_cut_in_the_middle.tar is cut at byte 72,492: its 20 whole samples are used" in line for line in lines
    )
    batches = list(islice(data.loader(), 2 * data.batches_per_epoch))
    assert data.samples == sum(ODD_GOOD.values()) + 1  # a cut JPEG shows itself when it is decoded
    keys = [key for batch in batches[: data.batches_per_epoch] for key in batch["keys"]]
    assert len(keys) - len(set(keys)) <= 2  # one key is in a shard twice, one bad sample may be replaced by a neighbour
    assert {entry for batch in batches for entry in batch["skipped"]} <= {("damaged image", "040000007")}


def test_cifar10(open_shards: Any) -> None:
    data = open_shards("cifar10/train/{00000..00007}.tar", batch_size=125, memory_mb=64)
    assert data.check() == ("data: 8,000 samples in 8 shards; an epoch is 64 batches of 125",)
    captions = list(data.captions())
    assert len(set(captions)) > 300
    batches = list(islice(data.loader(), 64))
    assert len({key for batch in batches for key in batch["keys"]}) == 8000
    assert not any(batch["skipped"] for batch in batches)
    mean = torch.cat([b["image"] for b in batches[:16]]).float().mean(dim=(0, 2, 3)) / 255
    assert torch.allclose(mean, torch.tensor([0.4914, 0.4822, 0.4465]), atol=0.02)  # of CIFAR-10's training set
