# SPDX-License-Identifier: Apache-2.0
"""What a figure of a run shows: panels of curves and reference lines, taken from the record alone.

Nothing here draws. There is a panel for each family, those of the paper (arXiv 2508.09814) first and in its order:
accuracy, human alignment, texture bias, loss of accuracy under noise. A benchmark may name another panel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from clip_align.record.record import History
from clip_align.record.schema import SHOWN, BenchmarkLine, ScoreEntry, family_of, measured, name_of
from clip_align.report.score_curves import Curve, Gap, Point, curve_of, gaps_of, tagged, tags

TITLES = {  # in the order of the panels; others follow under their own names
    "zero_shot": "Zero-shot accuracy",
    "human": "Human alignment",
    "texture": "Texture bias",
    "noise": "Accuracy lost to noise",
    "similarity": "Similarity judgements",
    "saliency": "Saliency",
}
FORMER = {"accuracy": "zero_shot", "alignment": "human"}  # names of panels in records of release 0.1
FORMER_DEFAULT = {"similarity": "alignment", "saliency": "alignment"}  # panels of families in these records
MOST_CURVES = 8  # in one panel: as many as there are colours
MOST_NAMES = 22  # of curves and lines beside one panel, where several benchmarks share it

Kind = Literal["chance", "baseline", "ceiling"]
Member = tuple[BenchmarkLine, ScoreEntry]


@dataclass(frozen=True)
class Reference:
    """A horizontal line; ``spread`` is one standard deviation, where the value is a mean.

    ``keys`` are the full keys of the scores it belongs to. Where the panel has several headlines, ``owner`` is the key
    of the one whose colour it has, and ``tag`` what names it (its benchmark); both are empty for a line of all.
    """

    label: str
    value: float
    kind: Kind
    keys: tuple[str, ...] = ()
    spread: float | None = None
    owner: str = ""
    tag: str = ""

    @property
    def name(self) -> str:
        """Label and tag."""
        return tagged(self.label, self.tag)


@dataclass(frozen=True)
class Bound:
    """The upper limit of a curve that moves with accuracy, as (samples, value)."""

    label: str
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Peak:
    """The range in which the peak of the headline ``key`` lies, in samples, once a verdict exists."""

    key: str
    start: int
    end: int


@dataclass(frozen=True)
class Panel:
    """Everything one panel draws.

    ``note`` says what is re-made or a stand-in. ``gaps`` are stretches in which a headline has no value. ``axis`` are
    the limits that no interval widens.
    """

    name: str
    title: str
    note: str
    curves: tuple[Curve, ...]
    references: tuple[Reference, ...] = ()
    gaps: tuple[Gap, ...] = ()
    axis: tuple[float, float] = (0.0, 1.0)
    bounds: tuple[Bound, ...] = ()
    peaks: tuple[Peak, ...] = ()


def panels(history: History) -> list[Panel]:
    """The panels of a run, those without a benchmark left out; only the loss where a run has none at all."""
    found: dict[str, list[Member]] = {name: [] for name in TITLES}
    for benchmark in history.benchmarks.values():
        for score in benchmark["scores"]:
            if score["role"] in SHOWN:
                found.setdefault(_panel_of(benchmark, score), []).append((benchmark, score))
    built = []
    for name, members in found.items():
        parts = _parts(members)
        title = TITLES.get(name, name.replace("_", " ").capitalize())
        for number, part in enumerate(parts, 1):
            of = f" ({number} of {len(parts)})" if len(parts) > 1 else ""
            built.append(_panel(name, title + of, part, history))
    return built or _loss(history)


def note_of(benchmarks: Iterable[BenchmarkLine]) -> str:
    """What is human data and what is a stand-in, in a panel's second line; the page has it at full length."""
    names: dict[str, list[str]] = {}
    for benchmark in benchmarks:
        human, stand_in = _first_clause(benchmark["human_data"]), _first_clause(benchmark["stand_in"])
        parts = ["no human data" if human.lower() in ("", "none", "no") else human]
        parts += [stand_in] if stand_in.lower() not in ("", "none") else []
        names.setdefault(" · ".join(parts), []).append(name_of(benchmark["key"]))
    return "; ".join(f"{', '.join(dict.fromkeys(of))} · {what}" for what, of in names.items())


def _first_clause(text: object) -> str:
    return str(text).split(";")[0].strip()


def _panel_of(benchmark: BenchmarkLine, score: ScoreEntry) -> str:
    family, name = family_of(benchmark["key"]), benchmark["panel"]
    name = family if name == FORMER_DEFAULT.get(family) else FORMER.get(name, name)
    if name == "noise" and score["name"].startswith("accuracy"):
        return "zero_shot"  # clean and noisy accuracy belong into one panel, as in the paper
    return name


def _parts(members: Sequence[Member]) -> list[list[Member]]:
    """The members of a panel in as many parts as their number needs; a benchmark is divided only if it must be."""
    by_benchmark: dict[str, list[Member]] = {}
    for member in members:
        by_benchmark.setdefault(member[0]["key"], []).append(member)
    parts: list[list[Member]] = []
    for group in by_benchmark.values():
        ordered = sorted(group, key=lambda m: m[1]["role"] != "headline")  # stable: headlines first
        together = [*parts[-1], *ordered] if parts else ordered
        if parts and len(together) <= MOST_CURVES and sum(map(_names_needed, together)) <= MOST_NAMES:
            parts[-1] = together
        else:
            parts += [ordered[i : i + MOST_CURVES] for i in range(0, len(ordered), MOST_CURVES)]
    return parts


def _names_needed(member: Member) -> int:
    """How many names a score has beside its panel: its own, and those of a headline's lines."""
    score = member[1]
    return 1 + (len(list(_levels(score))) if score["role"] == "headline" else 0)


def _panel(name: str, title: str, members: list[Member], history: History) -> Panel:
    members = sorted(members, key=lambda m: m[1]["role"] != "headline")
    curves = _distinct([curve_of(history, b, s) for b, s in members])
    leading = [c for c in curves if c.role == "headline"] or list(curves[:1])
    return Panel(
        name=name,
        title=title,
        note=note_of({b["key"]: b for b, _ in members}.values()),
        curves=curves,
        references=tuple(_references(members, curves, leading)),
        gaps=tuple(gap for curve in leading for gap in gaps_of(curve)),
        axis=(min(s["axis"][0] for _, s in members), max(s["axis"][1] for _, s in members)),
        bounds=tuple(_relative_bounds(members, curves, history)),
        peaks=tuple(peak for curve in leading if (peak := _peak(curve, history))),
    )


def _distinct(curves: Sequence[Curve]) -> tuple[Curve, ...]:
    """Curves with tags: where headlines of several benchmarks share the panel, and where labels are the same."""
    found = tags([(c.label, c.key) for c in curves])
    owners = list(dict.fromkeys(_benchmark_of(c.key) for c in curves))
    if len({_benchmark_of(c.key) for c in curves if c.role == "headline"}) > 1:
        names = dict(zip(owners, _names(owners), strict=True))
        found = [tag or names[_benchmark_of(c.key)] for c, tag in zip(curves, found, strict=True)]
    return tuple(replace(c, tag=tag) for c, tag in zip(curves, found, strict=True))


def _benchmark_of(key: str) -> str:
    return key.rpartition("/")[0]


def _names(benchmarks: Sequence[str]) -> list[str]:
    """The benchmarks' names, or their whole keys where two have the same name."""
    names = [name_of(key) for key in benchmarks]
    return names if len(set(names)) == len(names) else list(benchmarks)


def _references(members: Sequence[Member], curves: Sequence[Curve], leading: Sequence[Curve]) -> Iterator[Reference]:
    """Chance of all curves, each value once; ceilings and baselines of each headline."""
    several = len(leading) > 1
    chances: dict[float, list[Curve]] = {}
    for (_, score), curve in zip(members, curves, strict=True):
        if score["chance"] is not None:
            chances.setdefault(round(score["chance"], 6), []).append(curve)
    first = {_benchmark_of(c.key): c.key for c in reversed(leading)}  # headline of each benchmark
    for value, sharing in chances.items():
        if len(chances) == 1 and (len(sharing) > 1 or len(members) == 1):
            label = "chance"
        else:
            label = f"chance: {', '.join(dict.fromkeys(_names_by_chance(sharing, chances)))}"
        owners = {c.key if c in leading else first.get(_benchmark_of(c.key), "") for c in sharing}
        owner = owners.pop() if several and len(owners) == 1 else ""
        yield Reference(label, value, "chance", tuple(c.key for c in sharing), owner=owner)
    tags_of = dict(zip((c.key for c in leading), _tags_of_leading(leading), strict=True))
    for (_, score), curve in zip(members, curves, strict=True):
        if curve.key in tags_of:
            owner = curve.key if several else ""
            for line in _levels(score):
                yield replace(line, keys=(curve.key,), owner=owner, tag=tags_of[curve.key])


def _names_by_chance(sharing: Sequence[Curve], chances: Mapping[float, Sequence[Curve]]) -> Iterator[str]:
    """What names those who share a chance: their benchmark where all its scores do, else each score."""
    for curve in sharing:
        key = _benchmark_of(curve.key)
        values = [v for v, curves in chances.items() if any(_benchmark_of(c.key) == key for c in curves)]
        several = len({_benchmark_of(c.key) for curves in chances.values() for c in curves}) > 1
        yield name_of(key) if several and len(values) == 1 else curve.name


def _tags_of_leading(leading: Sequence[Curve]) -> list[str]:
    """What names the lines of each headline: its benchmark, or its label where a benchmark has several."""
    if len(leading) == 1:
        return [""]
    owners = [_benchmark_of(c.key) for c in leading]
    if len(set(owners)) == len(owners):
        return _names(owners)
    return [c.name for c in leading]


def _levels(score: ScoreEntry) -> Iterator[Reference]:
    """Ceilings and baselines of a score; what ends in `` sd`` is the spread of the one before it."""
    for label, value in score["ceilings"].items():
        yield Reference(label, value, "ceiling")
    baselines = score["baselines"]
    for label, value in baselines.items():
        if not label.endswith((" sd", "_sd")):
            spread = baselines.get(f"{label} sd", baselines.get(f"{label}_sd"))
            yield Reference(label.replace("_", " "), value, "baseline", spread=spread)


def _relative_bounds(members: Sequence[Member], curves: Sequence[Curve], history: History) -> Iterator[Bound]:
    """Upper limit 1 - chance / clean accuracy of a relative drop: it rises with nothing changing but accuracy.

    One for each benchmark that has such a drop; a benchmark's own value (`relative_drop_limit`) goes first.
    """
    done: set[str] = set()
    for (benchmark, score), curve in zip(members, curves, strict=True):
        key = benchmark["key"]
        if key in done or not score["name"].startswith("relative_drop") or "@" in score["name"]:
            continue
        chance = next((s["chance"] for s in benchmark["scores"] if s["name"] == "accuracy_clean"), None)
        values = []
        for line in history.evaluations:
            noted, clean = measured(line, f"{key}/relative_drop_limit"), measured(line, f"{key}/accuracy_clean")
            limit = noted.value if noted else None
            if limit is None and chance is not None and clean and clean.value is not None and clean.value > chance:
                limit = 1 - chance / clean.value
            if limit is not None:
                values.append((line["samples_seen"], limit))
        if values:
            done.add(key)
            yield Bound(f"limit of {curve.name}", tuple(values))


def _peak(curve: Curve, history: History) -> Peak | None:
    """Range of samples in which the headline's peak lies; None without a verdict about it."""
    last = max(curve.points, key=lambda p: p.step, default=None)
    if last is None or last.step == 0:
        return None
    batch = last.samples / last.step
    for verdict in reversed(history.verdicts):  # of a resumed run the last one counts
        start, end = verdict["peak_from"], verdict["peak_to"]
        if verdict["score"] == curve.key and start is not None and end is not None:
            return Peak(curve.key, round(start * batch), round(end * batch))
    return None


def _loss(history: History) -> list[Panel]:
    """A run without benchmarks still has its training loss."""
    points = tuple(
        Point(line["global_step"], line["samples_seen"], line["train/loss"])
        for line in history.train
        if "train/loss" in line
    )
    if not points:
        return []
    top = max((p.value for p in points if p.value is not None), default=1.0)
    curve = Curve("train/loss", "loss", "headline", points)
    return [Panel("loss", "Training loss", "this run has no benchmarks", (curve,), axis=(0.0, top))]
