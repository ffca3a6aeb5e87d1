# SPDX-License-Identifier: Apache-2.0
"""The world as a folder of WebDataset shards and held-out sets: rendered once, then re-used."""

from __future__ import annotations

import errno
import json
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clip_align.data.progress import Notify, Progress
from clip_align.data.world.recipe import Recipe
from clip_align.errors import Problem, UserError
from clip_align.processes.all_cores import own_process

_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class RenderedWorld:
    """A rendered world: its folder, its training shards in order, and the folder of its held-out sets."""

    folder: Path
    shards: list[Path]
    held_out: Path


def ensure_world(settings: object, cache: Path, progress: Notify) -> RenderedWorld:
    """The world that ``settings`` describe, from the cache or rendered now.

    Args:
        settings: an object with the attributes of `Recipe`, such as ``config.data``.
        cache: folder of the caches; the world lies under ``world/``.
        progress: called with a line to show, about twice a second while the world is rendered.

    UserError when the cache cannot be written or its disk is full; nothing half-written stays.
    """
    recipe = Recipe.of(settings)
    folder = _folder(recipe, cache)
    if not _exists(recipe, folder):
        _render(recipe, folder, progress)
    return RenderedWorld(folder, sorted(folder.glob("[0-9]*.tar")), folder)


def ensure_held_out(cache: Path, settings: object | None = None, progress: Notify = lambda line: None) -> Path:
    """The folder of the held-out sets alone, for models that are trained on something else; about 2 s where new.

    Args:
        cache: folder of the caches.
        settings: as in `ensure_world`; None for the default world. Where that world is rendered its sets are used.
        progress: as in `ensure_world`.

    UserError as in `ensure_world`.
    """
    folder = rendered_held_out(cache, settings)
    if folder is None:
        _, alone = _recipes_of_held_out(settings)
        folder = _folder(alone, cache)
        _render(alone, folder, progress)
    return folder


def rendered_held_out(cache: Path, settings: object | None = None) -> Path | None:
    """The folder of `ensure_held_out` where it is there already, else None; nothing is rendered."""
    for recipe in _recipes_of_held_out(settings):
        folder = _folder(recipe, cache)
        if _exists(recipe, folder):
            return folder
    return None


def _recipes_of_held_out(settings: object | None) -> tuple[Recipe, Recipe]:
    """A world that has the sets, and the sets alone: they do not depend on the number of training images."""
    recipe = Recipe() if settings is None else Recipe.of(settings)
    return recipe, replace(recipe, images=0)


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


def _render(recipe: Recipe, folder: Path, progress: Notify) -> None:
    """Run `clip_align.data.world.build` and pass its progress on."""
    first: tuple[float, int] | None = None  # seconds and images at the first report: tables are made before it
    other, last = deque[str](maxlen=5), dict[str, Any]()  # the last lines that are no report; the last report
    with own_process(["-m", "clip_align.data.world.build"]) as process:
        if process.stdin is None or process.stdout is None:  # for the type checker: both are pipes
            raise RuntimeError("no pipe to the rendering process")
        process.stdin.write(json.dumps({"recipe": recipe.to_json(), "folder": str(folder)}))
        process.stdin.close()
        for line in process.stdout:
            if not line.startswith("{"):  # a warning or a traceback: shown if rendering fails
                other.append(line.strip())
                continue
            last = json.loads(line)
            if "done" in last:
                first = first or (time.monotonic(), last["done"])
                progress(_progress(last["done"], last["total"], first))
    if "error" in last:
        raise _refusal(folder, last["errno"], last["error"])
    if not last.get("finished"):  # killed, or ended by an error that it could not report
        what = f"rendering into {folder} ended early ({' '.join(other) or 'no message'}); try again"
        raise UserError(Problem("data", what, shown="data=world"))


def _progress(done: int, total: int, first: tuple[float, int]) -> Progress:
    # of the images since the first report, before which tables are made
    seconds, count = time.monotonic() - first[0], done - first[1]
    return Progress("world", done, total, "images rendered", seconds / count * (total - done) if count else None)


def _refusal(folder: Path, number: int | None, reason: str) -> UserError:
    if number in _FULL:
        reason = f"the disk is full ({reason})"
    return UserError(
        Problem(
            "paths.cache",
            f"cannot write the embedded world to {folder.parent}: {reason}; "
            "make room there or choose another folder with paths.cache=<folder>",
        )
    )
