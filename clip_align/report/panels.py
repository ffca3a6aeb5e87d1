# SPDX-License-Identifier: Apache-2.0
"""What a figure of a run shows: panels of curves and reference lines, taken from the record alone.

Nothing here draws. There is a panel for each family, those of the paper (arXiv 2508.09814) first and in its order:
accuracy, human alignment, texture bias, loss of accuracy under noise. A benchmark may name another panel. Loss and
logit scale of the training come last.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from clip_align.record.record import History
from clip_align.record.schema import SHOWN, BenchmarkLine, ScoreEntry, family_of, name_of
from clip_align.report.labels import number
from clip_align.report.reference_lines import (
    Bound,
    Member,
    Reference,
    benchmark_names,
    imagenet_lines,
    levels,
    references,
    relative_bounds,
)
from clip_align.report.score_curves import Curve, Gap, Point, benchmark_of, curve_of, gaps_of, tagged, tags
from clip_align.report.verdict_marks import Marks, Steps, marks_of

TITLES = {  # in the order of the panels; others follow under their own names
    "zero_shot": "Zero-shot accuracy",
    "human": "Human alignment",
    "texture": "Texture bias",
    "noise": "Accuracy lost to noise",
    "psychophysics": "Psychophysics",
    "similarity": "Similarity judgements",
    "saliency": "Saliency",
}
ONE_EACH = frozenset({"psychophysics"})  # their benchmarks have little in common: a panel for each
FORMER = {"accuracy": "zero_shot", "alignment": "human"}  # names of panels in records of release 0.1
FORMER_DEFAULT = {"similarity": "alignment", "saliency": "alignment"}  # panels of families in these records
TRAINING = (  # key, name, title and note of the small panels
    ("train/loss", "loss", "Training loss", "nats, mean since the line before"),
    ("train/logit_scale", "logit scale", "Logit scale", "factor on the cosines, 1 / temperature"),
    ("train/logit_bias", "logit bias", "Logit bias", "added to the logits"),
)
MOST_CURVES = 8  # in one panel: as many as there are colours
MOST_NAMES = 22  # of curves and lines beside one panel, where several benchmarks share it

BracketRow = tuple[Marks, str, tuple[Steps, ...]]


@dataclass(frozen=True)
class Panel:
    """Everything one panel draws.

    ``note`` says what is re-made or a stand-in. ``gaps`` are stretches in which a leading curve has no value. ``axis``
    are the limits that no interval widens. ``marks`` are those of the verdicts about its curves. ``context``:
    sentences about what others report, below the panel. A ``small`` one has half the height, and shares a cell with
    the next.
    """

    name: str
    title: str
    note: str
    curves: tuple[Curve, ...]
    references: tuple[Reference, ...] = ()
    gaps: tuple[Gap, ...] = ()
    axis: tuple[float, float] = (0.0, 1.0)
    bounds: tuple[Bound, ...] = ()
    marks: tuple[Marks, ...] = ()
    context: tuple[str, ...] = ()
    small: bool = False

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw, nor a stretch that says why."""
        return not self.gaps and not any(curve.defined for curve in self.curves)


def panels(history: History) -> list[Panel]:
    """The panels of a run, those without a benchmark left out, and small ones of its loss and logit scale at the end.

    A companion with a verdict of its own has a panel of its own, as large as its headline's: on one axis with it
    neither's changes could be seen. Of `ONE_EACH`, every benchmark has a panel, with its own reference lines.
    """
    found: dict[tuple[str, str], list[Member]] = {(name, ""): [] for name in TITLES}
    for benchmark in history.benchmarks.values():
        for score in benchmark["scores"]:
            if score["role"] in SHOWN:
                name = _panel_of(benchmark, score)
                apart = name_of(benchmark["key"]) if name in ONE_EACH else _apart(benchmark, score)
                found.setdefault((name, apart), []).append((benchmark, score))
    built = []
    order = {name: i for i, name in enumerate(dict.fromkeys(name for name, _ in found))}
    for (name, apart), members in sorted(found.items(), key=lambda item: order[item[0][0]]):
        parts = _parts(members)
        title = TITLES.get(name, name.replace("_", " ").capitalize())
        if members and all(of_one_cue(b, s) for b, s in members):
            title = "Texture and shape"
        if apart and parts:
            of = apart.replace("_", " ") if name in ONE_EACH else next(s["label"] for _, s in members if _leads(s))
            title += f": {of}"
        for place, part in enumerate(parts, 1):
            of = f" ({place} of {len(parts)})" if len(parts) > 1 else ""
            built.append(_panel(name, title + of, part, history))
    return [*built, *_training(history, small=bool(built))]


def of_one_cue(benchmark: BenchmarkLine, score: ScoreEntry) -> bool:
    """Whether a score is accuracy by texture or by shape alone: there is no conflict of the two, hence no bias."""
    return family_of(benchmark["key"]) == "texture" and score["name"].startswith(("accuracy", "kept"))


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


def _apart(benchmark: BenchmarkLine, score: ScoreEntry) -> str:
    """Name of the companion with a verdict that a score is, or is another form of (``…_two_way``); empty for others."""
    for other in benchmark["scores"]:
        if other["role"] == "companion" and other["has_verdict"]:
            name = other["name"]
            if score["name"] == name or score["name"].startswith((f"{name}_", f"{name}@")):
                return name
    return ""


def _leads(score: ScoreEntry) -> bool:
    return score["role"] == "headline" or score["has_verdict"]


def _parts(members: Sequence[Member]) -> list[list[Member]]:
    """The members of a panel in as many parts as their number needs; a benchmark is divided only if it must be."""
    by_benchmark: dict[str, list[Member]] = {}
    for member in members:
        by_benchmark.setdefault(member[0]["key"], []).append(member)
    parts: list[list[Member]] = []
    for group in by_benchmark.values():
        ordered = sorted(group, key=lambda m: not _leads(m[1]))  # stable: leading ones first
        together = [*parts[-1], *ordered] if parts else ordered
        if parts and len(together) <= MOST_CURVES and sum(map(_names_needed, together)) <= MOST_NAMES:
            parts[-1] = together
        else:
            parts += [ordered[i : i + MOST_CURVES] for i in range(0, len(ordered), MOST_CURVES)]
    return parts


def _names_needed(member: Member) -> int:
    """How many names a score has beside its panel: its own, and those of a leading one's lines."""
    score = member[1]
    return 1 + (len(list(levels(score))) if _leads(score) else 0)


def _panel(name: str, title: str, members: list[Member], history: History) -> Panel:
    members = sorted(members, key=lambda m: not _leads(m[1]))
    leading = {id(s) for _, s in members if _leads(s)} or {id(members[0][1])}
    curves = _distinct([replace(curve_of(history, b, s), leads=id(s) in leading) for b, s in members])
    return Panel(
        name=name,
        title=title,
        note=note_of({b["key"]: b for b, _ in members}.values()),
        curves=curves,
        references=tuple(references(members, curves)),
        gaps=tuple(gap for curve in curves if curve.leads for gap in gaps_of(curve)),
        axis=(min(s["axis"][0] for _, s in members), max(s["axis"][1] for _, s in members)),
        bounds=(*relative_bounds(members, curves, history), *imagenet_lines(members, history)),
        marks=tuple(_marks(curves, history)),
        context=tuple(_contexts([score for _, score in members if score["context"]])),
    )


def bracket_rows(panel: Panel) -> Iterator[BracketRow]:
    """What is bracketed along the top of a panel, a row for each: the verdict's marks, words, and ranges of steps."""
    for marks in panel.marks:
        tag = tag_of(panel, marks.key)
        if marks.windows:
            yield marks, tagged("windows compared", tag), marks.windows
        if marks.peak:
            yield marks, tagged("range of the peak", tag), (marks.peak,)


def tag_of(panel: Panel, key: str) -> str:
    """What tells the marks of the score ``key`` from those of another in the panel; empty for the only ones."""
    return next((c.tag for c in panel.curves if c.key == key), "") if len(panel.marks) > 1 else ""


def _contexts(scores: Sequence[ScoreEntry]) -> Iterator[str]:
    """``For comparison, on TID2013's own images: CLIP .719; level alone .744.`` Several scores are named."""
    for score in scores:
        values = "; ".join(f"{name} {number(value, 3)}" for name, value in score["context"].items())
        of = f" with {score['label']}" if len(scores) > 1 else ""
        source = f", {score['context_source']}" if score["context_source"] else ""
        yield f"For comparison{of}{source}: {values}."


def _marks(curves: Sequence[Curve], history: History) -> Iterator[Marks]:
    """Those of the last verdict about each curve: of a resumed run the last one counts."""
    last = {verdict["score"]: verdict for verdict in history.verdicts}
    for curve in curves:
        if curve.key in last:
            yield marks_of(last[curve.key])


def _distinct(curves: Sequence[Curve]) -> tuple[Curve, ...]:
    """Curves with tags: where leading ones of several benchmarks share the panel, and where labels are the same."""
    found = tags([(c.label, c.key) for c in curves])
    owners = list(dict.fromkeys(benchmark_of(c.key) for c in curves))
    if len({benchmark_of(c.key) for c in curves if c.leads}) > 1:
        names = dict(zip(owners, benchmark_names(owners), strict=True))
        found = [tag or names[benchmark_of(c.key)] for c, tag in zip(curves, found, strict=True)]
    return tuple(replace(c, tag=tag) for c, tag in zip(curves, found, strict=True))


def _training(history: History, *, small: bool) -> Iterator[Panel]:
    """Panels of loss, logit scale and bias; ``small`` beside those of benchmarks."""
    for key, name, title, note in TRAINING:
        points = tuple(
            Point(line["global_step"], line["samples_seen"], _number(line[key]))  # type: ignore[literal-required]
            for line in history.train
            if key in line
        )
        if any(point.value is not None for point in points):
            curve = Curve(key, name, "headline", points, leads=True)
            yield Panel("training", title, note, (curve,), axis=(-math.inf, math.inf), small=small)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
