# SPDX-License-Identifier: Apache-2.0
"""Render every stimulus once, on all cores, into the cache (`stimulus_cache`).

Rendering runs in a separate process, ``python -m clip_align.evaluation.render_stimuli <job>``, which never imports the
caller's script and imports torch only if the module of a benchmark does. Images that only the caller's process can
render (functions of ``__main__``, lambdas) are rendered there, one by one.
"""

from __future__ import annotations

import errno
import os
import pickle
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from typing import BinaryIO

import numpy as np

from clip_align.data.progress import Notify, Progress, loaded
from clip_align.errors import Problem, UserError
from clip_align.evaluation.stimulus import ImageArray, Stimulus, View, valid_image
from clip_align.evaluation.stimulus_cache import Job, found, prune, write_ids
from clip_align.evaluation.views import cut, kept
from clip_align.processes.parent import end_with_parent, when_parent_ends

NOT_IMPORTABLE = 3  # exit code of the process: the caller has to render these images itself
REPORT_SECONDS = 2.0
STALE_SECONDS = 3600.0  # an older temporary file belongs to a process that was killed
CHUNK = 16  # most images per task of a worker
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # a process per core


def ensure(jobs: Iterable[Job], notify: Notify) -> None:
    """Render missing files, then prune the cache; UserError if one cannot be rendered. No file is ever partial."""
    jobs = list({id(job): job for job in jobs}.values())  # a common part is one job of several benchmarks
    missing = [job for job in jobs if _found(job) is None]
    portable = [job for job in missing if _portable(job)]
    if portable and not _in_own_process(portable, notify):
        portable = []  # rendered here, like those that cannot be pickled
    for job in missing:
        if job not in portable:
            notify(f"{job.name}: its images can be made in this process only, one by one")
            _made(job, 1, notify)
    for cache in {job.cache for job in jobs}:
        prune(cache, [path for job in jobs if (path := _found(job)) is not None], notify)


def _found(job: Job) -> Path | None:
    try:
        return found(job)
    except OSError as error:  # a folder above it that may not be read
        raise _refusal(job, error) from None


def _portable(job: Job) -> bool:
    """Whether another process can render these images: no lambdas, nothing defined in the caller's script."""
    try:
        packed = pickle.dumps(job)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return b"__main__" not in packed  # pickle names a function by its module


def _in_own_process(jobs: Sequence[Job], notify: Notify) -> bool:
    """Render the jobs in a separate process; False if it cannot import the functions that make the images."""
    with tempfile.TemporaryDirectory(prefix="clip-align-") as folder, open(Path(folder) / "errors", "w+") as errors:
        order = Path(folder) / "job.pickle"
        # the import paths come first: unpickling the jobs needs them
        order.write_bytes(pickle.dumps([p or os.getcwd() for p in sys.path]) + pickle.dumps(list(jobs)))
        command = [sys.executable, "-c", "from clip_align.evaluation.render_stimuli import main; main()", str(order)]
        package = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
        process = subprocess.Popen(
            command,
            # PYTHONPATH: the package may run from a checkout that is not installed
            env={**os.environ, **ONE_THREAD, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,  # a file: a full pipe that is not read would block the process
            text=True,
        )
        try:
            for line in process.stdout or ():
                notify(loaded(line))
            process.wait()
        finally:
            _ended(process)
        errors.seek(0)
        complaint = errors.read().strip().splitlines()
    if process.returncode == NOT_IMPORTABLE:
        return False
    if process.returncode:
        # the last line: warnings of imported modules may stand before it
        raise UserError(complaint[-1] if complaint else f"making images ended with code {process.returncode}")
    return True


def _ended(process: subprocess.Popen[str]) -> None:
    """End the process if it still runs (after a signal, or an error while showing progress)."""
    if process.poll() is None:
        process.terminate()  # it removes partial files
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def main() -> None:
    """The separate process: render the jobs pickled in ``sys.argv[1]``, print progress; exit code 2 on a failure."""
    signal.signal(signal.SIGTERM, _stop)
    # by SIGTERM and not at once: partial files are removed
    when_parent_ends(os.getppid(), partial(os.kill, os.getpid(), signal.SIGTERM))
    with open(sys.argv[1], "rb") as file:
        sys.path[:] = list(dict.fromkeys([*sys.path, *pickle.load(file)]))
        try:
            jobs: list[Job] = pickle.load(file)
        except (ImportError, AttributeError):  # a module, or a name in it, that only the caller has
            sys.exit(NOT_IMPORTABLE)
    code = 0
    try:
        for job in jobs:
            _made(job, _cores(), _print)
    except UserError as error:
        print(str(error).replace("\n", " "), file=sys.stderr, flush=True)
        code = error.exit_code
    except (KeyboardInterrupt, BrokenPipeError, _Stopped):
        code = 128 + signal.SIGTERM  # as a shell reports it
    os._exit(code)  # without waiting for workers: they end with this process


def _print(what: str | Progress) -> None:
    """Pass a line to the parent process, which shows it."""
    print(what.dumped() if isinstance(what, Progress) else what, flush=True)


class _Stopped(BaseException):
    """SIGTERM was received."""


def _stop(number: int, frame: object) -> None:
    raise _Stopped


def _start_worker(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent(parent)


def _cores() -> int:
    if "fork" not in get_all_start_methods():  # spawned workers would import each benchmark's module again
        return 1
    # of this process: a container or a scheduler may allow fewer than the machine has
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _MixedSizesError(Exception):
    """Some images are smaller than the input, and not all of one size."""


def _made(job: Job, processes: int, notify: Notify) -> None:
    """Write a job's file: images at their own size if all have one size below the input's, else at the input's."""
    try:
        _written(job, _reported(_all_images(job, processes, kept), job, notify))
    except _MixedSizesError:  # one array has one size: all images are enlarged
        _written(job, _reported(_all_images(job, processes, cut), job, notify))


def _all_images(job: Job, processes: int, how: Callable[..., ImageArray]) -> Iterator[ImageArray]:
    work = partial(_one_image, how, job.name, job.view, job.size, job.tiles)
    if processes == 1 or len(job) < 2 * processes:  # too few to be worth a pool
        yield from map(work, job.stimuli)
        return
    pool = ProcessPoolExecutor(processes, get_context("fork"), _start_worker, (os.getpid(),))
    try:
        # some four tasks a worker at least, so that all end at about the same time; results come in order
        yield from pool.map(work, job.stimuli, chunksize=max(1, min(CHUNK, len(job) // (4 * processes))))
    except BrokenProcessPool:
        raise UserError(f"{job.name}: a process that made images was killed; is there enough memory?") from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # after an error the other images are not needed


def _one_image(
    how: Callable[..., ImageArray], name: str, view: View, size: int, tiles: int, stimulus: Stimulus
) -> ImageArray:
    try:
        return how(valid_image(stimulus.load()), view, size, tiles, stimulus.places or stimulus.id)
    except Exception as error:  # code of any author, decoders among it
        line = f"{name}: cannot make the image {stimulus.id}: {type(error).__name__}: {error}"
        raise UserError(line.replace("\n", " ")) from None


def _reported(made: Iterator[ImageArray], job: Job, notify: Notify) -> Iterator[ImageArray]:
    start = reported = time.monotonic()
    for done, image in enumerate(made, start=1):
        yield image
        now = time.monotonic()
        # the last image is reported if any was: a series of reports ends with its total
        if now - reported > REPORT_SECONDS or (done == len(job) and reported > start):
            left = (now - start) / done * (len(job) - done)
            notify(Progress(job.name, done, len(job), "images made", left))
            reported = now


def _written(job: Job, made: Iterator[ImageArray]) -> None:
    """Write the array row by row to a temporary file and rename it: a full disk is an error, not a crash."""
    target = job.target
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")  # containers repeat process ids
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(target)
        with open(temporary, "wb") as file:
            first = next(made)  # type and size of all
            shape = (len(job), *first.shape)
            header = {"descr": first.dtype.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            _write(file, job, first, first)
            for image in made:
                _write(file, job, first, image)
            file.flush()
            os.fsync(file.fileno())  # a power cut after the rename must not leave an empty file
        write_ids(job)  # before the rename: a file without its ids cannot be read
        os.replace(temporary, target)
    except OSError as error:
        raise _refusal(job, error) from None
    finally:
        with suppress(OSError):  # renamed on success; absent if nothing could be written
            temporary.unlink()


def _write(file: BinaryIO, job: Job, first: ImageArray, image: ImageArray) -> None:
    if image.dtype != first.dtype:
        raise UserError(
            f"{job.name}: images of one benchmark are all uint8 or all float32; "
            f"found {first.dtype} {first.shape} and {image.dtype} {image.shape}"
        )
    if image.shape != first.shape:
        raise _MixedSizesError
    file.write(np.ascontiguousarray(image).data)  # a crop is a view with gaps between its rows


def _remove_stale(target: Path) -> None:
    for left in target.parent.glob(f".{target.name}.*"):
        with suppress(OSError):  # another process may have removed it
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                left.unlink()


def _refusal(job: Job, error: OSError) -> UserError:
    why = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else f"{error.strerror or error}"
    return UserError(
        Problem(
            "paths.cache",
            f"cannot write {job.target}: {why}; free space there or choose another folder with paths.cache=<folder>",
        )
    )


if __name__ == "__main__":
    main()
