# SPDX-License-Identifier: Apache-2.0
"""Miniature copies of CIFAR's python archives: their layout, and pickles as Python 2 wrote them."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clip_align.perception.cifar import ArchiveLayout

# the pickler in Python, whose table of types can be changed; typeshed does not describe it
_Pickler: Any = pickle._Pickler


class _Python2(_Pickler):  # type: ignore[misc]
    """Writes texts and bytes as Python 2's ``str``."""

    dispatch: ClassVar[dict[Any, Any]] = dict(_Pickler.dispatch)

    def _save_str(self, value: str | bytes) -> None:
        data = value.encode("latin1") if isinstance(value, str) else value
        short = len(data) < 256
        head = pickle.SHORT_BINSTRING + bytes([len(data)]) if short else pickle.BINSTRING + struct.pack("<i", len(data))
        self.write(head + data)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = _save_str


def python2_pickle(content: Mapping[str, Any]) -> bytes:
    """A dict as Python 2 pickled it, in protocol 2."""
    file = io.BytesIO()
    _Python2(file, 2).dump(dict(content))
    # NumPy 2's name of the module, which a text line ends
    return file.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def write_cifar(
    root: Path,
    layout: ArchiveLayout,
    images: NDArray[np.uint8],
    labels: Sequence[int],
    names: Sequence[str] | None = None,
    packed: bool = False,
    python: int = 2,
    change: Mapping[str, Any] | None = None,
    training: tuple[NDArray[np.uint8], Sequence[int]] | None = None,
) -> None:
    """Write an archive with some test images, and training images if there are any.

    Args:
        root: folder in which it is written.
        layout: which of the two archives.
        images: uint8 [N, 32, 32, 3].
        labels: [N].
        names: of the classes; None: made up, with an underscore.
        packed: as tar.gz instead of a folder.
        python: version of Python that pickles it, 2 or 3.
        change: entries by key that replace those of the files, to damage them.
        training: images and labels, divided over the files of training images.
    """
    names = names or [f"kind_{n}" for n in range(layout.classes)]
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    test: dict[str, Any] = {"batch_label": "testing batch 1 of 1", layout.labels: list(labels), "data": rows}
    meta: dict[str, Any] = {layout.names: list(names)}
    contents = {layout.test: test, layout.meta: meta}
    if training is not None:
        for number, rows_of in enumerate(np.array_split(np.arange(len(training[1])), len(layout.train)), 1):
            contents[layout.train[number - 1]] = {
                "batch_label": f"training batch {number} of {len(layout.train)}",
                layout.labels: [training[1][row] for row in rows_of],
                "data": training[0][rows_of].transpose(0, 3, 1, 2).reshape(len(rows_of), -1),
            }
    for content in contents.values():
        content.update({key: value for key, value in (change or {}).items() if key in content})
    dumps = python2_pickle if python == 2 else pickle.dumps
    files = {name: dumps(content) for name, content in contents.items()}
    root.mkdir(parents=True, exist_ok=True)
    if not packed:
        (root / layout.folder).mkdir(exist_ok=True)
        for name, data in files.items():
            (root / layout.folder / name).write_bytes(data)
        return
    with tarfile.open(root / layout.tar, "w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"{layout.folder}/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
