# SPDX-License-Identifier: Apache-2.0
"""What a figure of a run shows: panels of curves and reference lines, taken from the record alone.

Nothing here draws. Panels come in the order of the paper (arXiv 2508.09814): accuracy, human alignment,
texture bias, loss of accuracy under noise; panels of outside benchmarks follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from clip_align.record.record import History, drawn

TITLES = {
    "accuracy": "Zero-shot accuracy",
    "alignment": "Human alignment",
    "texture": "Texture bias",
    "noise": "Accuracy lost to noise",
}

Kind = Literal["chance", "baseline", "ceiling"]


def _absent(held: bool) -> str:
    return "not drawn yet" if held else "undefined"


@dataclass(frozen=True)
class Point:
    """One evaluation of one score; ``value`` is None where it is undefined or not to be drawn, for ``reason``.

    ``held`` marks a value that exists but is not drawn yet, because the one before it was undefined.
    """

    step: int
    samples: int
    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None
    held: bool = False

    @property
    def absent(self) -> str:
        """What stands in place of a value that is not there."""
        return _absent(self.held)


@dataclass(frozen=True)
class Curve:
    """A score over training. ``key`` is its full key; where runs are compared, ``run`` is its run's name and
    ``place`` its place among them.
    """

    key: str
    label: str
    role: str
    points: tuple[Point, ...]
    run: str = ""
    place: int = 0

    @property
    def defined(self) -> list[Point]:
        """Points that have a value."""
        return [p for p in self.points if p.value is not None]


@dataclass(frozen=True)
class Reference:
    """A horizontal line; ``spread`` is one standard deviation, where the value is a mean.

    ``keys`` are the full keys of the scores it belongs to.
    """

    label: str
    value: float
    kind: Kind
    keys: tuple[str, ...]
    spread: float | None = None


@dataclass(frozen=True)
class Gap:
    """A stretch of training over which a panel's headline is undefined, and why; ``held`` as of points."""

    start: int  # samples seen
    end: int
    reason: str
    held: bool = False

    @property
    def absent(self) -> str:
        """What is said of it, as of points."""
        return _absent(self.held)


@dataclass(frozen=True)
class Panel:
    """Everything one panel draws.

    ``note`` says what is re-made or a stand-in. ``bound`` is the upper limit of a curve that moves with
    accuracy, as (samples, value). ``peak`` is the range in which the peak lies, in samples, once a
    verdict exists. ``axis`` are the limits that no interval widens.
    """

    name: str
    title: str
    note: str
    curves: tuple[Curve, ...]
    references: tuple[Reference, ...] = ()
    gaps: tuple[Gap, ...] = ()
    axis: tuple[float, float] = (0.0, 1.0)
    bound: tuple[tuple[int, float], ...] = ()
    bound_label: str = ""
    peak: tuple[int, int] | None = None


def panels(history: History) -> list[Panel]:
    """The panels of a run, those without a benchmark left out; only the loss where a run has none at all."""
    found: dict[str, list[tuple[Mapping[str, Any], Mapping[str, Any]]]] = {name: [] for name in TITLES}
    for benchmark in history.benchmarks.values():
        for score in benchmark.get("scores", ()):
            if score.get("role") in ("headline", "companion"):
                found.setdefault(_panel_of(benchmark, score), []).append((benchmark, score))
    built = [_panel(name, members, history) for name, members in found.items() if members]
    return built or _loss(history)


def curve_of(history: History, benchmark: Mapping[str, Any], score: Mapping[str, Any]) -> Curve:
    """One score's curve; the rule that a value is drawn only after several defined ones is applied."""
    key = f"{benchmark['key']}/{score['name']}"
    points = tuple(
        Point(
            int(line["global_step"]),
            int(line["samples_seen"]),
            value,
            low,
            high,
            reason,
            held=value is None and line[key] is not None,
        )
        for line, value, low, high, reason in drawn(history.evaluations, benchmark, score["name"])
    )
    return Curve(key, str(score.get("label") or score["name"]), str(score.get("role", "detail")), points)


def gaps_of(curve: Curve) -> list[Gap]:
    """Stretches over which a curve has no value, each with the last reason why it was undefined, or not drawn."""
    stretches: list[Gap] = []
    points = curve.points
    for i, point in enumerate(points):
        if point.value is not None:
            continue
        end = points[min(i + 1, len(points) - 1)].samples
        reason = point.reason or "undefined"
        if stretches and i and points[i - 1].value is None:
            said = stretches[-1] if point.held else Gap(0, 0, reason)
            stretches[-1] = replace(stretches[-1], end=end, reason=said.reason, held=said.held)
        else:
            stretches.append(Gap(points[max(i - 1, 0)].samples, end, reason, point.held))
    return stretches


def note_of(benchmarks: Iterable[Mapping[str, Any]]) -> str:
    """What is human data and what is a stand-in, in a panel's second line; the page has it at full length."""
    said: dict[str, list[str]] = {}
    for benchmark in benchmarks:
        human = _first_clause(benchmark.get("human_data"))
        parts = ["no human data" if human.lower() in ("", "none", "no") else human]
        stand_in = _first_clause(benchmark.get("stand_in"))
        parts += [stand_in] if stand_in and stand_in.lower() != "none" else []
        said.setdefault(" · ".join(parts), []).append(str(benchmark["key"]).split("/", 1)[-1])
    return "; ".join(f"{', '.join(names)} · {what}" for what, names in said.items())


def _first_clause(text: object) -> str:
    return str(text or "").split(";")[0].strip()


def _panel_of(benchmark: Mapping[str, Any], score: Mapping[str, Any]) -> str:
    name = str(benchmark.get("panel") or str(benchmark["key"]).split("/", 1)[0])
    if name == "noise" and str(score["name"]).startswith("accuracy"):
        return "accuracy"  # clean and noisy accuracy belong into one panel, as in the paper
    return name


def _panel(name: str, members: list[tuple[Mapping[str, Any], Mapping[str, Any]]], history: History) -> Panel:
    if name == "accuracy" and any(str(b["key"]).startswith("zero_shot/") for b, _ in members):
        members = [(b, s) for b, s in members if s["name"] != "accuracy_clean"]  # the same curve on fewer images
    members = sorted(members, key=lambda m: m[1]["role"] != "headline")  # stable: headlines first
    curves = _distinct([(b, curve_of(history, b, s)) for b, s in members])
    benchmarks = {str(b["key"]): b for b, _ in members}
    bound_label, bound = _relative_bound(members, history)
    axes = [sorted(map(float, s.get("axis") or (0.0, 1.0))) for _, s in members]
    return Panel(
        name=name,
        title=TITLES.get(name, name.replace("_", " ").capitalize()),
        note=note_of(benchmarks.values()),
        curves=curves,
        references=tuple(_references(members)),
        gaps=tuple(gaps_of(curves[0])),
        axis=(min(a[0] for a in axes), max(a[1] for a in axes)),
        bound=bound,
        bound_label=bound_label,
        peak=_peak(curves[0], history),
    )


def _distinct(pairs: list[tuple[Mapping[str, Any], Curve]]) -> tuple[Curve, ...]:
    """Curves whose labels differ: the benchmark's name is added where two would be the same."""
    labels = [c.label for _, c in pairs]
    return tuple(
        replace(c, label=f"{c.label} ({str(b['key']).split('/', 1)[-1]})") if labels.count(c.label) > 1 else c
        for b, c in pairs
    )


def _references(members: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Iterator[Reference]:
    """Chance of all curves, each value once; ceilings and baselines of the first headline."""
    members = list(members)
    chances: dict[float, dict[str, str]] = {}  # value: label by key
    for benchmark, score in members:
        if score.get("chance") is not None:
            key, label = f"{benchmark['key']}/{score['name']}", str(score.get("label") or score["name"])
            chances.setdefault(round(float(score["chance"]), 6), {})[key] = label
    for value, labels in chances.items():
        everyone = len(chances) == 1 and len(labels) > 1
        name = "chance" if everyone or len(members) == 1 else f"chance: {', '.join(labels.values())}"
        yield Reference(name, value, "chance", tuple(labels))
    benchmark, first = members[0]
    owner = (f"{benchmark['key']}/{first['name']}",)
    for label, value in (first.get("ceilings") or {}).items():
        yield Reference(str(label), float(value), "ceiling", owner)
    baselines = {str(k): float(v) for k, v in (first.get("baselines") or {}).items() if v is not None}
    for label, value in baselines.items():
        if not label.endswith((" sd", "_sd")):
            spread = baselines.get(f"{label} sd", baselines.get(f"{label}_sd"))
            yield Reference(label.replace("_", " "), value, "baseline", owner, spread)


def _relative_bound(
    members: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]], history: History
) -> tuple[str, tuple[tuple[int, float], ...]]:
    """Upper limit 1 - chance / clean accuracy of a relative drop: it rises with nothing changing but accuracy."""
    for benchmark, score in members:
        if not str(score["name"]).startswith("relative_drop"):
            continue
        note, clean = f"{benchmark['key']}/relative_drop_limit", f"{benchmark['key']}/accuracy_clean"
        chance = next((s.get("chance") for s in benchmark["scores"] if s["name"] == "accuracy_clean"), None)
        values = [(int(e["samples_seen"]), _limit(e.get(note), e.get(clean), chance)) for e in history.evaluations]
        return f"limit of {score.get('label') or score['name']}", tuple((x, y) for x, y in values if y is not None)
    return "", ()


def _limit(noted: float | None, clean: float | None, chance: float | None) -> float | None:
    if noted is not None or clean is None or chance is None or clean <= chance:
        return noted
    return 1 - chance / clean


def _peak(curve: Curve, history: History) -> tuple[int, int] | None:
    """Range of samples in which the headline's peak lies; None without a verdict about it."""
    last = max(curve.points, key=lambda p: p.step, default=None)
    if last is None or last.step == 0:
        return None
    batch = last.samples / last.step
    for verdict in reversed(history.verdicts):  # the last word of a resumed run
        if verdict.get("score") == curve.key and None not in (verdict.get("peak_from"), verdict.get("peak_to")):
            return round(verdict["peak_from"] * batch), round(verdict["peak_to"] * batch)
    return None


def _loss(history: History) -> list[Panel]:
    """A run without benchmarks still has its training loss."""
    points = tuple(
        Point(int(t["global_step"]), int(t["samples_seen"]), t.get("train/loss"))
        for t in history.train
        if "train/loss" in t
    )
    if not points:
        return []
    top = max((p.value for p in points if p.value is not None), default=1.0)
    curve = Curve("train/loss", "loss", "headline", points)
    return [Panel("loss", "Training loss", "this run has no benchmarks", (curve,), axis=(0.0, top))]
