# SPDX-License-Identifier: Apache-2.0
"""Error rates of the rule about rise and fall, measured on simulated runs, as Markdown tables.

    python -m clip_align.analysis.error_rates --repeats 200 --ranked 60 --seeds 60 > rates.md

Every kind of course of `simulated_courses`, at 22 and 36 evaluations and jitter of .0045 and .010; the same with ranked
items; events on a log scale; three seeds; and looks while a run goes on. Each cell has random numbers of its own, from
``--seed`` and its name.
"""

from __future__ import annotations

import argparse
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from clip_align.analysis.course import FEWEST_EVALUATIONS, Course, course, fall_so_far
from clip_align.analysis.several_seeds import FEWEST_SEEDS, SeveralSeeds, several_seeds
from clip_align.analysis.simulated_courses import (
    KINDS,
    SimulatedCourse,
    courses,
    log_scale,
    per_reference,
    ranked,
    true_fall,
)

__all__ = ["Rates", "Setting", "main", "rates"]

SPACING = 60  # steps between evaluations; any does
LIVE = ("plateau from the 2nd evaluation on", "rise, then plateau", "late fall .05")


@dataclass(frozen=True)
class Setting:
    """What is simulated: a kind of course, at so many evaluations, with jitter of this size; with ranked items?"""

    kind: str
    evaluations: int
    jitter: float
    repeats: int
    items: bool = False

    def generator(self, seed: int) -> np.random.Generator:
        """Random numbers of this cell alone, whichever others are measured."""
        name = f"{self.kind}|{self.evaluations}|{self.jitter}|{self.items}"
        return np.random.default_rng([seed, zlib.crc32(name.encode())])


@dataclass(frozen=True)
class Rates:
    """Rates over the repeats of a setting.

    rose_then_fell: that word. any_fall: some fall is stated, to the end or over a stretch. below: the upper bound is
    below the true fall. lower, upper: medians of the bounds. true_fall: highest two evaluations minus the last two.
    """

    rose_then_fell: float
    any_fall: float
    below: float
    lower: float
    upper: float
    true_fall: float


def rates(setting: Setting, seed: int = 0) -> Rates:
    """The rule's rates in a setting."""
    kind = _kind(setting)
    truth = true_fall(kind.truth)
    found = list(_verdicts(setting, seed))
    falls = [c.fall.at_least for c in found if c.fall]
    most = [c.most.at_most or 0.0 for c in found if c.most]
    return Rates(
        rose_then_fell=float(np.mean([c.word == "rose_then_fell" for c in found])),
        any_fall=float(np.mean([_states_a_fall(c) for c in found])),
        below=float(np.mean([bound < truth for bound in most])),
        lower=float(np.median(falls)),
        upper=float(np.median(most)),
        true_fall=truth,
    )


def seed_rates(setting: Setting, seed: int = 0) -> tuple[float, float]:
    """Over sets of three seeds: how often a decline is stated, and the mean detectable one."""
    kind, generator = _kind(setting), setting.generator(seed)
    found: list[SeveralSeeds] = [
        several_seeds([per_reference(kind, setting.jitter, generator) for _ in range(FEWEST_SEEDS)])
        for _ in range(setting.repeats)
    ]
    declined = float(np.mean([f.word in ("declined", "rose_then_declined") for f in found]))
    return declined, float(np.mean([f.fall.smallest_detectable for f in found]))


def live_rate(setting: Setting, seed: int = 0) -> float:
    """How often a run that is looked at after every evaluation ever reports a fall before its end."""
    kind, generator = _kind(setting), setting.generator(seed)
    steps = _steps(setting)
    counts = range(FEWEST_EVALUATIONS, setting.evaluations + 1)

    def alarmed() -> bool:
        curve = per_reference(kind, setting.jitter, generator)
        return any(fall_so_far(curve.at(np.arange(n)), steps[:n], None, len(counts)) for n in counts)

    return float(np.mean([alarmed() for _ in range(setting.repeats)]))


def _kind(setting: Setting) -> SimulatedCourse:
    found = courses(setting.evaluations) if setting.kind in KINDS else log_scale()[1]
    return next(kind for kind in found if kind.name == setting.kind)


def _steps(setting: Setting) -> list[int]:
    return list(range(0, SPACING * setting.evaluations, SPACING)) if setting.kind in KINDS else log_scale()[0]


def _verdicts(setting: Setting, seed: int) -> Iterator[Course]:
    kind, generator = _kind(setting), setting.generator(seed)
    simulate = ranked if setting.items else per_reference
    steps = _steps(setting)
    for _ in range(setting.repeats):
        yield course(simulate(kind, setting.jitter, generator), steps)


def _states_a_fall(found: Course) -> bool:
    to_end = found.fall is not None and found.fall.at_least > 0
    return to_end or any(stretch.direction == "fell" for stretch in found.stretches)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; returns the exit code."""
    parser = argparse.ArgumentParser(description="Error rates of the rule about rise and fall, as Markdown.")
    parser.add_argument("--repeats", type=int, default=200, help="simulated runs a cell")
    parser.add_argument("--ranked", type=int, default=60, help="runs of ranked items a cell; 0: none")
    parser.add_argument("--seeds", type=int, default=60, help="sets of three seeds a cell; 0: none")
    parser.add_argument("--live", type=int, default=60, help="runs that are looked at while they go on; 0: none")
    parser.add_argument("--log-scale", type=int, default=200, help="runs a cell with events on a log scale; 0: none")
    parser.add_argument("--evaluations", type=int, nargs="+", default=[22, 36])
    parser.add_argument("--jitter", type=float, nargs="+", default=[0.0045, 0.010])
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args(arguments)
    cells = [(n, jitter) for n in chosen.evaluations for jitter in chosen.jitter]
    # each process has one core; threads of its linear algebra would only wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with ProcessPoolExecutor(chosen.processes) as pool:

        def measured(function: Callable[..., object], kinds: Sequence[str], repeats: int, items: bool = False) -> list:  # type: ignore[type-arg]
            settings = [Setting(kind, n, jitter, repeats, items) for n, jitter in cells for kind in kinds]
            return list(pool.map(partial(function, seed=chosen.seed), settings))

        if chosen.repeats:
            _print_rates("Curves of references", cells, measured(rates, KINDS, chosen.repeats), chosen.repeats)
        if chosen.ranked:
            _print_rates("Ranked items", cells, measured(rates, KINDS, chosen.ranked, True), chosen.ranked)
        if chosen.log_scale:
            steps, kinds = log_scale()
            names, early = [kind.name for kind in kinds], [(len(steps), jitter) for jitter in chosen.jitter]
            some = [Setting(name, n, jitter, chosen.log_scale) for n, jitter in early for name in names]
            found_early = list(pool.map(partial(rates, seed=chosen.seed), some))
            _print_rates("Events on a log scale", early, found_early, chosen.log_scale, names)
        if chosen.seeds:
            found = [f"{d:.2f} / {least:.3f}" for d, least in measured(seed_rates, KINDS, chosen.seeds)]
            title = f"Three seeds: decline stated / mean detectable decline ({chosen.seeds} sets a cell)"
            _print_table(title, cells, KINDS, found)
        if chosen.live:
            found = [f"{rate:.2f}" for rate in measured(live_rate, LIVE, chosen.live)]
            title = f"Looked at after every evaluation: ever a fall reported ({chosen.live} runs a cell)"
            _print_table(title, cells, LIVE, found)
    return 0


def _print_rates(
    title: str,
    cells: Sequence[tuple[int, float]],
    found: Sequence[Rates],
    repeats: int,
    kinds: Sequence[str] = KINDS,
) -> None:
    texts = [
        f"{r.rose_then_fell:.2f} / {r.any_fall:.2f} / {r.below:.3f} / {r.lower:.3f} / {r.upper:.3f}" for r in found
    ]
    named = f"{title}: rose, then fell / any fall / U below the truth / median L / median U ({repeats} runs a cell)"
    _print_table(named, cells, kinds, texts, [f"{r.true_fall:.3f}" for r in found[: len(kinds)]])


def _print_table(
    title: str,
    cells: Sequence[tuple[int, float]],
    kinds: Sequence[str],
    texts: Sequence[str],
    truths: Sequence[str] | None = None,
) -> None:
    """A row for each kind of course; ``texts`` are all kinds of the first cell, then those of the next one.

    ``truths``: a last column, the true falls.
    """
    heads = [f"{n} evaluations, jitter {jitter:g}" for n, jitter in cells]
    print(f"\n{title}\n\n| truth | {' | '.join(heads)} |{' true fall |' if truths else ''}")
    print("| --- |" + " --- |" * (len(cells) + bool(truths)))
    for row, kind in enumerate(kinds):
        columns = [kind, *texts[row :: len(kinds)], *([truths[row]] if truths else [])]
        print(f"| {' | '.join(columns)} |", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
