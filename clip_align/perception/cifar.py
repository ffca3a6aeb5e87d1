# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10 and CIFAR-100 as their author distributes them: python archives, unpacked or as tar.gz.

The files are pickles of Python 2 (Krizhevsky 2009). Unpickling runs code, so that only what these files hold is read:
dicts, lists, texts, whole numbers and arrays of whole numbers. Everything else is refused by name.
"""

from __future__ import annotations

import hashlib
import io
import math
import pickle
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "LAYOUTS",
    "SIDE",
    "ArchiveError",
    "ArchiveLayout",
    "CifarSet",
    "find_archive",
    "read_cifar",
    "training_files",
    "training_images",
    "unpickled",
]

SIDE = 32  # px
PIXELS = 3 * SIDE * SIDE
MOST_BYTES = 2**28  # of one member; the largest, CIFAR-100's train, has 155 MB
_INTEGERS = frozenset(f"{sign}{size}" for sign in "iu" for size in (1, 2, 4, 8))


class ArchiveError(ValueError):
    """A file of an archive that is damaged, or holds what does not belong there; the message is one line."""


@dataclass(frozen=True)
class ArchiveLayout:
    """Names in one of the two archives, and the checksums that its author's files have.

    name: of the data set in keys. folder: of the unpacked archive. tar: the packed one. test, meta: files of test
    images and of names. labels: key of the labels in a file of images. names: key of their names in ``meta``. md5: of
    both files. train, train_md5: files of training images, and theirs (torchvision 0.29, ``datasets/cifar.py``).
    """

    name: str
    folder: str
    tar: str
    test: str
    meta: str
    labels: str
    names: str
    classes: int
    md5: tuple[str, str]
    train: tuple[str, ...]
    train_md5: tuple[str, ...]


CIFAR10: Final = ArchiveLayout(
    "cifar10",
    "cifar-10-batches-py",
    "cifar-10-python.tar.gz",
    "test_batch",
    "batches.meta",
    "labels",
    "label_names",
    10,
    ("40351d587109b95175f43aff81a1287e", "5ff9c542aee3614f3951f8cda6e48888"),
    ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"),
    (
        "c99cafc152244af753f735de768cd75f",
        "d4bba439e000b95fd0a9bffe97cbabec",
        "54ebc095f3ab1f0389bbae665268c751",
        "634d18415352ddfa80567beed471001a",
        "482c414d41f54cd18b22e5b47cb7c3cb",
    ),
)
CIFAR100: Final = ArchiveLayout(
    "cifar100",
    "cifar-100-python",
    "cifar-100-python.tar.gz",
    "test",
    "meta",
    "fine_labels",
    "fine_label_names",
    100,
    ("f0ef6b0ae62326f3e7ffdfab6717acfc", "7973b15100ade9c7d40fb424638fde48"),
    ("train",),
    ("16019d7e3df5f24257cddd939b257f8d",),
)
LAYOUTS: Final[Mapping[str, ArchiveLayout]] = {layout.name: layout for layout in (CIFAR10, CIFAR100)}


@dataclass(frozen=True, eq=False)
class CifarSet:
    """Images of an archive.

    images: uint8 [N, 32, 32, 3]. labels: int64 [N], numbers of ``names``. original: whether files have the checksums
    of the author's; otherwise it is a subset or another copy. md5: of the files of images.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    original: bool
    md5: str


def find_archive(root: Path, layout: ArchiveLayout, training: bool = False) -> Path | None:
    """The unpacked folder of an archive, or the tar.gz, at ``root`` or directly below it; None if neither is there.

    Args:
        root: where to look.
        layout: which of the two archives.
        training: a folder has to hold the files of training images, not that of test images.
    """
    needed = (*(layout.train if training else (layout.test,)), layout.meta)
    for folder in (root / layout.folder, root):
        if all((folder / name).is_file() for name in needed):
            return folder
    for tar in (root / layout.tar, root):
        if tar.is_file():
            return tar
    return None


@lru_cache(maxsize=2)  # each process that renders images opens an archive once
def read_cifar(archive: Path, layout: ArchiveLayout) -> CifarSet:
    """The test images of an archive.

    Args:
        archive: the unpacked folder or the tar.gz, as `find_archive` returns it.
        layout: which of the two archives it is.

    ArchiveError, one line with the file's name, for what is cut, damaged or not such an archive.
    """
    files = _files(archive, layout, (layout.test, layout.meta))
    meta = unpickled(files[layout.meta], layout.meta)
    names = _names(meta, layout)
    images, labels = _images(unpickled(files[layout.test], layout.test), layout, layout.test)
    test, names_md5 = _md5(files[layout.test]), _md5(files[layout.meta])
    return CifarSet(images, labels, names, (test, names_md5) == layout.md5, test)


def training_files(archive: Path, layout: ArchiveLayout) -> tuple[dict[str, bytes], str]:
    """Content of the files of training images and of the one with the names, and a checksum of all.

    Args:
        archive: the unpacked folder or the tar.gz, as `find_archive` returns it.
        layout: which of the two archives it is.

    ArchiveError for what is cut, damaged or not there.
    """
    files = _files(archive, layout, (*layout.train, layout.meta))
    return files, _md5("".join(_md5(files[name]) for name in (*layout.train, layout.meta)).encode())


def training_images(files: Mapping[str, bytes], layout: ArchiveLayout) -> CifarSet:
    """The training images in the order of the files.

    Args:
        files: of `training_files`.
        layout: which of the two archives it is.

    ArchiveError for what is damaged, and for files that hold test images.
    """
    names = _names(unpickled(files[layout.meta], layout.meta), layout)
    parts: list[tuple[NDArray[np.uint8], NDArray[np.int64]]] = []
    for name in layout.train:
        content = unpickled(files[name], name)
        label = content.get("batch_label", b"")
        if isinstance(label, bytes | str) and _text(label).startswith("testing"):
            raise ArchiveError(f"{name} holds test images ({_text(label)}), which are not trained on; get it again")
        parts.append(_images(content, layout, name))
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    found = tuple(_md5(files[name]) for name in layout.train)
    original = (*found, _md5(files[layout.meta])) == (*layout.train_md5, layout.md5[1])
    return CifarSet(images, labels, names, original, found[0] if len(found) == 1 else _md5("".join(found).encode()))


def unpickled(data: bytes, name: str) -> dict[str, Any]:
    """The dict of a pickled file, its keys as text.

    Args:
        data: the file's bytes.
        name: of the file, for error messages.

    ArchiveError for anything but a dict of lists, texts, whole numbers and arrays of whole numbers.
    """
    try:
        # encoding: texts of Python 2 are bytes, and arrays' content is such a text
        content = _Restricted(io.BytesIO(data), encoding="bytes").load()
        by_text = {_text(key): value for key, value in content.items()} if isinstance(content, dict) else None
    except Exception as error:  # a damaged pickle raises anything: EOFError, KeyError, struct.error, …
        raise ArchiveError(f"{name} cannot be read: {' '.join(str(error).split()) or type(error).__name__}") from error
    if by_text is None:
        raise ArchiveError(f"{name} holds {type(content).__name__}, expected a dict")
    return {key: value.array(name) if isinstance(value, _Array) else value for key, value in by_text.items()}


class _Restricted(pickle.Unpickler):
    """An unpickler that can make arrays of whole numbers and nothing else that has a name."""

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in for one of the names by which NumPy's arrays are pickled; refuses every other name."""
        makers = {
            ("multiarray", "_reconstruct"): _Array,
            ("numpy", "ndarray"): _not_called,
            ("numpy", "dtype"): _DType,
            ("_codecs", "encode"): _encoded,
        }
        last = module.removeprefix("numpy.core.").removeprefix("numpy._core.")
        maker = makers.get((last, name))
        if maker is None:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which such an archive does not hold")
        return _Name(maker)


class _Name:
    """What a pickle may call; without a class behind it, it can be neither changed nor subclassed."""

    __slots__ = ("_maker",)

    def __init__(self, maker: Any) -> None:
        self._maker = maker

    def __call__(self, *arguments: Any) -> Any:
        return self._maker(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it changes a function")


class _DType:
    """The type of an array's numbers."""

    __slots__ = ("order", "text")

    def __init__(self, text: Any, align: Any = False, copy: Any = True) -> None:
        self.text, self.order = _text(text), "="
        if self.text not in _INTEGERS:
            raise pickle.UnpicklingError(f"it holds an array of {self.text}, not of whole numbers")

    def __setstate__(self, state: Any) -> None:
        order = _text(state[1])  # after the version
        if order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"it holds an array in the byte order {order!r}")
        self.order = order


class _Array:
    """An array: made empty, then given its content."""

    __slots__ = ("content", "dtype", "fortran", "shape")

    def __init__(self, kind: Any, shape: Any, letter: Any) -> None:
        self.shape, self.content, self.dtype, self.fortran = (0,), b"", _DType("u1"), False

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.dtype, self.fortran, content = state
        # Python 3 writes bytes, Python 2 a text, which the unpickler yields as bytes too
        if not isinstance(content, bytes) or not isinstance(self.dtype, _DType):
            raise pickle.UnpicklingError("it holds an array that is not a block of numbers")
        self.content = content

    def array(self, name: str) -> NDArray[Any]:
        """The NumPy array; ArchiveError if shape and content differ."""
        dtype = np.dtype(self.dtype.text).newbyteorder(self.dtype.order)  # type: ignore[arg-type]
        sizes = self.shape if isinstance(self.shape, tuple) else ()
        if not all(type(n) is int and n >= 0 for n in sizes) or math.prod(sizes) * dtype.itemsize != len(self.content):
            raise ArchiveError(f"{name}: an array of shape {self.shape} has {len(self.content):,} bytes")
        flat = np.frombuffer(self.content, dtype)
        return flat.reshape(sizes, order="F" if self.fortran else "C")


def _not_called(*arguments: Any) -> None:
    """NumPy's array type, which these files name and never call."""
    raise pickle.UnpicklingError("it calls numpy.ndarray, which such an archive only names")


def _encoded(text: Any, encoding: Any = "latin1") -> bytes:
    """How Python 3 writes bytes in an old protocol: as a text and its encoding."""
    if not isinstance(text, str) or _text(encoding) not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("it encodes something other than a text in latin1")
    return text.encode("latin1")


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("latin1")
    if isinstance(value, str):
        return value
    raise pickle.UnpicklingError(f"it holds {type(value).__name__} where a text belongs")


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _files(archive: Path, layout: ArchiveLayout, wanted: Sequence[str]) -> dict[str, bytes]:
    """Content of the files ``wanted`` by their names."""
    if archive.is_dir():
        try:
            return {name: (archive / name).read_bytes() for name in wanted}
        except OSError as error:
            raise ArchiveError(f"{error.filename} cannot be read: {error.strerror}") from error
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(archive, "r:*") as tar:
            for member in tar:
                name = member.name.removeprefix("./")
                if name not in {f"{layout.folder}/{n}" for n in wanted} or not member.isfile():
                    continue
                if member.size > MOST_BYTES:
                    raise ArchiveError(f"{archive}: {member.name} has {member.size:,} bytes, at most {MOST_BYTES:,}")
                file = tar.extractfile(member)
                found[name.rpartition("/")[2]] = b"" if file is None else file.read()
                if len(found) == len(wanted):
                    return found
    except ArchiveError:
        raise
    except Exception as error:  # tarfile and its decompressors raise anything on damaged input
        what = " ".join(str(error).split()) or type(error).__name__
        raise ArchiveError(f"{archive} is not a whole tar.gz ({what}); get it again") from error
    missing = ", ".join(f"{layout.folder}/{n}" for n in wanted if n not in found)
    raise ArchiveError(f"{archive} lacks {missing}; get the archive {layout.tar} again")


def _names(meta: Mapping[str, Any], layout: ArchiveLayout) -> tuple[str, ...]:
    names = meta.get(layout.names)
    if not isinstance(names, list) or len(names) != layout.classes:
        raise ArchiveError(f"{layout.meta} has no list {layout.names} of {layout.classes} names")
    try:
        texts = tuple(_text(name) for name in names)
    except pickle.UnpicklingError as error:
        raise ArchiveError(f"{layout.meta}: in {layout.names} {error}") from error
    if len(set(texts)) != len(texts):
        raise ArchiveError(f"{layout.meta}: in {layout.names} a name is there twice")
    return texts


def _images(
    content: Mapping[str, Any], layout: ArchiveLayout, file: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    data, labels = content.get("data"), content.get(layout.labels)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != PIXELS:
        found = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise ArchiveError(f"{file}: data is {found}, expected uint8 (images, {PIXELS})")
    if isinstance(labels, np.ndarray) and labels.ndim != 1:
        labels = None
    if not isinstance(labels, (list, np.ndarray)) or len(labels) != len(data):
        raise ArchiveError(f"{file}: {layout.labels} is not a list of {len(data):,} labels")
    wrong = [label for label in labels if not isinstance(label, (int, np.integer)) or not 0 <= label < layout.classes]
    if wrong:
        raise ArchiveError(f"{file}: {layout.labels} holds {wrong[0]!r}; labels are 0 to {layout.classes - 1}")
    # rows hold 1,024 red, then as many green and blue values, each plane row by row
    return data.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1), np.asarray(labels, np.int64)
