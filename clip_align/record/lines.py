# SPDX-License-Identifier: Apache-2.0
"""Validation of a record's lines, so that readers need not check types again.

Text from data (file names, captions, options) is made visible here, for all readers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard, cast

from clip_align.errors import visible
from clip_align.record.schema import AnyLine, VerdictLine, completed

POSITION = ("global_step", "samples_seen", "epoch", "wall_seconds")  # numbers of every line
NUMBERS = {  # that some lines hold, by kind
    "event": ("max_steps", "regular_every"),
    "verdict": tuple(
        key
        for key, kind in VerdictLine.__annotations__.items()
        if str(getattr(kind, "__forward_arg__", kind)).startswith(("int", "float"))
    ),
}
WINDOWS = ("rise/earlier", "rise/later", "fall/earlier", "fall/later", "compared/earlier", "compared/later")
OF_A_SCORE = ("chance", "drawn_after")  # numbers, or null
LEVELS = ("ceilings", "baselines")  # of a score: numbers by name
LARGEST = 2**63


def whole(raw: bytes) -> AnyLine | None:
    """A valid line of the record; None for a damaged one (torn, not JSON, or with a wrong type)."""
    try:
        line = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return as_read(line) if isinstance(line, dict) else None


def as_read(line: Mapping[str, Any]) -> AnyLine | None:
    """A line with types checked, defaults filled in and text made visible; None for a damaged one."""
    if not isinstance(line.get("kind"), str):
        return None
    if not all(is_number(line.get(key)) for key in POSITION) or not isinstance(line["global_step"], int):
        return None
    if not all(line.get(key) is None or is_number(line[key]) for key in NUMBERS.get(line["kind"], ())):
        return None
    kept = OF_KIND.get(line["kind"], dict)(line)
    return None if kept is None else cast("AnyLine", _shown(completed(kept)))


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether it is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < LARGEST


def _shown(value: Any) -> Any:
    """The value with all its text made visible, names of nested keys included."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {_shown(key): _shown(v) for key, v in value.items()}
    return [_shown(v) for v in value] if isinstance(value, list) else value


def _measured(line: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluation without values that are neither numbers nor null; reasons and what is no measurement stay."""
    return {
        key: value
        for key, value in line.items()
        if "/" not in key or value is None or is_number(value) or key.endswith("/reason")
    }


def _event(line: Mapping[str, Any]) -> dict[str, Any] | None:
    return dict(line) if isinstance(line.get("event"), str) else None


def _verdict(line: Mapping[str, Any]) -> dict[str, Any] | None:
    """A verdict whose windows are pairs of numbers, and whose stretches name theirs."""
    windows = [line[key] for key in WINDOWS if line.get(key) is not None]
    both = line.get("fall_windows")
    windows += both if isinstance(both, list) else [both] * (both is not None)
    if not all(isinstance(w, list) and len(w) == 2 and all(map(is_number, w)) for w in windows):
        return None
    stretches = line.get("stretches") or []
    return dict(line) if isinstance(stretches, list) and all(map(_is_stretch, stretches)) else None


def _is_stretch(stretch: object) -> bool:
    return (
        isinstance(stretch, Mapping)
        and isinstance(stretch.get("direction"), str)
        and all(is_number(stretch.get(key)) for key in ("from", "to", "at_least"))
    )


def _benchmark(line: Mapping[str, Any]) -> dict[str, Any] | None:
    """A benchmark with a key, and scores with a name each."""
    scores, options = line.get("scores"), line.get("options")
    if not isinstance(line.get("key"), str) or not isinstance(scores, list):
        return None
    if not isinstance(options, Mapping | None):
        return None
    return dict(line) if all(map(_is_score, scores)) else None


def _is_score(score: object) -> bool:
    if not isinstance(score, Mapping) or not isinstance(score.get("name"), str):
        return False
    axis = score.get("axis")
    return (
        all(score.get(key) is None or is_number(score[key]) for key in OF_A_SCORE)
        and isinstance(score.get("has_verdict"), bool | None)
        and all(isinstance(score.get(key, {}), Mapping) for key in LEVELS)
        and all(v is None or is_number(v) for key in LEVELS for v in score.get(key, {}).values())
        and (axis is None or (isinstance(axis, list) and len(axis) == 2 and all(map(is_number, axis))))
    )


OF_KIND: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any] | None]] = {
    "evaluation": _measured,
    "train": _measured,
    "benchmark": _benchmark,
    "verdict": _verdict,
    "event": _event,
}
