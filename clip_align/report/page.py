# SPDX-License-Identifier: Apache-2.0
"""``report.html``: one self-contained page about a run, made from its folder alone.

While the run is under way the page reloads itself. It needs no network: images are inlined.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from clip_align.errors import UserError
from clip_align.record.items import benchmark_keys, read_items
from clip_align.record.record import History, read
from clip_align.report import sentences
from clip_align.report.draw import NARROW
from clip_align.report.figures import footnote, png, run_title, started
from clip_align.report.labels import count, duration, interval, number
from clip_align.report.panels import Panel, curve_of, panels
from clip_align.report.score_variants import all_scores
from clip_align.runs.folder import RunFolder, read_provenance, run_status, write_atomic

TEMPLATE = Path(__file__).with_name("page.html.j2")
REFRESH_SECONDS = 10
MOST_EVENTS = 200
TWO_WAY = "_two_way"  # how the names of scores end whose interval resamples two kinds of clusters


def write(
    folder: Path,
    status: str | None = None,
    *,
    judge: bool = False,
    output: Path | None = None,
    narrow: bytes | None = None,
    two_way: bool = False,
) -> bytes:
    """Write ``curves.png`` and ``report.html`` of a run, each atomically, into ``output`` (default: its folder).

    ``status`` (running, done, failed, interrupted, terminated) is ``run_status`` where not given.
    ``judge``: work out the verdicts that the record of an ended run lacks, from its items (seconds).
    ``two_way``: draw the scores whose interval is over other distortions too, which are in the table alone otherwise.
    ``narrow``: an older image to be used again on narrow screens; returned is the one that was used.
    """
    run = RunFolder(Path(folder))
    target = RunFolder(Path(output)) if output else run
    history = all_scores(read(run.path))
    status = status or run_status(run)
    if judge and status != "running" and not history.verdicts:
        history = judged(history, run)
    if two_way:
        history = with_two_way(history)
    built, title, foot = panels(history), run_title(history), footnote(history)
    wide = png(built, title=title, foot=foot)
    write_atomic(target.curves_png, wide)
    narrow = narrow or png(built, title=title, foot=foot, layout=NARROW)
    here = target.path.resolve() == run.path.resolve()
    refresh = REFRESH_SECONDS if status == "running" and here else None  # nobody writes a copy again
    write_atomic(target.report_html, page(run, history, built, (wide, narrow), status, refresh))
    return narrow


def with_two_way(history: History) -> History:
    """The record with its two-way scores as companions, which are drawn; UserError where it has none."""
    found = {
        key: {
            **benchmark,
            "scores": [
                {**s, "role": "companion"} if str(s["name"]).endswith(TWO_WAY) else s for s in benchmark["scores"]
            ],
        }
        for key, benchmark in history.benchmarks.items()
    }
    if found == history.benchmarks:
        raise UserError(f"two_way: no score of this run ends in {TWO_WAY}; human/tid2013_remade has them")
    return replace(history, benchmarks=found)


def judged(history: History, run: RunFolder) -> History:
    """The record with the verdicts of its end; as it is where the items are missing."""
    from clip_align.analysis.verdict import verdicts

    return replace(history, verdicts=list(verdicts(history, partial(read_items, run.path))))


def page(
    run: RunFolder,
    history: History,
    built: list[Panel],
    images: tuple[bytes, bytes],
    status: str,
    refresh: int | None,
) -> str:
    """The page as text; ``images``: the figure as PNG, wide and in one column; ``refresh``: seconds to a reload."""
    provenance = {**read_provenance(run), "status": status}  # at the very end the file is written after the page
    start = started(history)
    verdicts = sentences.verdict_sentences(history)
    return render(
        TEMPLATE,
        name=str(start.get("run") or run.path.name),
        status=status,
        refresh=refresh,
        facts=_facts(history, start, provenance),
        wide=inline(images[0]),
        narrow=inline(images[1]),
        alternative=alternative(built),
        verdicts=verdicts,
        notes=[] if verdicts else sentences.live_notes(history),
        no_verdict=_no_verdict(history, run, verdicts, status),
        courses=[(p.title, sentences.course(p)) for p in built],
        benchmarks=[benchmark_rows(history, b) for b in history.benchmarks.values()],
        warnings=[dict(e) for e in sentences.warnings(history)][-MOST_EVENTS:],
        events=[dict(e) for e in history.events][-MOST_EVENTS:],
        n_events=len(history.events),
        damaged=history.damaged_lines,
        config=_text(run.config_yaml),
        command=" ".join(map(str, provenance.get("command") or ())),
        provenance=json.dumps(_known(provenance), indent=2, ensure_ascii=False, default=str),
        written=time.strftime("%Y-%m-%d %H:%M:%S"),
    )


def render(template: Path, **values: Any) -> str:
    """A template of this folder filled in, everything escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template.name).render(**values)


def benchmark_rows(history: History, benchmark: Mapping[str, Any]) -> dict[str, Any]:
    """A benchmark for the page: what its data are, and its scores with their latest values."""
    options = ", ".join(f"{k} = {v}" for k, v in (benchmark.get("options") or {}).items())
    return {
        "key": benchmark["key"],
        "version": benchmark.get("version"),
        "n": benchmark.get("n"),
        "human_data": _said(benchmark.get("human_data")),
        "stand_in": _said(benchmark.get("stand_in")),
        "source": _said(benchmark.get("source")),
        "licence": _said(benchmark.get("licence")),
        "options": options,
        "directions": _directions(benchmark),
        "notes": _notes(history, benchmark),
        "scores": [_score_row(history, benchmark, s) for s in benchmark.get("scores", ())],
    }


def _score_row(history: History, benchmark: Mapping[str, Any], score: Mapping[str, Any]) -> dict[str, Any]:
    points = curve_of(history, benchmark, score).points
    last = points[-1] if points else None
    references = {
        **{str(k): v for k, v in (score.get("baselines") or {}).items()},
        **{f"{k} (ceiling)": v for k, v in (score.get("ceilings") or {}).items()},
    }
    return {
        "label": score.get("label") or score["name"],
        "name": score["name"],
        "role": score.get("role", "detail"),
        "value": number(last.value, 3) if last and last.value is not None else None,
        "interval": interval(last.low, last.high, 3) if last else "",
        "absent": last.absent if last else "undefined",
        "reason": last.reason if last else "not evaluated yet",
        "step": last.step if last else None,
        "unit": score.get("unit") or "",
        "direction": score.get("direction") or "",
        "chance": None if score.get("chance") is None else number(score["chance"], 3),
        "references": [(k, number(v, 3)) for k, v in references.items()],
    }


def _notes(history: History, benchmark: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Further numbers of the benchmark's last evaluation, which are no scores."""
    prefix = f"{benchmark['key']}/"
    names = {s["name"] for s in benchmark.get("scores", ())}
    last: dict[str, Any] = next((e for e in reversed(history.evaluations) if any(k.startswith(prefix) for k in e)), {})
    found = {k.removeprefix(prefix): v for k, v in last.items() if k.startswith(prefix)}
    return [
        (k.replace("_", " "), number(v, 3) if v % 1 else f"{v:g}")
        for k, v in found.items()
        if k.split("/")[0] not in names and isinstance(v, (int, float))
    ]


def _directions(benchmark: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """What a higher value means, with the labels of the scores it holds for."""
    labels: dict[str, list[str]] = {}
    for score in benchmark.get("scores", ()):
        if score.get("direction"):
            labels.setdefault(str(score["direction"]), []).append(str(score.get("label") or score["name"]))
    return list(labels.items())


def alternative(built: list[Panel]) -> str:
    """The figure in words, for those who cannot see it."""
    parts = []
    for panel in built:
        values = [f"{c.label} {number(c.defined[-1].value)}" for c in panel.curves if c.defined]
        parts.append(f"{panel.title}: {', '.join(values) or 'undefined'}")
    return "Curves over samples seen; latest values. " + ". ".join(parts)


def _facts(history: History, start: Mapping[str, Any], provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    last = max((*history.train[-1:], *history.evaluations[-1:]), key=lambda x: x["global_step"], default=None)
    facts: list[tuple[str, str]] = []
    if last is not None:
        step = f"{last['global_step']} of {start['max_steps']}" if start.get("max_steps") else str(last["global_step"])
        facts += [("step", step), ("samples seen", count(last["samples_seen"]))]
        facts.append(("time so far", duration(last.get("wall_seconds"))))
    left = history.train[-1].get("time/left_seconds") if history.train else None
    if left is not None and provenance.get("status") == "running":
        facts.append(("time left, about", duration(left)))
    facts.append(("evaluations", str(len(history.evaluations))))
    fraction = history.evaluations[-1].get("time/evaluation_fraction") if history.evaluations else None
    if fraction is not None:
        facts.append(("evaluation's fraction of the time", f"{100 * fraction:.0f} %"))
    return facts


def _no_verdict(history: History, run: RunFolder, verdicts: list[tuple[str, str]], status: str) -> str:
    """Why there is no verdict about rise and fall, where there could have been one."""
    wanted = {str(b["key"]) for b, s in sentences.described(history) if s.get("flat_margin") is not None}
    if verdicts or not wanted:
        return ""
    if status == "running":
        return "A verdict about rise and fall comes at the end of the run."
    if not wanted & set(benchmark_keys(run.path)):
        return "No verdict: items missing."
    return f"No verdict in the record; to work it out: python -m clip_align report {run.path}"


def _known(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The provenance without what is only known once the run has ended: the page is written just before."""
    return {k: v for k, v in provenance.items() if v is not None or k not in ("exit_code", "ended")}


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value or "")


def inline(png_bytes: bytes) -> str:
    """An image as a data address."""
    return "data:image/png;base64," + base64.b64encode(png_bytes).decode("ascii")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
