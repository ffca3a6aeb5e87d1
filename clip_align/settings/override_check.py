# SPDX-License-Identifier: Apache-2.0
"""Overrides that Hydra would accept, fully or partly, but that are invalid here: refused before composing."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clip_align import open_clip_names
from clip_align.errors import Problem
from clip_align.settings.quoting import as_typed
from clip_align.spelling import nearest

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

SEVERAL = ("callbacks", "tracker")  # groups with any number of chosen options
KINDS = ("data", "loss", "model", "trainer", "intervention")  # groups whose options have a ``kind``
OUTSIDE = (
    "one of a package of your own is there once the package, with its search-path plugin, is installed: "
    "pip install -e <its folder>"
)
HYDRA = ("hydra.searchpath", "hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper")


def problems(override: Override, groups: Sequence[str], options: Callable[[str], Sequence[str]]) -> Iterator[Problem]:
    """All problems of the form of an override, and of the options that it chooses.

    Args:
        override: as parsed.
        groups: names of all groups.
        options: from a group to the names of its options.
    """
    key, line = override.key_or_group, str(override.input_line)
    if override.is_delete():
        yield from _taken_away(key, groups)
    elif of_hydra(key):
        yield from _of_hydra(key, override.value(), line)
    elif key in groups:
        yield from _chosen(key, override.value(), options(key))
    elif key in [f"{group}.kind" for group in KINDS]:  # would leave the keys of another option behind
        group = key.partition(".")[0]
        what = f"follows from the option that is chosen; type {group}={as_bare(override.value())}"
        yield Problem(group, what, shown=line)


def split_by_the_shell(overrides: Sequence[str]) -> Iterator[Problem]:
    """A problem if a shell has expanded braces into several words, of which Hydra would use the last."""
    shards = [typed for typed in overrides if typed.lstrip("+").startswith("data.shards=")]
    if len(shards) > 1:  # a list of several is typed as one word: [a,b]
        yield Problem(
            "data.shards",
            f"typed {len(shards)} times, as a shell does with braces; "
            "put it in quotes: data.shards='/folder/{000..003}.tar'",
        )


def of_hydra(key: str) -> bool:
    """Whether a key is a setting of Hydra itself."""
    return key.replace("/", ".").split(".")[0] == "hydra"  # groups are typed with a slash, keys with a dot


def as_bare(value: object) -> str:
    """A value as typed; text without quotes."""
    return value if isinstance(value, str) else as_typed(value)


def _taken_away(key: str, groups: Sequence[str]) -> Iterator[Problem]:
    group, _, name = key.partition(".")
    if group == "callbacks" and name and "." not in name:  # ~callbacks.world: the only removal
        return
    if key in SEVERAL:
        instead = f"for none {key}=[]"
    elif key in groups:
        instead = f"choose another option: {key}=…"
    else:
        instead = "a key that is not typed has its default"
    yield Problem(key, f"only callbacks can be taken away: ~callbacks.<name>; {instead}", shown=f"~{key}")


def _of_hydra(key: str, value: Any, line: str) -> Iterator[Problem]:
    if not any(key == known or key.startswith(f"{known}.") for known in HYDRA):
        what = "without effect, as Hydra only composes; of its keys type hydra.searchpath, launcher, sweeper"
        yield Problem(key, what, shown=line)
    elif key == "hydra.searchpath":
        if not isinstance(value, list):
            what = "is not a list: hydra.searchpath=[file:///folder,pkg://package.folder]"
            yield Problem(key, f"{as_bare(value)} {what}")
            return
        for place in map(str, value):
            if not _is_there(place):
                what = "give folders of groups: file:///folder or pkg://package.folder"
                yield Problem(key, f"no such place {place}; {what}")


def _is_there(place: str) -> bool:
    scheme, _, path = place.rpartition("://")
    if scheme == "pkg":
        try:
            return importlib.util.find_spec(path.replace("/", ".")) is not None  # imports the parents of path at most
        except (ImportError, ValueError):  # no such parent; a name that is none
            return False
    return Path(path).is_dir() if scheme in ("file", "") else True  # other schemes belong to plugins: Hydra looks


def _chosen(group: str, value: Any, there: Sequence[str]) -> Iterator[Problem]:
    if isinstance(value, dict):
        keys = " ".join(f"{group}.{name}={as_bare(inner)}" for name, inner in value.items())
        none = f"for none {group}=[]" if group in SEVERAL else f"valid: {', '.join(there)}"
        what = f"type its keys: {keys}" if keys else none
        yield Problem(group, f"a group takes names of options, not a mapping; {what}")
        return
    if isinstance(value, list) and group not in SEVERAL:
        yield Problem(group, f"one option, not a list; valid: {', '.join(there)}")
        return
    if value is None and group in SEVERAL:  # none of several is an empty list
        yield Problem(group, f"no such option; for none {group}=[]", shown=f"{group}=null")
        return
    for option in map(as_bare, value if isinstance(value, list) else [value]):
        if option not in there:
            what = f"no such option; {_hint(group, option, there)}valid: {', '.join(there)}"
            own = f"; {OUTSIDE}" if group == "callbacks" and nearest(option, there) is None else ""
            yield Problem(group, what + own, shown=f"{group}={option}")


def _hint(group: str, option: str, there: Sequence[str]) -> str:
    """The option or open_clip name that may have been meant."""
    guess = nearest(option.lower().replace("-", "_").replace("/", "_"), there)  # our files: vit_b_32
    guesses = [f"{group}={guess}"] if guess else []
    if group == "model":
        known = {name.lower(): name for name in open_clip_names.offline_names()}
        # open_clip writes ViT-B-32, papers ViT-B/32
        architecture = known.get(option.lower().replace("/", "-")) or known.get(option.lower().replace("_", "-"))
        guesses += [f"model.name={architecture}"] if architecture else []
    return f"did you mean {' or '.join(guesses)}? " if guesses else ""
