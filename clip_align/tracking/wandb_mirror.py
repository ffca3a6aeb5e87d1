# SPDX-License-Identifier: Apache-2.0
"""wandb as a mirror of the record, seen from the run: the process of ``tracking.wandb`` and its time limits.

Nothing wandb does can stop or slow training; it is not even imported here.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import sys
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clip_align.config import TrackerConfig
from clip_align.errors import Problem, UserError
from clip_align.processes.child import Child
from clip_align.record.record import Mirror
from clip_align.record.schema import AnyLine
from clip_align.runs.folder import RunFolder, read_provenance, run_name, write_atomic

MODES = ("online", "offline", "disabled")
HOST = "https://api.wandb.ai"
CLOSE_SECONDS = {"done": 30.0, "failed": 15.0}  # signals leave 20 s for everything
SHORT_CLOSE_SECONDS = 4.0
STATE = "clip-align.json"  # in the run's wandb folder: state for a resumed run
LOG = "clip-align.log"
LINES = ("benchmark", "train", "evaluation", "verdict")


class WandbMirror(Mirror):
    """Mirror of the record. ``notify`` receives lines for the user (where to watch, how to upload)."""

    def __init__(
        self, folder: RunFolder, tracker: TrackerConfig, config: Mapping[str, Any], notify: Callable[[str], None]
    ) -> None:
        """Start the process that logs to wandb.

        Args:
            folder: the run's, with its provenance written.
            tracker: mode, project, entity, group and tags.
            config: the run's configuration as plain values.
            notify: gets lines for the reader.
        """
        self._notify = notify
        self._mode = mode(tracker.mode)
        runs = dict(config.get("paths") or {}).get("runs") or folder.path.parent
        job = {**state(folder), "mode": self._mode, "config": dict(config), "name": run_name(folder, runs)}
        group = tracker.group or sweep_of(str(job["name"]))
        job |= {"project": tracker.project, "entity": tracker.entity, "group": group, "tags": tracker.tags}
        job |= origin(read_provenance(folder))
        # wandb's own ids have 8 characters
        job.setdefault("id", os.environ.get("WANDB_RUN_ID") or uuid.uuid4().hex[:8])
        folder.wandb.mkdir(parents=True, exist_ok=True)
        # before the child starts, which reads it; a tuple of tags becomes a list, a path a text
        write_atomic(folder.wandb / STATE, json.dumps(job, default=str))
        self._child = Child("clip_align.tracking.wandb", [str(folder.path)], folder.wandb / LOG)
        for text in hints(folder, self._mode):
            notify(text)

    def line(self, line: AnyLine) -> None:
        """Wake the child to read the new line; raises if it has ended."""
        self._relay()
        if line["kind"] in LINES and not self._child.tell():
            raise RuntimeError(f"wandb stopped: {self._child.why()}")

    def close(self, status: str) -> None:
        """Let the child finish within a time limit."""
        seconds = CLOSE_SECONDS.get(status, SHORT_CLOSE_SECONDS)
        ended = self._child.end(f"end {status}", seconds)
        self._relay()
        if not ended:
            self._notify(f"warning: wandb did not finish ({self._child.why()}); its files so far can be synced later")

    def _relay(self) -> None:
        for text in self._child.messages():
            self._notify(text)


def sweep_of(name: str) -> str | None:
    """The wandb group of a run in a folder, ``seeds`` for ``seeds/0``, so that the runs of a sweep are grouped."""
    return name.rpartition("/")[0] or None


def origin(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The run's command and commit, which wandb would otherwise take from its own process.

    For a member of a sweep the command is the sweep's.
    """
    command = provenance.get("sweep_command") or provenance.get("command")
    commit = provenance.get("git_commit")
    return {
        "command": [str(word) for word in command] if isinstance(command, list) else [],
        "git_commit": str(commit).removesuffix("-dirty") if commit else None,
        "git_remote": provenance.get("git_remote"),
    }


def mode(wanted: str | None, environ: Mapping[str, str] = os.environ) -> str:
    """online, offline or disabled, decided before wandb starts, which would ask for a login or fail.

    ``tracker.mode`` first, then WANDB_MODE, else online with a key in the environment or netrc, offline without.
    """
    if wanted is not None:
        return wanted
    if environ.get("WANDB_DISABLED", "").lower() in ("1", "true", "yes"):
        return "disabled"
    # older names that wandb still takes
    found = {"dryrun": "offline", "run": "online"}.get(environ.get("WANDB_MODE", ""), environ.get("WANDB_MODE", ""))
    if found and found not in MODES:
        what = f"'{found}' is not one of {', '.join(MODES)}; unset it or set tracker.mode=…"
        raise UserError(Problem("tracker.mode", what, shown="WANDB_MODE"))
    return found or ("online" if has_key(environ) else "offline")


def has_key(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether wandb has an API key: in the environment, or in netrc for its host."""
    import netrc

    if environ.get("WANDB_API_KEY") or environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = environ.get("WANDB_BASE_URL", HOST).split("//", 1)[-1].split("/", 1)[0]
    home = environ.get("HOME") or environ.get("USERPROFILE")
    named = [Path(environ["NETRC"])] if environ.get("NETRC") else []
    for path in named or [Path(home) / name for name in (".netrc", "_netrc") if home]:
        with contextlib.suppress(OSError, netrc.NetrcParseError):  # a broken netrc counts as none
            entry = netrc.netrc(str(path)).authenticators(host)
            if entry and entry[2]:
                return True
    return False


def state(folder: RunFolder) -> dict[str, Any]:
    """Id and last logged steps of an earlier part of the run; empty for a new one."""
    with contextlib.suppress(OSError, ValueError):
        old = json.loads((folder.wandb / STATE).read_text(encoding="utf-8"))
        return {k: old[k] for k in ("id", "evaluation", "train") if k in old}
    return {}


def hints(folder: RunFolder, mode: str) -> list[str]:
    """Where to watch the run live and, offline, how to upload it."""
    beside = Path(sys.executable).with_name("wandb")
    command = "wandb" if shutil.which("wandb") or not beside.exists() else str(beside)
    place = shlex.quote(str(folder.wandb))
    lines = [f"wandb ({mode}): watch in a terminal with: {command} leet {place}"]
    if mode == "offline":
        lines.append(f"wandb ({mode}): upload later with: {command} sync {place}/offline-run-*")
    return lines
