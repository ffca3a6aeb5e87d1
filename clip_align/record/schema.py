# SPDX-License-Identifier: Apache-2.0
"""The schema of a record: the keys of each kind of line in ``metrics.jsonl``, with types and defaults.

Readers go through `completed`, which fills in what an older release did not write, so that every key of these classes
can be read by index. ``docs/record.md`` describes each key with its unit; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict, cast

Kind = Literal["benchmark", "train", "evaluation", "verdict", "event"]
Role = Literal["headline", "companion", "detail"]
SHOWN: tuple[Role, ...] = ("headline", "companion")  # roles that figures, console and trackers show


class Line(TypedDict):
    """The keys of every line: its kind and the run position."""

    kind: Kind
    global_step: int
    samples_seen: int
    epoch: int
    wall_seconds: float


class ScoreEntry(TypedDict):
    """A score as a benchmark line describes it; its variants (``srocc@layer_6``) are not listed."""

    name: str
    label: str
    direction: str
    chance: float | None
    unit: str
    axis: list[float]
    ceilings: dict[str, float]
    baselines: dict[str, float]
    context: dict[str, float]
    context_source: str
    role: Role
    drawn_after: int
    drawn_after_of: str | None
    has_verdict: bool
    higher_is_better: bool | None
    by: str | None
    value: str | None
    clusters: list[str]


class BenchmarkLine(Line):
    """The description of a benchmark; a later line with the same key replaces an earlier one."""

    key: str
    version: int | None
    human_data: str
    stand_in: str
    source: str
    licence: str
    options: dict[str, Any]
    n: int | None
    weights: str
    panel: str
    scores: list[ScoreEntry]


# Keys with a slash are no identifiers, hence the functional form.
TrainLine = TypedDict(
    "TrainLine",
    {
        "kind": Kind,
        "global_step": int,
        "samples_seen": int,
        "epoch": int,
        "wall_seconds": float,
        "train/loss": NotRequired[float | None],
        "train/logit_scale": NotRequired[float | None],
        "train/logit_bias": NotRequired[float | None],
        "train/lr": NotRequired[float | None],
        "train/grad_norm": NotRequired[float | None],
        "train/skipped_steps": NotRequired[int],
        "time/samples_per_second": NotRequired[float | None],
        "time/data_wait_fraction": NotRequired[float | None],
        "time/left_seconds": NotRequired[float | None],
    },
)

# Beside these keys it holds ``<key>/<score>`` with ``/low`` and ``/high``, or null with ``/reason``, and notes
# ``<key>/<note>``: `measured` reads them.
EvaluationLine = TypedDict(
    "EvaluationLine",
    {
        "kind": Kind,
        "global_step": int,
        "samples_seen": int,
        "epoch": int,
        "wall_seconds": float,
        "time/evaluation_seconds": NotRequired[float | None],
        "time/evaluation_fraction": NotRequired[float | None],
        "weights/ema/span_steps": NotRequired[float],
        "weights/ema/carried_fraction": NotRequired[float],
    },
)


class StretchEntry(TypedDict):
    """Steps between which a curve certainly ``rose`` or ``fell`` (its direction), and by at least how much."""

    direction: str
    first: int
    last: int
    at_least: float


VerdictLine = TypedDict(
    "VerdictLine",
    {
        "kind": Kind,
        "global_step": int,
        "samples_seen": int,
        "epoch": int,
        "wall_seconds": float,
        "score": str,
        "word": str | None,
        "sentence": str,
        "reason": str | None,
        "rule": int,
        "start": float | None,
        "end": float | None,
        "rise": float | None,
        "rise/low": float | None,
        "rise/earlier": list[int] | None,
        "rise/earlier/value": float | None,
        "rise/later": list[int] | None,
        "rise/later/value": float | None,
        "fall": float | None,
        "fall/low": float | None,
        "fall/high": float | None,
        "fall/earlier": list[int] | None,
        "fall/earlier/value": float | None,
        "fall/later": list[int] | None,
        "fall/later/value": float | None,
        "compared": float | None,
        "compared/earlier": list[int] | None,
        "compared/earlier/value": float | None,
        "compared/later": list[int] | None,
        "compared/later/value": float | None,
        "smallest_detectable_fall": float | None,
        "stretches": list[StretchEntry],
        "peak_from": int | None,
        "peak_to": int | None,
        "jitter": float | None,
        "jitter_lag_1": float | None,
        "jitter_lag_1_used": float | None,
        "evaluations": int,
        "clusters": int,
        "left_out": int,
        "unit": str | None,
        "naive_fall": float | None,
        "naive_fall/low": float | None,
        "naive_fall/high": float | None,
        "naive_fall/label": str,
        "rise/high": float | None,
        "peak": float | None,
        "flat_margin": float | None,
        "dropped_resamples": float | None,
    },
)


class EventLine(Line):
    """An event of the run; its further keys depend on ``event``."""

    event: str
    message: str
    run: NotRequired[str]
    max_steps: NotRequired[int | None]
    global_batch: NotRequired[int]
    ranks: NotRequired[int]
    workers: NotRequired[int]
    evaluations_planned: NotRequired[int | None]
    regular_every: NotRequired[int]
    contrastive_batch: NotRequired[int]
    given_up: NotRequired[list[str]]
    file: NotRequired[str]
    seconds: NotRequired[float]
    stalled_seconds: NotRequired[float]
    fraction: NotRequired[float]
    skipped_steps: NotRequired[int]
    exit_code: NotRequired[int]
    step: NotRequired[int]
    keys: NotRequired[list[str]]
    skipped: NotRequired[int]
    causes: NotRequired[dict[str, int]]
    stand_ins: NotRequired[int]
    copies: NotRequired[int]
    filtered: NotRequired[int]
    kept: NotRequired[int]


AnyLine = BenchmarkLine | TrainLine | EvaluationLine | VerdictLine | EventLine

SCORE_DEFAULTS: Mapping[str, Any] = {
    "label": "",  # its name
    "direction": "",
    "chance": None,
    "unit": "",
    "axis": (0.0, 1.0),
    "ceilings": {},
    "baselines": {},
    "context": {},
    "context_source": "",
    "role": "detail",
    "drawn_after": 1,
    "drawn_after_of": None,
    "has_verdict": False,  # of release 0.1: whether it has a flat_margin
    "higher_is_better": None,
    "by": None,
    "value": None,
    "clusters": [],
}
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "benchmark": {
        "version": None,
        "human_data": "",
        "stand_in": "",
        "source": "",
        "licence": "",
        "options": {},
        "n": None,
        "weights": "raw",
        "panel": "",  # its family
        "scores": (),
    },
    "verdict": {
        **dict.fromkeys(VerdictLine.__annotations__.keys() - Line.__annotations__.keys()),  # None
        "score": "",
        "sentence": "",
        "naive_fall/label": "",
        "rule": 1,
        "stretches": (),
        "evaluations": 0,
        "clusters": 0,
        "left_out": 0,
    },
    "event": {"message": ""},
}


class Measured(NamedTuple):
    """A score at one evaluation: ``value`` None where it is undefined, for ``reason``."""

    value: float | None
    low: float | None
    high: float | None
    reason: str | None


def completed(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line with defaults for missing keys of its kind; further keys are kept."""
    found = {**line, **_lacking(line, DEFAULTS.get(str(line.get("kind")), {}))}
    if found.get("kind") == "benchmark":
        found["panel"] = found["panel"] or family_of(str(found["key"]))
        found["scores"] = [completed_score(score) for score in found["scores"]]
    return found


def completed_score(score: Mapping[str, Any]) -> ScoreEntry:
    """The description of a score with defaults for missing keys; ``label`` defaults to its name."""
    found: dict[str, Any] = {**score, **_lacking(score, SCORE_DEFAULTS)}
    if score.get("has_verdict") is None:
        found["has_verdict"] = score.get("flat_margin") is not None  # what release 0.1 wrote
    found["label"] = found["label"] or found["name"]
    for levels in ("ceilings", "baselines", "context"):
        found[levels] = {name: value for name, value in found[levels].items() if value is not None}
    found["axis"] = sorted(map(float, found["axis"]))  # figures need (low, high)
    return cast("ScoreEntry", found)


def _lacking(line: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    # null counts as missing: a key without a value is read as its default
    return {key: value for key, value in defaults.items() if line.get(key) is None}


def measured(line: Mapping[str, Any], key: str) -> Measured | None:
    """The score ``family/name/score`` at an evaluation; None if the line does not contain it."""
    if key not in line:
        return None
    value = line[key]
    reason = None if value is not None else str(line.get(f"{key}/reason") or "undefined")
    return Measured(value, line.get(f"{key}/low"), line.get(f"{key}/high"), reason)


def family_of(key: str) -> str:
    """``human`` of ``human/tid2013_remade``."""
    return key.partition("/")[0]


def name_of(key: str) -> str:
    """``tid2013_remade`` of ``human/tid2013_remade``."""
    return key.partition("/")[2] or key


def score_key(benchmark: BenchmarkLine, score: ScoreEntry) -> str:
    """The full key of a score: ``family/name/score``."""
    return f"{benchmark['key']}/{score['name']}"
