# SPDX-License-Identifier: Apache-2.0
"""A file that would run code when it is unpickled, in every format and given to each of those who read weights."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clip_align.errors import UserError
from clip_align.series.encoders import encoder
from clip_align.series.find import Foreign, found_subject
from clip_align.training.checkpoint_files import READ_ERRORS, load, newest, step_file
from clip_align.training.foreign_weights import read_weights

CPU = torch.device("cpu")


class Hostile:
    """Touches a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def zipped(content: Any, path: Path) -> None:
    torch.save(content, path)


def before_1_6(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def pickled(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


def in_folder(path: Path) -> Any:
    """As ``evaluate <folder>`` finds it; a file that cannot be read is left out with its reason."""
    subject = found_subject([str(path.parent)], path.parent, None, CPU, False, Foreign())
    members, bad = subject.members()
    assert not members
    raise UserError(bad[0].reason)


def resumed(path: Path) -> Any:
    path.rename(path.with_name(step_file(7)))
    return newest(path.parent)


READERS: dict[str, Callable[[Path], Any]] = {
    "weights": read_weights,
    "folder": in_folder,
    "own": load,
    "resume": resumed,
    "timm": lambda path: encoder("timm/test_resnet", str(path), 0, CPU).load(None),
    "torchvision": lambda path: encoder("torchvision/shufflenet_v2_x0_5", str(path), 0, CPU).load(None),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("write", [zipped, before_1_6, pickled])
@pytest.mark.parametrize("where", ["beside the weights", "as a weight", "the whole file"])
def test_code_in_a_file_is_refused_and_not_run(
    tmp_path: Path, reader: str, write: Callable[[Any, Path], None], where: str
) -> None:
    hostile = Hostile(tmp_path / "ran")
    weights = {"visual.proj": torch.ones(2)}
    content = {
        "beside the weights": {"state_dict": weights, "clip_align": hostile, "epoch": 1},
        "as a weight": {"state_dict": {**weights, "b": hostile}, "clip_align": {}},
        "the whole file": hostile,
    }[where]
    for suffix in (".pt", ".bin", ".ckpt"):
        folder = tmp_path / suffix[1:]
        folder.mkdir()
        path = folder / f"weights{suffix}"
        write(content, path)
        with pytest.raises((UserError, *READ_ERRORS)):
            READERS[reader](path)
        assert not (tmp_path / "ran").exists()


def test_the_file_would_run_code_otherwise(tmp_path: Path) -> None:
    zipped(Hostile(tmp_path / "ran"), tmp_path / "w.pt")
    torch.load(tmp_path / "w.pt", weights_only=False)
    assert (tmp_path / "ran").exists()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"
PULL = "a pointer of Git LFS, in place of the file itself; type git lfs pull in its folder"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("w.pt", b"not a checkpoint", "torch.save has not written it, or it is damaged"),
        ("w.pt", POINTER, PULL),
        ("w.safetensors", POINTER, PULL),
    ],
)
def test_why_a_file_cannot_be_read(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as raised:
        read_weights(tmp_path / name)
    assert raised.value.lines == (f"{tmp_path / name}: cannot be read ({reason})",)


def test_what_could_run_code_is_named(tmp_path: Path) -> None:
    zipped({"state_dict": {}, "args": argparse.Namespace(lr=1.0)}, tmp_path / "w.pt")
    with pytest.raises(UserError) as raised:
        read_weights(tmp_path / "w.pt")
    assert raised.value.lines == (
        f"{tmp_path / 'w.pt'}: cannot be read (it holds argparse.Namespace, and more than tensors and plain python "
        "could run code; save the state_dict alone)",
    )


def test_a_pickle_under_the_name_of_safetensors_is_refused(tmp_path: Path) -> None:
    pickled(Hostile(tmp_path / "ran"), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"w\.safetensors: cannot be read"):
        read_weights(tmp_path / "w.safetensors")
    assert not (tmp_path / "ran").exists()
