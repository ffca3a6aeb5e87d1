# SPDX-License-Identifier: Apache-2.0
"""Renders the whole world into a folder, on all cores, as a process of its own.

    echo '{"recipe": …, "folder": …}' | python -m clip_align.data.world.build

Prints one JSON line at a time: ``{"done": n, "total": m}`` some twice a second, at the end ``{"finished": true}`` or
``{"error": …, "errno": …}``. The folder appears whole or not at all: it is written under another name beside it. If the
reader of these lines goes away, so does everything half-written.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from concurrent.futures.process import BrokenProcessPool
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from webdataset import TarWriter

from clip_align.data.world import shapes, textures
from clip_align.data.world.backgrounds import canvases
from clip_align.data.world.captions import captions
from clip_align.data.world.held_out import render_held_out, save_held_out
from clip_align.data.world.nearest_neighbour import Nearest, accuracy, nearer, nearest
from clip_align.data.world.recipe import SHARD_IMAGES, Recipe
from clip_align.data.world.render import block_size, render
from clip_align.data.world.scenes import HELD_OUT_SIZES, draw_scenes
from clip_align.processes.all_cores import cores, half_made, pool_of_workers, remove_stale
from clip_align.processes.stop_signals import unwind_on_signals

COMPARED_TOGETHER = 64  # training images, with all test images: one by one takes long, a whole shard much memory
STOP = -(1 << 40)  # so far below 0 that images counted afterwards leave it negative

_recipe: Recipe
_test: NDArray[np.float32]  # test images [T, S * S * 3]
_done: Any  # a shared counter of images


def _begin(recipe: Recipe, test: NDArray[np.float32], done: Any) -> None:
    """What every job of a worker uses."""
    global _recipe, _test, _done
    _recipe, _test, _done = recipe, test, done


def _tick(n_images: int) -> None:
    """Count images; the parent asks for an early end by making the count negative."""
    with _done.get_lock():
        _done.value += n_images
        if _done.value < 0:
            raise InterruptedError("rendering was stopped")


def _write_held_out(folder: Path, part: str) -> None:
    save_held_out(folder, part, *render_held_out(_recipe, part))
    _tick(HELD_OUT_SIZES[part])


def _write_shard(folder: Path, number: int) -> Nearest:
    """Write one shard and its counts as img2dataset lays them out; returns each test image's nearest in it."""
    rows = range(number * SHARD_IMAGES, min((number + 1) * SHARD_IMAGES, _recipe.images))
    block = block_size(_recipe)
    together = -(-COMPARED_TOGETHER // block) * block  # rounded up to whole blocks
    found: list[Nearest] = []
    with (
        (folder / f"{number:05d}.tar").open("wb") as file,
        TarWriter(file, encoder=False, mtime=0) as tar,  # a fixed time: the same bytes whenever they are rendered
    ):
        for first in range(rows.start, rows.stop, together):
            some = rows[first - rows.start :][:together]
            made = [_write_block(tar, number, some[start:][:block]) for start in range(0, len(some), block)]
            pixels, labels = zip(*made, strict=True)
            found.append(nearest(_test, np.concatenate(pixels), np.concatenate(labels)))
    counts = {"count": len(rows), "successes": len(rows), "failed_to_download": 0, "failed_to_resize": 0}
    (folder / f"{number:05d}_stats.json").write_text(json.dumps(counts))
    return reduce(nearer, found)


def _write_block(tar: TarWriter, number: int, rows: range) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Render training images ``rows`` into shard ``number``; their pixels [n, D] and shapes [n]."""
    scenes = draw_scenes(_recipe, "train", rows)
    images = render(_recipe, scenes, held_out=False)
    for i, (row, caption) in enumerate(zip(rows, captions(_recipe, scenes), strict=True)):
        key = f"{number:05d}{row - number * SHARD_IMAGES:04d}"  # shard and place in it, as img2dataset numbers samples
        png = io.BytesIO()
        Image.fromarray(images[i]).save(png, "png", compress_level=1)  # speed over size
        about = json.dumps({"caption": caption, **scenes.names(i)})
        tar.write({"__key__": key, "png": png.getvalue(), "txt": caption.encode(), "json": about.encode()})
    _tick(len(rows))
    return images.reshape(len(rows), -1), scenes.shape


def _notify(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


def _follow(jobs: Sequence[Future[Any]], done: Any, total: int) -> None:
    """Print progress until all jobs are done; the first error ends the waiting."""
    pending: set[Future[Any]] = set(jobs)
    while pending:
        finished, pending = wait(pending, timeout=0.4, return_when=FIRST_EXCEPTION)
        _notify(done=done.value, total=total)
        for job in finished:
            job.result()  # raises what the job raised


def _render_all(recipe: Recipe, folder: Path) -> None:
    """Fill ``folder``: shards, held-out sets and, last, world.json."""
    shapes.shape_tables(), textures.texture_tables(), canvases(recipe, "train")  # before the fork, for all workers
    images, labels = render_held_out(recipe, "test")
    others = [part for part in HELD_OUT_SIZES if part != "test"]
    done = multiprocessing.Value("q", len(images))
    test = images.reshape(len(images), -1).astype(np.float32) / np.float32(255)
    save_held_out(folder, "test", images, labels)
    pool = pool_of_workers(cores(), _begin, (recipe, test, done))
    try:
        sets = [pool.submit(_write_held_out, folder, part) for part in others]
        shards = [pool.submit(_write_shard, folder, n) for n in range(recipe.shards)]
        _follow([*sets, *shards], done, recipe.images + sum(HELD_OUT_SIZES.values()))
    except BaseException:  # signals too: jobs that run would keep the pool from shutting down
        done.value = STOP
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    # labels: shape first, see LABELS
    baseline = accuracy([shard.result() for shard in shards], labels[:, 0])
    facts = {"recipe": json.loads(recipe.to_json()), "nearest_neighbour_accuracy": baseline}
    (folder / "world.json").write_text(json.dumps(facts, indent=1))


def build(recipe: Recipe, folder: Path) -> None:
    """Make ``folder``, in the place of one that is not whole; if another process finishes first, that one stays."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_stale(folder.parent)
    temporary = half_made(folder)
    temporary.mkdir()
    try:
        _render_all(recipe, temporary)
        try:
            temporary.rename(folder)
        except OSError:  # a folder that is not empty cannot be replaced by a rename
            if not folder.is_dir():
                raise
            if not recipe.whole(folder):
                _replace(folder, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace(folder: Path, new: Path) -> None:
    old = half_made(folder)
    folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def main() -> int:
    """Read the job from standard input, do it, report on standard output."""
    unwind_on_signals()
    job = json.loads(sys.stdin.read())
    try:
        build(Recipe.from_json(job["recipe"]), Path(job["folder"]))
        _notify(finished=True)
    except BrokenPipeError:
        return 1  # nobody is left to tell
    except OSError as error:
        _notify(error=error.strerror or str(error), errno=error.errno, path=str(error.filename or job["folder"]))
        return 1
    except BrokenProcessPool:
        print("a rendering process was killed (out of memory?)", flush=True)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
