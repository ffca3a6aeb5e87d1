# SPDX-License-Identifier: Apache-2.0
"""A run's folder: names of its files, atomic writes, provenance, and the cache folder."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clip_align.errors import Problem, UserError
from clip_align.spelling import nearest

# begins with no dot or dash: neither hidden nor an option; no part is . or ..
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=-]*(/[A-Za-z0-9_][A-Za-z0-9._+=-]*)*")

LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")  # a name that `replacing` has made


@dataclass(frozen=True)
class RunFolder:
    """The files of one run; nothing is made by asking for a name."""

    path: Path

    @property
    def config_yaml(self) -> Path:
        """The resolved configuration, as ``config.to_plain`` writes it."""
        return self.path / "config.yaml"

    @property
    def provenance_json(self) -> Path:
        """Command, commit, versions, hardware, seed, fingerprints, status, exit code."""
        return self.path / "provenance.json"

    @property
    def metrics_jsonl(self) -> Path:
        """The record, one flat JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def items(self) -> Path:
        """What the scores were computed over, per benchmark."""
        return self.path / "items"

    @property
    def train_log(self) -> Path:
        """The lines that the run has shown, as text."""
        return self.path / "train.log"

    @property
    def checkpoints(self) -> Path:
        """``step-000000120.ckpt``, ``last.ckpt``, ``best-….ckpt``."""
        return self.path / "checkpoints"

    @property
    def curves_png(self) -> Path:
        """The four-panel figure."""
        return self.path / "curves.png"

    @property
    def report_html(self) -> Path:
        """The self-contained page."""
        return self.path / "report.html"

    @property
    def wandb(self) -> Path:
        """wandb's own files (it adds this name to the folder it is given)."""
        return self.path / "wandb"

    @property
    def has_steps(self) -> bool:
        """Whether a run has been here: a record with at least one line, or a checkpoint."""
        with contextlib.suppress(OSError):
            if self.metrics_jsonl.stat().st_size > 0:
                return True
        return self.checkpoints.is_dir() and any(self.checkpoints.iterdir())


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write to a temporary name beside ``path``, flush to the disk, rename: readers see all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path that becomes ``path`` when the block ends well, and disappears when it does not."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")  # containers repeat process ids
    try:
        yield temporary
        os.replace(temporary, path)  # atomic on one file system, hence a name beside it
    except BaseException:  # also KeyboardInterrupt and SystemExit of a signal
        temporary.unlink(missing_ok=True)
        raise


def leftovers(folder: Path, older_s: float = 0.0) -> list[Path]:
    """The temporary files of `replacing` in a folder: what a process that was killed while it wrote has left.

    older_s: only those that nobody has written to for so many seconds; 0 where no other process can be writing.
    """
    found = [path for path in folder.glob(".*.tmp") if LEFTOVER.fullmatch(path.name)]
    before = time.time() - older_s
    left: list[Path] = []
    for path in found:
        with contextlib.suppress(FileNotFoundError):  # its process has just renamed it
            if not older_s or path.stat().st_mtime < before:
                left.append(path)
    return sorted(left)


def bad_name(name: str) -> Problem | None:
    """Why ``name`` cannot name a run, or None."""
    if name == "latest" or name.split("/")[0] == "latest":  # a sweep called latest too
        return Problem("name", "'latest' is the link to the newest run; choose another name")
    if not NAME.fullmatch(name):
        allowed = "letters, digits and . _ - + =, with / between folders"
        return Problem("name", f"'{name}' cannot name a folder; use {allowed}")
    return None


def run_name(run: RunFolder, runs: str | Path) -> str:
    """A run as users type it: its path below ``runs`` (``sweep/0``), its folder's name where it lies elsewhere."""
    path, base = run.path.resolve(), Path(runs).resolve()
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else path.name


def used_name(folder: RunFolder, name: str) -> Problem:
    """The problem of a name that another run has."""
    return Problem(
        "name", f"{folder.path} already holds a run; continue with it by resume={name}, or choose another name=…"
    )


def new_run(runs: str | Path, name: str | None, experiment: str) -> RunFolder:
    """The folder of a new run, made; ``runs/latest`` points to it. UserError where it holds a run already.

    Args:
        runs: folder of the runs.
        name: as configured; None: the experiment and the time.
        experiment: label of the run.
    """
    chosen = name or time.strftime(f"{experiment}-%Y%m%d-%H%M%S")
    problem = bad_name(chosen)
    if problem:
        raise UserError(problem)
    folder = _make(Path(runs), chosen, unique=name is None)
    # a chosen name may have a folder; one without steps is a run that was refused before its first
    if folder.has_steps:
        raise UserError(used_name(folder, chosen))
    point_latest(Path(runs), chosen)
    return folder


def lock(run: RunFolder, shared: bool = False) -> int | None:
    """Hold a run's folder until the descriptor is closed, at the latest when this process ends, however it ends.

    ``shared``: together with others that share it, as evaluations of one series do.
    BlockingIOError where another process holds it; None where the system or the file system has no locks.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    folder = os.open(run.path, os.O_RDONLY)
    try:
        fcntl.flock(folder, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        os.close(folder)
        if isinstance(error, BlockingIOError):  # another process has it; any other error: no locks here
            raise
        return None
    return folder


def release(held: int | None) -> None:
    """Let go of what `lock` returned, also where a process that was forked meanwhile still has the descriptor."""
    if held is None:
        return
    import fcntl  # there, since something is held

    fcntl.flock(held, fcntl.LOCK_UN)
    os.close(held)


def run_status(run: RunFolder) -> str:
    """How a run is, from its provenance: running, done, failed, interrupted, terminated; unknown without one.

    One that was killed says running for ever, but nobody holds its folder any more: failed.
    """
    status = str(read_provenance(run).get("status") or "unknown")
    if status != "running":
        return status
    try:
        held = lock(run)
    except OSError:
        return status
    if held is None:  # not known
        return status
    os.close(held)  # which also lets go of the lock
    return "failed"


def resolve_run(runs: str | Path, name_or_path: str | Path) -> RunFolder:
    """An existing run by its name under ``runs`` (``latest`` too) or by its folder; UserError when there is none."""
    named, typed = Path(runs) / name_or_path, Path(name_or_path).expanduser()
    for path in (named, typed):
        if path.is_file() and path.name == "latest":  # the text file for file systems without links
            path = path.parent / path.read_text().strip()
        if is_run(path):
            # the run itself: latest may point to another one later
            return RunFolder(path.resolve() if path.is_symlink() else path)
        if of_sweep := _members(path) if path != Path(runs) else []:
            names = ", ".join(f"{name_or_path}/{p.name}" for p in of_sweep[:5])
            raise UserError(
                f"{name_or_path}: a sweep of {len(of_sweep)}, not a run; its runs: {names}{_more(of_sweep)}"
            )
    folders = [p for p in Path(runs).glob("*") if not p.is_symlink()]  # not latest, which is one of the others
    there = [p for p in folders if is_run(p) or any(map(is_run, p.glob("*")))]
    there.sort(key=lambda p: p.stat().st_mtime, reverse=True)
    names = ", ".join(p.name for p in there[:5])
    guess = nearest(str(name_or_path), ["latest", *(p.name for p in there)]) if there else None
    hint = f"did you mean {guess}? " if guess else ""
    known = f"{hint}runs there, newest first: {names}{_more(there)}" if there else f"no runs in {runs}"
    raise UserError(f"{name_or_path}: no run of this name in {runs} and no such run folder; {known}")


def sweep_runs(runs: str | Path, name_or_path: str | Path) -> list[RunFolder]:
    """The runs of a sweep, by its name under ``runs`` or its folder; none where it is no sweep."""
    for path in (Path(runs) / name_or_path, Path(name_or_path).expanduser()):
        if is_run(path):
            return []
        if path.resolve() != Path(runs).resolve() and (members := _members(path)):
            return [RunFolder(member) for member in members]
    return []


def _members(path: Path) -> list[Path]:
    found = [p for p in path.glob("*") if is_run(p)]
    # 0, 1, …, 10 of a sweep, then other names
    return sorted(found, key=lambda p: (int(p.name) if p.name.isdigit() else sys.maxsize, p.name))


def is_run(path: Path) -> bool:
    """Whether a folder is a run's."""
    return any((path / file).is_file() for file in ("metrics.jsonl", "config.yaml", "provenance.json"))


def _more(runs: Sequence[Path]) -> str:
    return f" and {len(runs) - 5} more" if len(runs) > 5 else ""


def point_latest(runs: Path, name: str) -> None:
    """Point ``runs/latest`` to a run: a link, or a text file with the name where links are refused.

    Best effort: a foreign file or folder of this name is left alone.
    """
    latest = runs / "latest"
    if not latest.is_symlink() and latest.exists() and not _names_a_run(latest):
        return
    with contextlib.suppress(OSError), replacing(latest) as temporary:
        try:
            temporary.symlink_to(name)
        except OSError:
            temporary.write_text(f"{name}\n")


def _names_a_run(latest: Path) -> bool:
    """Whether it is the text file for file systems without links: one line, the name of a folder beside it."""
    try:
        text = latest.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    name = text.removesuffix("\n")
    return NAME.fullmatch(name) is not None and (latest.parent / name).is_dir()


def user_cache(explicit: str | None) -> tuple[Path, str | None]:
    """The cache folder, made and writable, and a line to print when it is only a temporary one.

    ``explicit`` (``paths.cache``) is used or refused (UserError), never replaced.
    """
    if explicit is not None:
        folder = Path(explicit).expanduser().absolute()
        problem = unusable(folder)
        if problem:
            raise UserError(
                Problem("paths.cache", f"{folder} cannot be used ({problem}); give a folder that can be written")
            )
        return folder, None
    with contextlib.suppress(ImportError, OSError, RuntimeError, KeyError):  # no home: platformdirs may fail
        import platformdirs

        folder = Path(platformdirs.user_cache_dir("clip-align", appauthor=False))
        if folder.is_absolute() and unusable(folder) is None:
            return folder, None
    folder = _temporary_cache()
    return folder, f"cache: no usable user cache folder; using {folder}, lost when it is cleaned: set paths.cache=…"


def write_provenance(folder: RunFolder | Path, **fields: Any) -> None:
    """Merge fields into provenance.json, atomically."""
    path = folder.provenance_json if isinstance(folder, RunFolder) else folder / "provenance.json"
    merged = {**read_provenance(folder), **fields}
    # allow_nan: NaN is no JSON, and other programs read this file
    write_atomic(path, json.dumps(merged, indent=2, default=str, allow_nan=False) + "\n")


def read_provenance(folder: RunFolder | Path) -> dict[str, Any]:
    """What provenance.json holds; empty where there is none or it cannot be read."""
    path = folder.provenance_json if isinstance(folder, RunFolder) else folder / "provenance.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # ValueError: no JSON, or no UTF-8
        return {}
    return content if isinstance(content, dict) else {}


def _make(runs: Path, name: str, unique: bool) -> RunFolder:
    for number in range(1, 1000):  # many jobs of a scheduler may start in one second
        folder = RunFolder(runs / (name if number == 1 else f"{name}-{number}"))
        try:
            folder.path.mkdir(parents=True, exist_ok=not unique)
        except FileExistsError:
            if unique:  # another run of the same second
                continue
            raise UserError(Problem("name", f"{folder.path} is a file; choose another name=…")) from None
        except OSError as error:
            reason = error.strerror or error
            raise UserError(
                Problem("paths.runs", f"{folder.path} cannot be made ({reason}); set paths.runs=…")
            ) from None
        problem = unusable(folder.path)
        if problem:
            raise UserError(Problem("paths.runs", f"{folder.path} cannot be used ({problem}); set paths.runs=…"))
        return folder
    raise UserError(Problem("paths.runs", f"no free name like {name} in {runs}"))


def unusable(folder: Path) -> str | None:
    """Why nothing can be written in ``folder`` (made if need be), None when it can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:  # tried: permissions say nothing about full or read-only disks
            file.write(b"0")
    except OSError as error:
        return error.strerror or str(error)
    return None


def _temporary_cache() -> Path:
    """One folder per user, so that a second run finds the first one's; a fresh one where that is not ours."""
    owner = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"clip-align-cache-{owner}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)  # others on this machine must not put files there
        # a folder for all, with a name that can be guessed: somebody else may have made it
        ours = not folder.is_symlink() and folder.stat().st_uid == owner
    except OSError:
        ours = False
    if ours and unusable(folder) is None:
        return folder
    try:
        return Path(tempfile.mkdtemp(prefix="clip-align-cache-"))
    except OSError as error:
        raise UserError(Problem("paths.cache", f"no folder can be written ({error}); set paths.cache=…")) from None
