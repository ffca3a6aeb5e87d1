# SPDX-License-Identifier: Apache-2.0
"""The world as a folder of WebDataset shards and held-out sets: rendered once, then re-used."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clip_align.data.progress import Progress, Show
from clip_align.data.world.recipe import Recipe
from clip_align.errors import UserError

PROJECT = Path(__file__).resolve().parents[3]  # what must be importable in the rendering process
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class World:
    """A rendered world: its folder, its training shards in order, and the folder of its held-out sets."""

    folder: Path
    shards: list[Path]
    held_out: Path


def ensure_world(settings: object, cache: Path, progress: Show) -> World:
    """The world that ``settings`` (``config.data``, see `Recipe`) describe, from the cache or rendered now.

    ``progress`` is given a line to show, some twice a second while it is rendered. UserError when the cache cannot be
    written or its disk is full; nothing half-written stays.
    """
    recipe = Recipe.of(settings)
    folder = _folder(recipe, cache)
    if not _exists(recipe, folder):
        _render(recipe, folder, progress)
    return World(folder, sorted(folder.glob("[0-9]*.tar")), folder)


def ensure_held_out(cache: Path, settings: object | None = None, progress: Show = lambda line: None) -> Path:
    """The folder of the held-out sets alone, for models that are trained on something else; about 2 s where new.

    ``settings`` None: those of the default world. Where that world is rendered already its sets are used.
    """
    recipe = Recipe() if settings is None else Recipe.of(settings)
    folder = _folder(recipe, cache)
    if not _exists(recipe, folder):
        recipe = replace(recipe, images=0)
        folder = _folder(recipe, cache)
        if not _exists(recipe, folder):
            _render(recipe, folder, progress)
    return folder


def nearest_neighbour_accuracy(world: World | Path) -> float | None:
    """Share of the test set whose nearest training image, in pixels, shows the same shape: a baseline, 0 … 1.

    ``world`` or its folder; None where only the held-out sets were rendered.
    """
    facts = (world.folder if isinstance(world, World) else world) / "world.json"
    if not facts.is_file():
        return None  # a folder that was put together by hand
    accuracy: float | None = json.loads(facts.read_text())["nearest_neighbour_accuracy"]
    return accuracy


def rendered(settings: object, cache: Path) -> Path | None:
    """The folder of the world of ``settings`` where it is rendered already; nothing is made."""
    recipe = Recipe.of(settings)
    folder = _folder(recipe, cache)
    return folder if _exists(recipe, folder) else None


def _folder(recipe: Recipe, cache: Path) -> Path:
    return cache / "world" / f"{recipe.size}px-{recipe.fingerprint()}"


def _exists(recipe: Recipe, folder: Path) -> bool:
    try:
        return recipe.whole(folder)
    except OSError as error:
        raise _refusal(folder, error.errno, error.strerror or str(error)) from error


def _render(recipe: Recipe, folder: Path, progress: Show) -> None:
    """Run `clip_align.data.world.build` and pass its progress on."""
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # one process a core
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH", "")]))
    process = subprocess.Popen(
        [sys.executable, "-m", "clip_align.data.world.build"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **one_thread, "PYTHONPATH": path},
    )
    if process.stdin is None or process.stdout is None:  # for the type checker: both are pipes
        raise RuntimeError("no pipe to the rendering process")
    first: tuple[float, int] | None = None  # seconds and images at the first report: tables are made before it
    other, last = deque[str](maxlen=5), dict[str, Any]()
    try:
        process.stdin.write(json.dumps({"recipe": recipe.to_json(), "folder": str(folder)}))
        process.stdin.close()
        for line in process.stdout:
            if not line.startswith("{"):
                other.append(line.strip())
                continue
            last = json.loads(line)
            if "done" in last:
                first = first or (time.monotonic(), last["done"])
                progress(_progress(last["done"], last["total"], first))
    finally:
        if process.poll() is None and not last.get("finished"):
            process.terminate()
        process.stdout.close()
        process.wait()
    if "error" in last:
        raise _refusal(folder, last["errno"], last["error"])
    if not last.get("finished"):
        raise UserError(
            f"data=world: rendering into {folder} ended early ({' '.join(other) or 'no message'}); try again"
        )


def _progress(done: int, total: int, first: tuple[float, int]) -> Progress:
    seconds, count = time.monotonic() - first[0], done - first[1]
    return Progress("world", done, total, "images rendered", seconds / count * (total - done) if count else None)


def _refusal(folder: Path, number: int | None, reason: str) -> UserError:
    if number in _FULL:
        reason = f"the disk is full ({reason})"
    return UserError(
        f"paths.cache: cannot write the embedded world to {folder.parent}: {reason}; "
        "make room there or choose another folder with paths.cache=<folder>"
    )
