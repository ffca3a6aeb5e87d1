# SPDX-License-Identifier: Apache-2.0
"""What a benchmark returns: numbers by value and over other clusters, what is refused, what is null for one event."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stubs

from clip_align.callbacks.base import Features, Items, Score
from clip_align.callbacks.common.pair_scores import over_items
from clip_align.callbacks.common.spearman import SPEARMAN
from clip_align.errors import RunError, UserError
from clip_align.evaluation.scoring import FORM
from clip_align.evaluation.stimulus import Stimulus, valid_image
from clip_align.metrics.accuracy import accuracy
from clip_align.metrics.correlation import srocc
from clip_align.metrics.estimate import Estimate, InvalidEstimateError
from clip_align.record.record import Position, Record, read


def items(n: int = 12) -> Items:
    return Items(
        {"value": np.arange(n), "other": -np.arange(n)},
        np.arange(n) % 4,
        clusters={"reference": np.arange(n) // 3, "type": np.arange(n) % 3},
        conditions={"class": np.array(["b", "A x", "c-1"])[np.arange(n) % 3]},
        notes={"dropped": 2},
    )


def test_where_keeps_rows_by_mask_and_by_number() -> None:
    whole = items()
    some = whole.where(whole.conditions["class"] == "b")
    assert some.ids == ("0", "3", "6", "9")
    assert some.human.tolist() == [0, 3, 2, 1]
    assert some.model["other"].tolist() == [0, -3, -6, -9]
    assert some.clusters["reference"].tolist() == [0, 1, 2, 3]
    assert some.notes == {"dropped": 2}
    assert whole.where([9, 0]).ids == ("9", "0")
    assert len(whole.where(np.zeros(12, bool))) == 0
    with pytest.raises(ValueError, match=r"items: a mask of shape \(3,\) for 12 items"):
        whole.where([True, False, True])


def test_columns_and_clusters_by_name() -> None:
    assert list(items().clustered("type").clusters) == ["type", "reference"]
    moved = items().clustered("class", "type")
    assert (list(moved.clusters), list(moved.conditions)) == (["class", "type", "reference"], [])
    with pytest.raises(KeyError, match="the items have no column level; columns: class, reference, type"):
        items().column("level")


def test_clusters_are_chosen_per_score() -> None:
    def counted(given: Items) -> Estimate:
        return Estimate(float(len(np.unique(next(iter(given.clusters.values()))))))

    score = Score("n", "clusters", counted, direction="as counted")
    assert score.estimate(items()).value == 4
    assert replace(score, clusters=("type",)).estimate(items()).value == 3
    two = replace(SPEARMAN, clusters=("type", "reference"), compute=over_items(srocc, two_way=True))
    assert two.estimate(items()).value == SPEARMAN.estimate(items()).value


class Classified(stubs.Pairs):
    """Decisions that are right for some classes."""

    scores = (
        Score("accuracy", "accuracy", lambda i: accuracy(i.model["choice"], i.human), direction="up", by="class"),
        SPEARMAN,
    )
    names = np.array(["Snow owl", "cat", "bus", "cat"])

    def items(self, features: Features) -> Items:
        choice = np.array([0, 1, 0, 1, 0, 1, 2, 0], dtype=np.int8)
        return Items({"choice": choice}, np.arange(8) % 4, conditions={"class": self.names[np.arange(8) % 4]})


def test_a_score_by_class_is_one_detail_a_class_under_a_stable_key(tmp_path: Path) -> None:
    made, record = stubs.evaluator([Classified()], stubs.evaluated_model(), tmp_path)
    made.evaluate(0, ["human/pairs"], contextlib.nullcontext)
    fields = record.scores()
    by_class = {name: value for name, value in fields.items() if name.startswith("human/pairs/accuracy_class_")}
    assert {name.rpartition("_")[2]: value for name, value in by_class.items() if "/" not in name[12:]} == {
        "bus": 0.5, "cat": 0.5, "owl": 1.0,
    }  # fmt: skip
    assert fields["human/pairs/accuracy"] == 5 / 8
    low, high = fields["human/pairs/accuracy_class_snow_owl/low"], fields["human/pairs/accuracy_class_snow_owl/high"]
    assert low == pytest.approx(2 / (2 + 1.959964**2))  # Wilson, 2 of 2
    assert high == 1
    (about,) = (line for line in record.lines if line["kind"] == "benchmark")
    described = {score["name"]: score for score in about["scores"]}
    assert list(described) == [
        "accuracy", "accuracy_class_snow_owl", "accuracy_class_bus", "accuracy_class_cat", "srocc",
    ]  # fmt: skip
    owl = described["accuracy_class_snow_owl"]
    assert (owl["label"], owl["role"], owl["by"], owl["value"]) == ("accuracy, Snow owl", "detail", "class", "Snow owl")
    assert "by" not in described["srocc"]


def test_null_events_have_the_keys_by_value_once_they_are_known(tmp_path: Path) -> None:
    class Breaks(Classified):
        broken = False

        def items(self, features: Features) -> Items:
            if self.broken:
                raise ValueError("no")
            return super().items(features)

    callback = Breaks()
    made, record = stubs.evaluator([callback], stubs.evaluated_model(), tmp_path)
    made.evaluate(0, ["human/pairs"], contextlib.nullcontext)
    callback.broken = True
    made.evaluate(1, ["human/pairs"], contextlib.nullcontext)
    assert record.scores(1)["human/pairs/accuracy_class_bus"] is None
    assert record.scores(1)["human/pairs/accuracy_class_bus/reason"] == "failed: ValueError: no"
    assert len([line for line in record.lines if line["kind"] == "benchmark"]) == 1


def returning(change: Callable[[Items], Any]) -> type[stubs.Pairs]:
    class Changed(stubs.Pairs):
        def items(self, features: Features) -> Items:
            return change(super().items(features))  # type: ignore[no-any-return]

    return Changed


def scoring(**fields: Any) -> type[stubs.Pairs]:
    class Scored(stubs.Pairs):
        scores = (replace(SPEARMAN, **fields),)

    return Scored


def noted(**notes: Any) -> type[stubs.Pairs]:
    return returning(lambda i: Items(i.model, i.human, notes=notes))


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (scoring(compute=lambda i: 0.5), "score srocc: compute returned float, not an Estimate"),
        (scoring(compute=lambda i: None), "score srocc: compute returned NoneType, not an Estimate"),
        (scoring(compute=lambda i: Estimate(0.5, 0.6, 0.7)), "score srocc: low, 0.6, is above the value, 0.5"),
        (scoring(compute=lambda i: Estimate(0.5, 0.4, 0.45)), "score srocc: high, 0.45, is below the value, 0.5"),
        (scoring(compute=lambda i: Estimate(float("nan"))), "score srocc: not a finite estimate: value is nan"),
        (
            scoring(compute=lambda i: Estimate(0.5, 0.4, float("inf"))),
            "score srocc: not a finite estimate: high is inf",
        ),
        (
            scoring(by="klass"),
            "a score has by='klass', but the items have no column klass; columns: item",
        ),
        (noted(srocc=1.0), "note srocc has the name of a score; give it another one"),
        (noted(**{"a/b": 1.0}), "note 'a/b': a name is lower-case letters, digits and underscores"),
        (noted(**{"a@b": 1.0}), "note 'a@b': a name is lower-case letters, digits and underscores"),
        (noted(kind="x"), "note kind: str is not a number"),
        (
            returning(lambda i: Items({"a@b": i.human}, i.human)),
            "items: the column 'a@b' has / or @ in its name, which are the record's own",
        ),
        (returning(lambda i: (i.model, i.human)), "items() returned tuple, not Items"),
    ],
)
def test_what_breaks_the_contract_is_refused_at_the_first_event(
    kind: type[stubs.Pairs], line: str, tmp_path: Path
) -> None:
    made, record = stubs.evaluator([kind()], stubs.evaluated_model(), tmp_path)
    with pytest.raises(RunError) as caught:
        made.evaluate(0, ["human/pairs"], contextlib.nullcontext)
    assert caught.value.lines == (f"human/pairs: {line}",)
    assert record.lines == []


@pytest.mark.parametrize(
    ("names", "lines"),
    [
        (["a/b"], ["human/pairs: score 'a/b': a name is lower-case letters, digits and underscores"]),
        (["a@b", "Up"], [f"human/pairs: score {n!r}: {FORM}" for n in ("a@b", "Up")]),
        (["a", "b", "a"], ["human/pairs: two scores are named a; give one of them another name"]),
    ],
)  # fmt: skip
def test_names_of_scores_are_refused_before_step_0(names: list[str], lines: list[str], tmp_path: Path) -> None:
    class Named(stubs.Pairs):
        scores = tuple(replace(SPEARMAN, name=name) for name in names)

    with pytest.raises(UserError) as caught:
        stubs.evaluator([Named()], stubs.evaluated_model(), tmp_path)
    assert list(caught.value.lines) == lines


def test_an_interval_may_miss_its_value_by_rounding_only() -> None:
    Estimate(1.0000000000000002, 0.9, 1.0)
    with pytest.raises(InvalidEstimateError):
        Estimate(1.001, 0.9, 1.0)


@pytest.mark.parametrize(("low", "high"), [(0, 255), (-0.1, 1), (0, float("nan")), (0, float("inf"))])
def test_float_images_outside_0_to_1_are_refused_by_name(low: float, high: float, tmp_path: Path) -> None:
    class Bright(stubs.Pairs):
        def stimuli(self) -> Any:
            for name in (*self.ids[0], *self.ids[1]):
                yield Stimulus(name, lambda: np.array([low, high, 0], np.float32).reshape(1, 1, 3))

    line = r"human/pairs: cannot make the .* pairs/a0: ValueError: a float image is in \[0, 1\], this one in "
    with pytest.raises(UserError, match=line):
        stubs.evaluator([Bright()], stubs.evaluated_model(), tmp_path)


def test_images_of_either_kind_are_valid_at_their_limits() -> None:
    for image in (np.array([[[0, 255, 3]]], np.uint8), np.array([[[0, 1, 0.5]]], np.float32)):
        assert valid_image(image) is image
    with pytest.raises(ValueError, match=r"an image is an array \[H, W, 3\], not list"):
        valid_image([[[0, 1, 2]]])  # type: ignore[arg-type]


class Fails(stubs.Pairs):
    """Raises at some events."""

    at: frozenset[int] = frozenset()
    calls = -1

    def items(self, features: Features) -> Items:
        self.calls += 1
        if self.calls in self.at:
            raise IndexError(f"no row\n{self.calls // 10}")
        return super().items(features)


def test_a_benchmark_that_raises_is_null_at_that_event_with_one_warning(tmp_path: Path) -> None:
    logged: list[str] = []
    failing, well = Fails(name="failing"), stubs.Pairs()
    failing.at = frozenset({1, 2})
    made, record = stubs.evaluator([failing, well], stubs.evaluated_model(), tmp_path, log=logged.append)
    for step in range(4):
        made.evaluate(step, ["human/failing", "human/pairs"], contextlib.nullcontext)
    reason = "failed: IndexError: no row 0"
    assert [record.scores(step)["human/failing/srocc"] is None for step in range(4)] == [False, True, True, False]
    assert record.scores(1)["human/failing/srocc/reason"] == reason
    assert record.scores(1)["human/pairs/srocc"] == record.scores(0)["human/pairs/srocc"]
    warnings = [line["message"] for line in record.lines if line["kind"] == "event"]
    assert warnings == [f"human/failing: {reason}; its scores are null at step 1, training continues"]
    (text,) = logged
    assert text.startswith("human/failing: traceback of what it raised at step 1\nTraceback (most recent call last)")
    assert "in items\n" in text
    assert 'raise IndexError(f"no row' in text


def test_what_breaks_the_contract_later_is_null_too(tmp_path: Path) -> None:
    class Later(stubs.Pairs):
        scores = (replace(SPEARMAN, compute=lambda items: Later.answers.pop(0)),)  # type: ignore[arg-type, return-value]
        answers: list[object] = [Estimate(0.5), 0.5, Estimate(0.7)]  # noqa: RUF012

    made, record = stubs.evaluator([Later()], stubs.evaluated_model(), tmp_path)
    for step in range(3):
        made.evaluate(step, ["human/pairs"], contextlib.nullcontext)
    assert [record.scores(step)["human/pairs/srocc"] for step in range(3)] == [0.5, None, 0.7]
    assert (
        record.scores(1)["human/pairs/srocc/reason"] == "failed: score srocc: compute returned float, not an Estimate"
    )


def test_items_are_those_of_the_run(tmp_path: Path) -> None:
    class Growing(stubs.Pairs):
        n = 8

        def items(self, features: Features) -> Items:
            whole = super().items(features)
            return whole.where(np.arange(8) < self.n)

    callback = Growing()
    made, record = stubs.evaluator([callback], stubs.evaluated_model(), tmp_path)
    for step, callback.n in enumerate((8, 5, 8)):
        made.evaluate(step, ["human/pairs"], contextlib.nullcontext)
    assert record.scores(1)["human/pairs/srocc/reason"] == "failed: its items changed (ids); they are fixed for a run"
    assert record.scores(2)["human/pairs/srocc"] == record.scores(0)["human/pairs/srocc"]
    assert [step for _, step in record.items] == [0, 2]


@pytest.mark.parametrize("pairs", [8, 6])
def test_a_resumed_run_adds_to_the_items_that_it_has(tmp_path: Path, pairs: int) -> None:
    """Other pairs under the same key would give a verdict about values and other pairs' opinions."""
    place = Record(tmp_path / "run")
    for step, callback in ((0, stubs.Pairs()), (5, stubs.Pairs(pairs=pairs))):
        made, _ = stubs.evaluator([callback], stubs.evaluated_model(), tmp_path, record=place)
        made.position = lambda step: Position(step, 0, 0, 0.0)
        made.evaluate(step, ["human/pairs"], contextlib.nullcontext)
    place.close("done")
    last = read(tmp_path / "run").evaluations[-1]
    assert (last["human/pairs/srocc"] is None) == (pairs != 8)
    if pairs != 8:
        path = tmp_path / "run" / "items" / "human" / "pairs" / "items.csv"
        line = f"failed: its items are not those of {path}; a callback with other items needs another name=…"
        assert last["human/pairs/srocc/reason"] == line
