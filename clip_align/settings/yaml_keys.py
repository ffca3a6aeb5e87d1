# SPDX-License-Identifier: Apache-2.0
"""The shipped yaml files with their comments: options of a group, keys with default and meaning.

Read as text, without Hydra: shell completion has to be fast, and Hydra drops comments.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from clip_align.config import conf_dir

# indent, key, value and comment of one line; nested values in flow style belong to the value
LINE = re.compile(r"(?P<indent> *)(?P<key>[\w-]+):(?: +(?P<value>.*?))? *(?:# ?(?P<about>.*))?$")
SILENT = ("defaults", "kind", "_target_")  # keys that users do not type
TARGET = re.compile(r"^ *_target_: *(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Key:
    """A dotted key, its default as written in the yaml ("" for a group), and its comment."""

    name: str
    default: str
    about: str


def groups() -> list[str]:
    """Groups whose options users choose from."""
    return sorted(path.name for path in conf_dir().iterdir() if path.is_dir() and path.name != "hydra")


def options(group: str) -> list[str]:
    """Shipped options of a group."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def about(path: Path) -> str:
    """The comment at the top of a yaml file, on one line."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines += [line.lstrip("# ")] if not line.startswith("# @") else []  # @package is meant for Hydra
    return " ".join(lines)


def keys(path: Path, group: str = "") -> list[Key]:
    """The keys of a yaml file of a group; ``group=""``: keys are complete."""
    text = path.read_text(encoding="utf-8")
    whole = text.startswith("# @package _global_")  # Hydra's mark of a file whose keys are complete
    parents: list[tuple[int, str]] = [(-1, group)] if group and not whole else []
    skipped = -1  # indentation of a key whose contents are left out
    found: list[Key] = []
    for line in filter(None, map(LINE.fullmatch, _joined(text))):
        indent = len(line["indent"])
        if skipped >= 0 and indent > skipped:
            continue
        skipped = indent if line["key"] in SILENT else -1
        while parents and parents[-1][0] >= indent:  # keys of this level and deeper are complete
            parents.pop()
        parents.append((indent, line["key"]))
        if skipped < 0:
            name = ".".join(key for _, key in parents)
            found.append(Key(name, line["value"] or "", (line["about"] or "").strip()))
    return found


def common(group: str) -> list[Key]:
    """Keys under ``group`` in the primary file, which all options have."""
    return [key for key in keys(conf_dir() / "config.yaml") if key.name.startswith(f"{group}.")]


def targets(path: Path) -> list[str]:
    """The ``_target_`` classes in a yaml file."""
    return TARGET.findall(path.read_text(encoding="utf-8"))


def _joined(text: str) -> list[str]:
    """The lines, where a comment that continues on the next one, indented, is one with it."""
    lines: list[str] = []
    for line in text.splitlines():
        if lines and "#" in lines[-1] and line[:1] == " " and line.lstrip().startswith("#"):
            lines[-1] += " " + line.lstrip(" #")
        else:
            lines.append(line)
    return lines
