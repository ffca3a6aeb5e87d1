# SPDX-License-Identifier: Apache-2.0
"""The shipped yaml files as their comments explain them: options of a group, keys with default and meaning.

Read as text, without Hydra: shell completion has to be quick, and comments are what is wanted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clip_align.config import conf_dir

LINE = re.compile(r"(?P<indent> *)(?P<key>[\w-]+):(?: +(?P<value>.*?))? *(?:# ?(?P<about>.*))?$")
SILENT = ("defaults", "kind", "_target_")
TARGET = re.compile(r"^ *_target_: *(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Key:
    """A dotted key, its default as the yaml has it ("" for a group), and what its comment says."""

    name: str
    default: str
    about: str


def groups() -> list[str]:
    """Groups whose options users choose from."""
    return sorted(path.name for path in conf_dir().iterdir() if path.is_dir() and path.name != "hydra")


def options(group: str) -> list[str]:
    """Options of a group that ship."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def about(path: Path) -> str:
    """What the comment at the top of a yaml file says, on one line."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines += [line.lstrip("# ")] if not line.startswith("# @") else []
    return " ".join(lines)


def keys(path: Path, group: str = "") -> list[Key]:
    """The keys in a yaml file, which is of ``group`` ("": of no group, its keys are whole)."""
    text = path.read_text(encoding="utf-8")
    return list(_keys(text, "" if text.startswith("# @package _global_") else group))


def common(group: str) -> list[Key]:
    """Keys under ``group`` that the primary file has: those of every option."""
    return [key for key in keys(conf_dir() / "config.yaml") if key.name.startswith(f"{group}.")]


def targets(path: Path) -> list[str]:
    """Classes that a yaml file names."""
    return TARGET.findall(path.read_text(encoding="utf-8"))


def _keys(text: str, group: str) -> Iterator[Key]:
    parents: list[tuple[int, str]] = [(-1, group)] if group else []
    skipped = -1  # indentation of a key whose contents are left out
    for line in _joined(text):
        found = LINE.fullmatch(line)
        if found is None:
            continue
        indent = len(found["indent"])
        if skipped >= 0 and indent > skipped:
            continue
        skipped = indent if found["key"] in SILENT else -1
        while parents and parents[-1][0] >= indent:
            parents.pop()
        name = ".".join([*(key for _, key in parents), found["key"]])
        parents.append((indent, found["key"]))
        if skipped < 0:
            yield Key(name, found["value"] or "", (found["about"] or "").strip())


def _joined(text: str) -> list[str]:
    """The lines, where a comment that continues on the next one, indented, is one with it."""
    lines: list[str] = []
    for line in text.splitlines():
        if lines and "#" in lines[-1] and line[:1] == " " and line.lstrip().startswith("#"):
            lines[-1] += " " + line.lstrip(" #")
        else:
            lines.append(line)
    return lines
