# SPDX-License-Identifier: Apache-2.0
"""What compared runs are called: what differs between their configurations, ``seed=1``, else their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clip_align.errors import visible
from clip_align.runs.folder import RunFolder

MOST_KEYS = 3  # in a label; runs that differ in more are called by their names
NOT_OF_TRAINING = ("name", "paths", "tracker", "resume", "dry_run")  # differ without another result


SEED = "seed"


def conditions(folders: Sequence[Path]) -> list[tuple[str, str] | None]:
    """(condition, seed) of each run; None for one without a configuration or seed.

    Runs that differ in the seed alone have one condition. It is called by what differs between the conditions
    (``schedule=constant``), ``all runs`` where there is one, and by its first run where they differ in much.
    """
    configs = [_options(folder) for folder in folders]
    others = [{key: v for key, v in config.items() if key != SEED} for config in configs]
    found = [other for other, config in zip(others, configs, strict=True) if SEED in config]
    different = list({tuple(sorted(other.items())): other for other in found}.values())
    names = _by_difference(different)
    if names is None:
        names = [f"as {run_names(folders)[others.index(other)]}" for other in different]
    return [
        (names[different.index(other)], config[SEED]) if SEED in config else None
        for other, config in zip(others, configs, strict=True)
    ]


def _by_difference(configs: Sequence[Mapping[str, str]]) -> list[str] | None:
    """``lr=0.001, loss=x`` for each: what differs between them; None where that is much."""
    if len(configs) == 1:
        return ["all runs"]
    keys = [key for key in dict.fromkeys(k for c in configs for k in c) if len({c.get(key) for c in configs}) > 1]
    if not 0 < len(keys) <= MOST_KEYS:
        return None
    shorts = [key.rpartition(".")[2] for key in keys]
    words = [short if shorts.count(short) == 1 else key for key, short in zip(keys, shorts, strict=True)]
    return [visible(", ".join(f"{w}={c.get(k, 'null')}" for w, k in zip(words, keys, strict=True))) for c in configs]


def run_labels(folders: Sequence[Path]) -> list[str]:
    """A label for each run, all different: ``seed=1``, ``lr=0.001, seed=1``; names where these would be the same."""
    names, configs = run_names(folders), [_options(folder) for folder in folders]
    labels = _by_difference(configs) if all(configs) and len(configs) > 1 else None
    if labels is None:
        return names
    return [
        label if labels.count(label) == 1 else f"{label} ({name})" for label, name in zip(labels, names, strict=True)
    ]


def run_names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the folders' paths that differ."""
    parts = [folder.resolve().parts for folder in folders]
    depth = 1
    while depth < max(map(len, parts)) and len({p[-depth:] for p in parts}) < len(set(parts)):
        depth += 1
    return [visible("/".join(p[-depth:])) for p in parts]


def _options(folder: Path) -> dict[str, str]:
    """Dotted keys of a run's configuration that training depends on, with their values as typed; empty without one."""
    import yaml  # type: ignore[import-untyped]

    try:
        config = yaml.safe_load(RunFolder(folder).config_yaml.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    found = dict(_flat("", config)) if isinstance(config, Mapping) else {}
    return {key: value for key, value in found.items() if key.split(".")[0] not in NOT_OF_TRAINING}


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), inner)
    elif isinstance(value, list):
        yield prefix, f"[{','.join(map(str, value))}]"
    else:
        yield prefix, "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
