# SPDX-License-Identifier: Apache-2.0
"""Checkpoint files: damage of every kind is found before anything is resumed from them."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from train_synthetic import train

from clip_align.errors import UserError
from clip_align.training.checkpoint_files import LAST, OWN, GivenUp, damage, load, newest, set_aside

STEPS = (10, 20, 30)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Checkpoints of three steps, each with 64 KiB of weights; ``last.ckpt`` is the newest one's second name."""
    for step in STEPS:
        weights = torch.randn(16_384, generator=torch.Generator().manual_seed(step))
        with (tmp_path / name(step)).open("wb") as file:
            torch.save({OWN: {"global_step": step}, "state_dict": {"image": weights}}, file)
    os.link(tmp_path / name(30), tmp_path / LAST)
    return tmp_path


def name(step: int) -> str:
    return f"step-{step:09d}.ckpt"


def zeroed(path: Path) -> None:
    """32 KiB of the weights, as a lost write leaves them."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle - 2**14 : middle + 2**14] = bytes(2**15)
    path.write_bytes(content)


def one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def lost_pages(path: Path) -> None:
    """Holes of the size of a page, everywhere after the first one, as after a crash of the machine."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(4096)
        file.truncate(size)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def directory_cut(path: Path) -> None:
    """The zip's list of its members, at the end, is not there."""
    os.truncate(path, path.stat().st_size - 30)


def text(path: Path) -> None:
    path.write_text("not a zip at all")


DAMAGES = [zeroed, one_bit, lost_pages, cut, empty, directory_cut, text]


@pytest.mark.parametrize("harm", DAMAGES)
def test_a_damaged_file_is_given_up_for_the_one_before_it(folder: Path, harm: Callable[[Path], None]) -> None:
    assert damage(folder / LAST) is None
    harm(folder / name(30))
    found = newest(folder)
    assert found is not None
    assert (found.path.name, found.content[OWN]["global_step"]) == (name(20), 20)
    (given_up,) = found.given_up  # one file, although it has two names
    assert given_up.file == name(30)
    assert given_up.reason


def test_the_member_that_is_damaged_is_named(folder: Path) -> None:
    zeroed(folder / name(30))
    found = newest(folder)
    assert found is not None
    assert found.given_up == (GivenUp(name(30), "archive/data/0 does not have its checksum"),)


def test_whatever_byte_changes_it_is_noticed_or_without_effect(folder: Path) -> None:
    """A byte of a member, or of what describes it; the zip's padding belongs to nobody."""
    path, draw = folder / name(30), random.Random(0)
    whole, weights = path.read_bytes(), load(path)["state_dict"]["image"]
    noticed = 0
    for _ in range(400):
        content = bytearray(whole)
        # half of them where the zip describes its members
        place = draw.randrange(len(content)) if draw.random() < 0.5 else len(content) - 1 - draw.randrange(1500)
        content[place] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        if damage(path) is not None:
            noticed += 1
            continue
        read: dict[str, Any] = {}
        try:
            read = load(path)
        except Exception:  # torch notices: as good
            noticed += 1
            continue
        assert torch.equal(read["state_dict"]["image"], weights), place
    assert noticed > 150


def test_several_damaged_files_are_all_given_up(folder: Path) -> None:
    cut(folder / name(30))
    zeroed(folder / name(20))
    found = newest(folder)
    assert found is not None
    assert found.path.name == name(10)
    assert [file for file, _ in found.given_up] == [name(30), name(20)]


def test_a_newer_file_than_last_is_the_one(folder: Path) -> None:
    """The process was killed between writing a step's file and pointing ``last.ckpt`` to it."""
    (folder / LAST).unlink()
    os.link(folder / name(20), folder / LAST)
    found = newest(folder)
    assert found is not None
    assert found.content[OWN]["global_step"] == 30


def test_last_may_be_a_copy(folder: Path) -> None:
    (folder / LAST).unlink()
    shutil.copy(folder / name(30), folder / LAST)
    one_bit(folder / LAST)
    found = newest(folder)
    assert found is not None
    assert found.path.name == name(30)
    assert [file for file, _ in found.given_up] == [LAST]


def test_checkpoints_that_are_all_damaged_are_one_line_of_ours(folder: Path) -> None:
    for step in STEPS:
        zeroed(folder / name(step))
    with pytest.raises(UserError) as caught:
        newest(folder)
    assert caught.value.lines == (
        f"resume: no checkpoint in {folder} is whole ({name(30)}: archive/data/0 does not have its checksum, nor is "
        "any of 2 older); bring one back from a copy, or move that folder away to begin again",
    )


def test_what_was_given_up_is_set_aside_and_no_longer_counted(folder: Path) -> None:
    zeroed(folder / name(30))
    found = newest(folder)
    assert found is not None
    set_aside(folder, found.given_up, found.path.name)
    assert sorted(p.name for p in folder.iterdir()) == [f"damaged-{name(30)}", LAST, name(10), name(20)]
    assert (folder / LAST).samefile(folder / name(20))
    again = newest(folder)
    assert again is not None
    assert (again.path.name, again.given_up) == (LAST, ())


def test_a_damaged_run_is_trained_on_from_the_checkpoint_before(tmp_path: Path) -> None:
    """The whole loop: what is trained from the older file is what was trained the first time."""
    train(tmp_path, 20)
    before = load(tmp_path / "checkpoints" / name(20))["state_dict"]
    zeroed_weights = tmp_path / "checkpoints" / name(20)
    one_bit(zeroed_weights)
    train(tmp_path, 20)
    after = load(tmp_path / "checkpoints" / name(20))["state_dict"]
    assert all(torch.equal(before[key], after[key]) for key in before)
