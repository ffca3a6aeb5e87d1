# SPDX-License-Identifier: Apache-2.0
"""What compared runs are called: what differs between their configurations, ``seed=1``, else their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clip_align.errors import visible
from clip_align.runs.folder import RunFolder

MOST_KEYS = 3  # in a label
NOT_OF_TRAINING = ("name", "paths", "tracker", "resume", "dry_run")  # differ without another result
SEED = "seed"

Options = Mapping[str, str]


def conditions(folders: Sequence[Path]) -> list[tuple[str, str] | None]:
    """(condition, seed) of each run; None for one without a configuration or seed.

    Runs that differ in the seed alone have one condition. It is called by what differs between the conditions
    (``optimizer.schedule=constant``), ``all runs`` where there is one, by its first run where that leaves two alike.
    """
    configs = [_options(folder) for folder in folders]
    others = [{key: v for key, v in config.items() if key != SEED} for config in configs]
    found = [other for other, config in zip(others, configs, strict=True) if SEED in config]
    different = list({tuple(sorted(other.items())): other for other in found}.values())
    keys = _differing(different)
    names = [_label(keys, other) or "all runs" for other in different]
    if len(keys) > MOST_KEYS or len(set(names)) < len(names):
        names = [f"as {run_names(folders)[others.index(other)]}" for other in different]
    return [
        (names[different.index(other)], config[SEED]) if SEED in config else None
        for other, config in zip(others, configs, strict=True)
    ]


def run_labels(folders: Sequence[Path]) -> list[str]:
    """A label for each run, all different: ``seed=1``, ``optimizer.lr=0.001, seed=1``.

    Runs that differ in more than `MOST_KEYS` keys are called by their names; the members of a sweep, whose names are
    numbers, by as many keys as tell most of them apart. Names where the configurations are the same, or one is missing.
    """
    names, configs = run_names(folders), [_options(folder) for folder in folders]
    keys = _differing(configs)
    if not keys or not all(configs):
        return names
    if len(keys) > MOST_KEYS:
        if not any(_numbered(folder) for folder in folders):
            return names
        keys = _telling(keys, configs)
    labels = [_label(keys, config) for config in configs]
    return [
        label if labels.count(label) == 1 else f"{label} ({name})" for label, name in zip(labels, names, strict=True)
    ]


def seed_groups(folders: Sequence[Path]) -> list[str]:
    """For each run, what it and the others are called that differ in the seed alone; empty where there are none.

    ``mean of 4 seeds``, or ``optimizer.schedule=constant, mean of 4 seeds`` where there are several such groups.
    """
    configs = [_options(folder) for folder in folders]
    without = [{key: value for key, value in config.items() if key != SEED} for config in configs]
    keys = _differing(without)
    keys = keys if len(keys) <= MOST_KEYS else _telling(keys, without)
    found = []
    for config, rest in zip(configs, without, strict=True):
        seeds = {c.get(SEED) for c, other in zip(configs, without, strict=True) if other == rest}
        label = _label(keys, rest)
        several = f"{label}, mean of {len(seeds)} seeds" if label else f"mean of {len(seeds)} seeds"
        found.append(several if config and len(seeds) > 1 else "")
    return found


def run_names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the folders' paths that differ; of a sweep's member with the sweep's name."""
    parts = [folder.resolve().parts for folder in folders]
    depth = 1 + any(_numbered(folder) for folder in folders)
    while depth < max(map(len, parts)) and len({p[-depth:] for p in parts}) < len(set(parts)):
        depth += 1
    return [visible("/".join(p[-depth:])) for p in parts]


def _numbered(folder: Path) -> bool:
    return folder.resolve().name.isdigit()


def _differing(configs: Sequence[Options]) -> list[str]:
    """Keys that do not have the same value everywhere, in the order of the first configuration that has them."""
    keys = dict.fromkeys(key for config in configs for key in config)
    return [key for key in keys if len({config.get(key) for config in configs}) > 1]


def _telling(keys: Sequence[str], configs: Sequence[Options]) -> list[str]:
    """At most `MOST_KEYS` of the keys: each the one that tells most runs apart beside those before it."""
    chosen: list[str] = []

    def told_apart(key: str) -> int:
        return len({tuple(config.get(k) for k in (*chosen, key)) for config in configs})

    for _ in range(MOST_KEYS):
        best = max(keys, key=told_apart)  # the first of several
        if chosen and told_apart(best) == told_apart(chosen[-1]):
            break
        chosen.append(best)
    return [key for key in keys if key in chosen]


def _label(keys: Sequence[str], config: Options) -> str:
    return visible(", ".join(f"{key}={config.get(key, 'null')}" for key in keys))


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
