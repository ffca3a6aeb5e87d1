# SPDX-License-Identifier: Apache-2.0
"""Cut every stimulus once, in a process of our own over all cores, into a cache that is kept.

``<cache>/stimuli/<benchmark>-<fingerprint>/<view>-<size>.npy`` is [N, V, S, S, 3] in the order of the
stimuli: uint8, or float32 in [0, 1] where the benchmark's pictures are. The fingerprint covers ids,
how each picture is made (function, its module's source, arguments, size and time of files) and the
decoders' versions, so a changed picture gets a new file.

``python -m clip_align.evaluation.pictures <job>`` is the process: it never imports the caller's script
and imports torch only where a benchmark's own module does. Pictures that only the caller's process
can make (functions of ``__main__``, lambdas) are made there, one by one.
"""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL
from PIL import features

from clip_align.errors import UserError
from clip_align.evaluation.stimulus import Picture, Stimulus, View
from clip_align.evaluation.views import cut

Say = Callable[[str], None]
NOT_IMPORTABLE = 3  # exit code of the process: make these pictures where they were asked for
REPORT_SECONDS = 2.0
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # a process per core


@dataclass(frozen=True)
class Job:
    """All pictures of one benchmark under one view; ``stimuli`` in the order of the array's rows."""

    name: str
    stimuli: tuple[Stimulus, ...]
    view: View
    size: int
    tiles: int
    target: Path

    def __len__(self) -> int:
        return len(self.stimuli)


def plan(cache: Path, name: str, version: int, stimuli: Sequence[Stimulus], view: View, size: int, tiles: int) -> Job:
    """The job that makes ``stimuli`` under a view, and the file it makes them into."""
    tiles = tiles if view == "tiles" else 1
    stem = f"{view}-{size}" + (f"-{tiles}" if view == "tiles" else "")
    folder = f"{name.replace('/', '-')}-{fingerprint(stimuli, version)}"
    return Job(name, tuple(stimuli), view, size, tiles, cache / "stimuli" / folder / f"{stem}.npy")


def fingerprint(stimuli: Iterable[Stimulus], version: int = 1) -> str:
    """16 hexadecimal digits that change whenever a picture may: ids, makers, arguments, files, decoders."""
    decoders = [
        PIL.__version__,
        np.__version__,
        *(str(features.version(f)) for f in ("jpg", "jpg_2000", "webp", "zlib")),
    ]
    digest = hashlib.sha256(repr((version, decoders)).encode())
    sources: dict[str, str] = {}
    for stimulus in stimuli:
        digest.update(repr((stimulus.id, stimulus.places)).encode())
        digest.update(_described(stimulus.load, sources).encode())
    return digest.hexdigest()[:16]


def maker(stimulus: Stimulus) -> str:
    """How a stimulus is made, as text: two benchmarks that name the same stimulus have to agree on it."""
    return f"{_described(stimulus.load, {})} {stimulus.places}"


def _described(value: Any, sources: dict[str, str]) -> str:
    """What a maker or one of its arguments is, as text that is the same in every process."""
    if isinstance(value, partial):
        named = sorted((value.keywords or {}).items())
        return "partial" + _described([value.func, list(value.args), [list(pair) for pair in named]], sources)
    if isinstance(value, Path):
        try:
            status = value.stat()
        except OSError:
            return f"missing {value.name}"
        return f"file {value.name} {status.st_size} {status.st_mtime_ns}" if value.is_file() else f"folder {value}"
    if isinstance(value, np.ndarray):
        return f"array {value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_described(v, sources) for v in value)}]"
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__} {_source(value.__module__, sources)}"
    return repr(value)


def _source(module: str, known: dict[str, str]) -> str:
    if module not in known:
        path = getattr(sys.modules.get(module), "__file__", None)
        code = Path(path).read_bytes() if path and path.endswith(".py") and Path(path).is_file() else b""
        known[module] = hashlib.sha256(code).hexdigest()[:16]
    return known[module]


def ensure(jobs: Sequence[Job], say: Say) -> None:
    """Make what is missing; UserError, one line, where it cannot be made. Files are whole or absent."""
    missing = [job for job in jobs if not job.target.is_file()]
    portable = [job for job in missing if _portable(job)]
    if portable and not _in_own_process(portable, say):
        portable = []
    for job in missing:
        if job not in portable:
            say(f"{job.name}: its pictures can be made in this process only, one by one")
            made = _cut_all(job.stimuli, job, 1)
            _written(job, _reported(made, [job], say))


def load(job: Job) -> np.ndarray[Any, Any]:
    """The pictures [N, V, S, S, 3] of a job that was made, read from disk as they are used."""
    array: np.ndarray[Any, Any] = np.load(job.target, mmap_mode="r", allow_pickle=False)
    expected = (len(job), job.tiles, job.size, job.size, 3)
    if array.shape != expected:
        raise UserError(f"{job.target}: holds {array.shape}, expected {expected}; delete this file, it is made again")
    return array


def _portable(job: Job) -> bool:
    """Whether another process can make these pictures: no lambda, nothing of the caller's own script."""
    try:
        packed = pickle.dumps(job)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return b"__main__" not in packed  # pickle names a function by its module


def _in_own_process(jobs: Sequence[Job], say: Say) -> bool:
    """Run the jobs in our own command; False where it cannot import what makes the pictures."""
    with tempfile.TemporaryDirectory(prefix="clip-align-") as folder:
        order = Path(folder) / "job.pickle"
        # the paths come first, so that the process can import what the jobs name
        order.write_bytes(pickle.dumps([p or os.getcwd() for p in sys.path]) + pickle.dumps(list(jobs)))
        command = [sys.executable, "-c", "from clip_align.evaluation.pictures import main; main()", str(order)]
        package = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": path}
        with open(Path(folder) / "errors", "w+") as errors:
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True
            )
            try:
                with process:
                    for line in process.stdout or ():
                        say(line.rstrip())
            except BaseException:
                process.kill()  # its workers end with it
                raise
            errors.seek(0)
            complaint = errors.read().strip().splitlines()
    if process.returncode == NOT_IMPORTABLE:
        return False
    if process.returncode:
        raise UserError(complaint[-1] if complaint else f"making pictures ended with code {process.returncode}")
    return True


def main() -> None:
    """The process: read the jobs, make them over all cores, one line a few seconds; exit 2 on a failure."""
    _end_with(os.getppid())
    with open(sys.argv[1], "rb") as file:
        sys.path[:] = list(dict.fromkeys([*sys.path, *pickle.load(file)]))
        try:
            jobs: list[Job] = pickle.load(file)
        except (ImportError, AttributeError):
            sys.exit(NOT_IMPORTABLE)
    try:
        for job in jobs:
            made = _cut_all(job.stimuli, job, len(os.sched_getaffinity(0)))
            _written(job, _reported(made, [job], partial(print, flush=True)))
    except UserError as error:
        print(str(error).replace("\n", " "), file=sys.stderr)
        sys.exit(error.exit_code)


def _cut_all(stimuli: Sequence[Stimulus], job: Job, processes: int) -> Iterator[Picture]:
    work = partial(_cut_one, job.name, job.view, job.size, job.tiles)
    if processes == 1 or len(stimuli) < 2 * processes:
        yield from map(work, stimuli)
        return
    with multiprocessing.get_context("fork").Pool(processes, _end_with, [os.getpid()]) as pool:
        yield from pool.imap(work, stimuli, chunksize=max(1, min(32, len(stimuli) // (8 * processes))))


def _end_with(parent: int) -> None:
    """End this process when its parent is gone: a killed parent cannot clean up, and a pool would wait for ever."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _cut_one(name: str, view: View, size: int, tiles: int, stimulus: Stimulus) -> Picture:
    try:
        return cut(stimulus.load(), view, size, tiles, stimulus.places or stimulus.id)
    except Exception as error:
        line = f"{name}: cannot make the picture {stimulus.id}: {type(error).__name__}: {error}"
        raise UserError(line.replace("\n", " ")) from None


def _reported(made: Iterator[Picture], jobs: Sequence[Job], say: Say) -> Iterator[Picture]:
    job, total = jobs[0], sum(map(len, jobs))
    start = said = time.monotonic()
    for done, picture in enumerate(made, start=1):
        yield picture
        now = time.monotonic()
        if now - said > REPORT_SECONDS or (done == total and said > start):
            left = (now - start) / done * (total - done)
            say(f"{job.name}: {done} of {total} pictures made, about {left:.0f} s left")
            said = now


def _written(job: Job, made: Iterator[Picture]) -> None:
    """Write the array row by row to a temporary file and rename it: a full disk is an error, not a crash."""
    target = job.target
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            first = next(made)
            shape = (len(job), *first.shape)
            header = {"descr": first.dtype.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            _write(file, job, first, first)
            for picture in made:
                _write(file, job, first, picture)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        why = "the disk is full" if full else f"{error.strerror or error}"
        raise UserError(
            f"paths.cache: cannot write {target}: {why}; free space there or choose another folder with paths.cache=…"
        ) from None
    finally:
        with suppress(OSError):  # it is gone where all went well, and was never there where nothing could be written
            temporary.unlink()


def _write(file: BinaryIO, job: Job, first: Picture, picture: Picture) -> None:
    if picture.dtype != first.dtype or picture.shape != first.shape:
        raise UserError(
            f"{job.name}: pictures of one benchmark are all uint8 or all float32; "
            f"found {first.dtype} {first.shape} and {picture.dtype} {picture.shape}"
        )
    file.write(np.ascontiguousarray(picture).data)


if __name__ == "__main__":
    main()
