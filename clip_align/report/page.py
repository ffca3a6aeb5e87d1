# SPDX-License-Identifier: Apache-2.0
"""``report.html``: one self-contained page about a run, made from its folder alone.

While the run is under way the page reloads itself. It needs no network: its figure is SVG, drawn in it.
"""

from __future__ import annotations

import json
import shlex
import statistics
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from clip_align.errors import Problem, UserError, visible
from clip_align.record.items import benchmark_keys, read_items
from clip_align.record.lines import POSITION
from clip_align.record.record import History, read
from clip_align.record.schema import BenchmarkLine, ScoreEntry, VerdictLine, completed, score_key
from clip_align.report import sentences
from clip_align.report.figures import SUFFIXES, footnote, max_steps, run_title, started, write_figure
from clip_align.report.labels import count, duration, interval, number, short_home
from clip_align.report.panels import Panel, panels
from clip_align.report.score_curves import curve_of, shown_scores, tagged, tags
from clip_align.report.score_variants import WORDS, all_scores
from clip_align.report.style import REFRESH_SECONDS
from clip_align.report.svg_figure import svg_cells
from clip_align.report.verdict_table import EARLIER_RULE, verdict_table
from clip_align.runs.folder import RunFolder, read_provenance, run_status, write_atomic

TEMPLATE = Path(__file__).with_name("page.html.j2")
MOST_EVENTS = 200
TWO_WAY = "_two_way"  # how the names of scores end whose interval resamples two kinds of clusters


def write(
    folder: Path,
    status: str | None = None,
    *,
    judge: bool = False,
    output: Path | None = None,
    two_way: bool = False,
) -> None:
    """Write ``curves.png`` and ``report.html`` of a run, each atomically; or its figure alone.

    Args:
        folder: the run's.
        status: running, done, failed, interrupted or terminated; `run_status` where not given.
        judge: work out the verdicts that the record of an ended run lacks, or has by an earlier rule only, from its
            items (seconds).
        output: folder to write into, the run's own where not given; or a file (`figures.SUFFIXES`) for the figure.
        two_way: draw the scores whose interval is over other distortions or classes too, else in the table alone.
    """
    run = RunFolder(Path(folder))
    target = RunFolder(Path(output)) if output else run
    history = all_scores(read(run.path))
    status = status or run_status(run)
    if judge and status != "running" and _unjudged(history, run):
        history = judged(history, run)
    if two_way:
        history = with_two_way(history)
    built, alone = panels(history), target.path.suffix in SUFFIXES
    figure = target.path if alone else target.curves_png
    write_figure(figure, built, title=run_title(history), foot=footnote(history))
    if alone:
        return
    here = target.path.resolve() == run.path.resolve()
    refresh = REFRESH_SECONDS if status == "running" and here else None  # nobody writes a copy again
    write_atomic(target.report_html, page(run, history, built, status, refresh))


def with_two_way(history: History) -> History:
    """The record with its two-way scores as companions, which are drawn; UserError where it has none."""
    found: dict[str, BenchmarkLine] = {
        key: {
            **benchmark,
            "scores": [{**s, "role": "companion"} if s["name"].endswith(TWO_WAY) else s for s in benchmark["scores"]],
        }
        for key, benchmark in history.benchmarks.items()
    }
    if found == history.benchmarks:
        raise UserError(
            Problem(
                "two_way",
                f"no score of this run ends in {TWO_WAY}; human/tid2013_remade, texture/world_cue_conflict have them",
            )
        )
    return replace(history, benchmarks=found)


def _unjudged(history: History, run: RunFolder) -> bool:
    """Whether the record lacks verdicts, or has those of an earlier rule and items for new ones."""
    earlier = all(verdict["rule"] == EARLIER_RULE for verdict in history.verdicts)
    return not history.verdicts or (earlier and bool(benchmark_keys(run.path)))


def judged(history: History, run: RunFolder) -> History:
    """The record with the verdicts of its end; as it is where the items are missing."""
    from clip_align.analysis.verdict import verdicts

    last = max((*history.evaluations, *history.events), key=lambda line: line["global_step"], default=None)
    if last is None:
        return history
    where = {"kind": "verdict", **{key: last[key] for key in POSITION}}  # type: ignore[literal-required]
    found = [completed({**where, **fields}) for fields in verdicts(history, partial(read_items, run.path))]
    return replace(history, verdicts=[cast("VerdictLine", line) for line in found])


def page(
    run: RunFolder,
    history: History,
    built: list[Panel],
    status: str,
    refresh: int | None,
) -> str:
    """The page as text.

    Args:
        run: the run's folder, for its configuration and provenance.
        history: its record, with variants described (`all_scores`).
        built: the panels of the figure.
        status: running, done, failed, interrupted, terminated or unknown.
        refresh: seconds until the page reloads itself, None: never.
    """
    provenance = {**read_provenance(run), "status": status}  # at the very end the file is written after the page
    start = started(history)
    verdicts = sentences.verdict_sentences(history)
    return render(
        TEMPLATE,
        name=(start.get("run") if start else None) or run.path.name,
        status=status,
        refresh=refresh,
        facts=_facts(history, status),
        cells=svg_cells(built),
        foot=footnote(history),
        verdicts=verdicts,
        table=verdict_table(history),
        notes=_live_notes(history, run) if status == "running" else [],
        no_verdict=_no_verdict(history, run, verdicts, status),
        courses=[(p.title, sentences.course(p)) for p in built],
        benchmarks=[benchmark_rows(history, b) for b in history.benchmarks.values()],
        warnings=sentences.warnings(history)[-MOST_EVENTS:],
        events=history.events[-MOST_EVENTS:],
        n_events=len(history.events),
        damaged=history.damaged_lines,
        config=_text(run.config_yaml),
        command=command_of(provenance),
        sweep_command=command_of(provenance, "sweep_command"),
        provenance=json.dumps(_known(provenance), indent=2, ensure_ascii=False, default=str),
        written=time.strftime("%Y-%m-%d %H:%M:%S"),
    )


def render(template: Path, **values: Any) -> str:
    """A template of this folder filled in: everything escaped, control characters visible, the home folder as ~."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template.name).render(**values)


def _shown(value: Any) -> Any:
    """A value as it goes into the page; lines of a text stay apart."""
    return short_home("\n".join(map(visible, value.split("\n")))) if type(value) is str else value


def command_of(provenance: Mapping[str, Any], key: str = "command") -> str:
    """A command of the provenance as it can be typed into a shell, empty where there is none."""
    words = provenance.get(key)
    return shlex.join(map(str, words)) if isinstance(words, list) else ""


def benchmark_rows(history: History, benchmark: BenchmarkLine) -> dict[str, Any]:
    """A benchmark for the page: what its data are, and its scores with their latest values."""
    return {
        **{key: benchmark.get(key) for key in ("key", "version", "n")},
        **{key: _in_words(benchmark.get(key)) for key in ("human_data", "stand_in", "source", "licence")},
        "weights": WORDS.get(benchmark["weights"], benchmark["weights"]),
        "options": ", ".join(f"{k} = {v}" for k, v in benchmark["options"].items()),
        "directions": _directions(benchmark),
        "notes": _notes(history, benchmark),
        "scores": [_score_row(history, benchmark, s) for s in benchmark["scores"]],
    }


def _score_row(history: History, benchmark: BenchmarkLine, score: ScoreEntry) -> dict[str, Any]:
    points = curve_of(history, benchmark, score).points
    last = points[-1] if points else None
    references = {**score["baselines"], **{f"{k} (ceiling)": v for k, v in score["ceilings"].items()}}
    return {
        "label": score["label"],
        "name": score["name"],
        "role": score["role"],
        "value": number(last.value, 3) if last and last.value is not None else None,
        "interval": interval(last.low, last.high, 3) if last else "",
        "absent": last.absent if last else "undefined",
        "reason": last.reason if last else "not evaluated yet",
        "step": last.step if last else None,
        "unit": score["unit"],
        "chance": None if score["chance"] is None else number(score["chance"], 3),
        "references": [(k, number(v, 3)) for k, v in references.items()],
    }


def _notes(history: History, benchmark: BenchmarkLine) -> list[tuple[str, str]]:
    """Further numbers of the benchmark's last evaluation, which are no scores."""
    prefix = f"{benchmark['key']}/"
    names = {s["name"] for s in benchmark["scores"]}
    last = next((e for e in reversed(history.evaluations) if any(k.startswith(prefix) for k in e)), None)
    found = {k.removeprefix(prefix): v for k, v in last.items() if k.startswith(prefix)} if last else {}
    return [
        (k.replace("_", " "), number(v, 3) if v % 1 else f"{v:g}")
        for k, v in found.items()
        if k.split("/")[0] not in names and isinstance(v, (int, float))
    ]


def _directions(benchmark: BenchmarkLine) -> list[tuple[str, list[str]]]:
    """What a higher value means, with the labels of the scores it holds for."""
    scores = benchmark["scores"]
    added = tags([(s["label"], score_key(benchmark, s)) for s in scores])
    labels: dict[str, list[str]] = {}
    for score, tag in zip(scores, added, strict=True):
        if score["direction"]:
            labels.setdefault(score["direction"], []).append(tagged(score["label"], tag and score["name"]))
    return list(labels.items())


def _live_notes(history: History, run: RunFolder) -> list[str]:
    from clip_align.analysis.live_fall import live_falls

    return sentences.live_notes(history, live_falls(history, partial(read_items, run.path)))


def _facts(history: History, status: str) -> list[tuple[str, str]]:
    """How far the run is, and what it took: of a run that has ended, the whole time that its record covers."""
    last = max((*history.train[-1:], *history.evaluations[-1:]), key=lambda x: x["global_step"], default=None)
    facts: list[tuple[str, str]] = []
    if last is not None:
        end = max_steps(history)
        facts += [
            ("step", f"{last['global_step']} of {end}" if end else str(last["global_step"])),
            ("samples seen", count(last["samples_seen"])),
        ]
        every = (last, *history.evaluations[-1:], *history.verdicts[-1:], *history.events[-1:])
        taken = max(line["wall_seconds"] for line in every)
        facts.append(("time so far" if status == "running" else "time taken", duration(taken)))
    facts += _speed(history)
    left = history.train[-1].get("time/left_seconds") if history.train else None
    if left is not None and status == "running":
        facts.append(("time left, about", duration(left)))
    facts.append(("evaluations", str(len(history.evaluations))))
    fraction = history.evaluations[-1].get("time/evaluation_fraction") if history.evaluations else None
    if fraction is not None:
        facts.append(("time spent in evaluation", f"{100 * fraction:.0f} %"))
    return facts


def _speed(history: History) -> list[tuple[str, str]]:
    """Median samples/s, and the mean fraction of training time that data were waited for, over the whole record."""
    rates = [rate for line in history.train if (rate := line.get("time/samples_per_second")) is not None]
    waited = [part for line in history.train if (part := line.get("time/data_wait_fraction")) is not None]
    facts = []
    if rates:
        rate = statistics.median(rates)
        facts.append(("samples/s", f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"))
    if waited:
        facts.append(("time waiting for data", f"{100 * statistics.fmean(waited):.0f} %"))
    return facts


def _no_verdict(history: History, run: RunFolder, verdicts: list[tuple[str, str]], status: str) -> str:
    """Why there is no verdict about rise and fall, where there could have been one."""
    wanted = {benchmark["key"] for benchmark, s in shown_scores(history) if s["has_verdict"]}
    if verdicts or not wanted:
        return ""
    if status == "running":
        return "A verdict about rise and fall comes at the end of the run."
    if not wanted & set(benchmark_keys(run.path)):
        return "No verdict: items missing."
    return f"No verdict in the record; to work it out: python -m clip_align report {shlex.quote(str(run.path))}"


def _known(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The provenance without what is only known once the run has ended: the page is written just before."""
    return {k: v for k, v in provenance.items() if v is not None or k not in ("exit_code", "ended")}


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value or "")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
