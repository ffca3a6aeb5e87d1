# SPDX-License-Identifier: Apache-2.0
"""The training images of CIFAR's archives as shards in the cache: written once, then read like any others."""

from __future__ import annotations

import errno
import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from PIL import Image
from webdataset import TarWriter

from clip_align.data.progress import Follower, Notify
from clip_align.errors import Problem, UserError
from clip_align.perception.cifar import ArchiveLayout, CifarSet, training_images
from clip_align.processes.all_cores import half_made, remove_stale

SHARD_IMAGES = 5_000
VERSION = 1  # of what is written; another one is written again
ABOUT = "archive.json"


def archive_shards(
    files: Mapping[str, bytes], checksum: str, layout: ArchiveLayout, cache: Path, notify: Notify
) -> tuple[list[Path], bool]:
    """The shards of an archive's training images, their captions the names of classes, and whether it is the original.

    Args:
        files: of `training_files`.
        checksum: of all of them.
        layout: which archive it is.
        cache: folder of the caches; the shards lie under ``archives/``.
        notify: takes progress while they are written.

    ArchiveError for a damaged archive; UserError where the cache cannot be written.
    """
    folder = cache / "archives" / f"{layout.name}-{checksum[:16]}-{VERSION}"
    about = _whole(folder)
    if about is None:
        found = training_images(files, layout)
        try:
            _write(folder, found, layout, notify)
        except OSError as error:
            raise _refusal(folder, error) from error
        about = _whole(folder)
    if about is None:
        raise UserError(Problem("paths.cache", f"{folder} was changed while it was written; try again"))
    return [folder / name for name in about["shards"]], bool(about["original"])


def _whole(folder: Path) -> dict[str, dict[str, int]] | None:
    """What was written about a folder of shards; None where there is none, or shards are missing or of another size."""
    try:
        about: dict[str, dict[str, int]] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        whole = all((folder / name).stat().st_size == size for name, size in about["shards"].items())
    except (OSError, ValueError, KeyError):
        return None
    return about if whole else None


def _write(folder: Path, found: CifarSet, layout: ArchiveLayout, notify: Notify) -> None:
    """Make the folder, whole or not at all; if another process finishes first, its folder stays."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_stale(folder.parent)
    temporary = half_made(folder)
    temporary.mkdir()
    try:
        sizes: dict[str, int] = {}
        follower = Follower(f"{layout.name}: images written to shards", len(found.labels), notify)
        for first in range(0, len(found.labels), SHARD_IMAGES):
            path = temporary / f"{first // SHARD_IMAGES:05d}.tar"
            _write_shard(path, found, layout, range(first, min(first + SHARD_IMAGES, len(found.labels))), follower)
            sizes[path.name] = path.stat().st_size
        about = json.dumps({"original": found.original, "shards": sizes})
        (temporary / ABOUT).write_text(about, encoding="utf-8")
        if _whole(folder) is None:
            shutil.rmtree(folder, ignore_errors=True)  # of another version of the files, or with some taken away
            _rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _rename(temporary: Path, folder: Path) -> None:
    try:
        temporary.rename(folder)
    except OSError:  # another process has just put its own there
        if _whole(folder) is None:
            raise


def _write_shard(path: Path, found: CifarSet, layout: ArchiveLayout, rows: range, follower: Follower) -> None:
    # a fixed time: the same bytes whenever they are written
    with path.open("wb") as file, TarWriter(file, encoder=False, mtime=0) as tar:
        for row in rows:
            png = io.BytesIO()
            Image.fromarray(found.images[row]).save(png, "png", compress_level=1)  # speed over size
            name = found.names[found.labels[row]]
            tar.write({"__key__": f"{layout.name}-{row:05d}", "png": png.getvalue(), "txt": name.encode()})
            follower.step()


def _refusal(folder: Path, error: OSError) -> UserError:
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason = f"the disk is full ({reason})"
    what = (
        f"cannot write the shards of an archive to {folder.parent}: {reason}; make room or choose paths.cache=<folder>"
    )
    return UserError(Problem("paths.cache", what))
