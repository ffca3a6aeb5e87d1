# SPDX-License-Identifier: Apache-2.0
"""CIFAR's python archives: known answers, and what a restricted unpickler refuses."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cifar_archive import python2_pickle, write_cifar

from clip_align.perception.cifar import CIFAR10, CIFAR100, ArchiveError, find_archive, read_cifar, unpickled


def test_known_answers_of_the_original_cifar100(shared_data: Path) -> None:
    root = shared_data / "cifar100"
    archive = find_archive(root, CIFAR100)
    assert archive == root / "cifar-100-python"
    found = read_cifar(archive, CIFAR100)
    assert found.images.shape == (2000, 32, 32, 3)
    assert np.bincount(found.labels).tolist() == [20] * 100
    assert (found.names[0], found.names[1], found.names[99]) == ("apple", "aquarium_fish", "worm")
    pixels = found.images.reshape(-1, 3) / 255
    assert np.round(pixels.mean(axis=0), 4).tolist() == [0.5061, 0.4846, 0.4399]
    assert np.round(pixels.std(axis=0), 4).tolist() == [0.2672, 0.2568, 0.2760]
    assert not found.original  # a subset has another checksum
    assert find_archive(archive, CIFAR100) == archive


@pytest.mark.parametrize("layout", [CIFAR10, CIFAR100], ids=["cifar10", "cifar100"])
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "tar"])
@pytest.mark.parametrize("python", [2, 3])
def test_a_miniature_archive_is_read_as_it_was_written(layout: Any, packed: bool, python: int, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    labels = [(5 * i) % layout.classes for i in range(12)]
    write_cifar(tmp_path, layout, images, labels, packed=packed, python=python)
    archive = find_archive(tmp_path, layout)
    assert archive == tmp_path / (layout.tar if packed else layout.folder)
    found = read_cifar(archive, layout)
    assert np.array_equal(found.images, images)
    assert found.labels.tolist() == labels
    assert len(found.names) == layout.classes


def test_nothing_there_is_none(tmp_path: Path) -> None:
    assert find_archive(tmp_path, CIFAR10) is None
    assert find_archive(tmp_path / "absent", CIFAR10) is None


class _Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


HOSTILE = {
    "a command": {"data": _Call(os.system, "touch owned")},
    "eval": {"data": _Call(eval, "open('owned', 'w')")},
    "a file": {"data": _Call(io.open, "owned", "w")},
    "an array of objects": {"data": np.array([{}], dtype=object)},
    "floats": {"data": np.zeros(3)},
    "a type": {"data": np.int64},
    "a scalar": {"data": np.float64(1)},
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("protocol", range(6))
def test_code_and_objects_are_refused(
    content: Any, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArchiveError, match=r"^test cannot be read: it ") as caught:
        unpickled(pickle.dumps(content, protocol), "test")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_refusal_names_what_it_met() -> None:
    with pytest.raises(ArchiveError) as caught:
        unpickled(pickle.dumps({"data": _Call(os.system, "true")}, 2), "test_batch")
    what = f"it names {os.system.__module__}.system, which such an archive does not hold"
    assert str(caught.value) == f"test_batch cannot be read: {what}"


def test_a_function_of_the_archive_cannot_be_changed() -> None:
    changed = b"\x80\x02cnumpy\nndarray\n}q\x00X\x01\x00\x00\x00aK\x01sb."
    with pytest.raises(ArchiveError, match=r"^x cannot be read: it changes a function$"):
        unpickled(changed, "x")


@pytest.mark.parametrize("key", [1, None, ("data",)])
def test_a_key_that_is_no_text_is_one_line(key: Any) -> None:
    with pytest.raises(ArchiveError, match=rf"^x cannot be read: it holds {type(key).__name__} where a text belongs$"):
        unpickled(pickle.dumps({key: 1}, 2), "x")


def test_the_type_of_arrays_is_never_called() -> None:
    with pytest.raises(ArchiveError, match=r"^x cannot be read: it calls numpy.ndarray, which [a-z ]+$"):
        unpickled(pickle.dumps({"data": _Call(np.ndarray, "text")}, 2), "x")


def test_an_array_must_have_the_bytes_that_its_shape_needs() -> None:
    data = python2_pickle({"data": np.zeros((2, 3), np.uint8)})
    # the shape (2, 3) is K\x02K\x03\x86 in protocol 2; the content stays 6 bytes
    wrong = data.replace(b"K\x02K\x03\x86", b"K\x02K\x7f\x86")
    assert wrong != data
    with pytest.raises(ArchiveError, match=r"^x: an array of shape \(2, 127\) has 6 bytes$"):
        unpickled(wrong, "x")


def test_every_cut_is_one_line(tmp_path: Path) -> None:
    whole = python2_pickle({"labels": [1, 2], "data": np.zeros((2, 3072), np.uint8)})
    for length in (0, 1, 2, 10, 50, len(whole) // 2, len(whole) - 1):
        with pytest.raises(ArchiveError, match=r"^test cannot be read: [^\n]+$"):
            unpickled(whole[:length], "test")
    with pytest.raises(ArchiveError, match="pickle data was truncated"):
        unpickled(whole[: len(whole) // 2], "test")


def test_random_damage_is_an_error_or_a_dict() -> None:
    outcomes = set()
    whole = python2_pickle({"labels": [1, 2, 3], "data": np.zeros((3, 8), np.uint8)})
    for seed in range(200):
        rng = np.random.default_rng(seed)
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 4):
            data[place] = rng.integers(0, 256)
        try:
            found: object = unpickled(bytes(data), "x")
        except ArchiveError as error:
            found = str(error)
        outcomes.add(type(found))
        assert not isinstance(found, str) or "\n" not in found
    assert outcomes == {dict, str}


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    images = np.zeros((3, 32, 32, 3), np.uint8)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"labels": [0, 1]}, "test_batch: labels is not a list of 3 labels"),
        ({"labels": np.zeros((3, 1), np.int64)}, "test_batch: labels is not a list of 3 labels"),
        ({"labels": np.array(3)}, "test_batch: labels is not a list of 3 labels"),
        ({"labels": [0, 1, 10]}, "test_batch: labels holds 10; labels are 0 to 9"),
        ({"labels": [0, 1, None]}, "test_batch: labels holds None; labels are 0 to 9"),
        ({"data": np.zeros((3, 3071), np.uint8)}, "test_batch: data is uint8 (3, 3071), expected uint8 (images, 3072)"),
        ({"data": [1, 2]}, "test_batch: data is list, expected uint8 (images, 3072)"),
        ({"label_names": ["a"]}, "batches.meta has no list label_names of 10 names"),
        ({"label_names": ["a"] * 10}, "batches.meta: in label_names a name is there twice"),
    ]
    for number, (change, line) in enumerate(cases):
        write_cifar(tmp_path / str(number), CIFAR10, images, [0, 1, 2], change=change)
        with pytest.raises(ArchiveError) as caught:
            read_cifar(tmp_path / str(number) / CIFAR10.folder, CIFAR10)
        assert str(caught.value) == line


def test_a_damaged_tar_is_one_line(tmp_path: Path) -> None:
    write_cifar(tmp_path, CIFAR10, np.zeros((3, 32, 32, 3), np.uint8), [0, 1, 2], packed=True)
    tar = tmp_path / CIFAR10.tar
    tar.write_bytes(tar.read_bytes()[:200])
    with pytest.raises(ArchiveError, match=rf"^{tar} is not a whole tar.gz \([^\n]+\); get it again$"):
        read_cifar(tar, CIFAR10)
    with tarfile.open(tmp_path / "other.tar", "w") as other:
        other.addfile(tarfile.TarInfo("cifar-10-batches-py/test_batch"), io.BytesIO())
    with pytest.raises(ArchiveError, match=r"lacks cifar-10-batches-py/batches.meta; get the archive"):
        read_cifar(tmp_path / "other.tar", CIFAR10)


def test_numbers_of_other_sizes_and_orders_are_arrays() -> None:
    for dtype in ("<i8", ">i2", "|u1", "<u4"):
        given = np.arange(6, dtype=dtype).reshape(2, 3)
        for array in (given, np.asfortranarray(given)):
            found = unpickled(pickle.dumps({"data": array}, 2), "x")["data"]
            assert np.array_equal(found, given)
    assert struct.calcsize("q") == 8
