# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from clip_align.record.record import History, read
from clip_align.report import sentences
from clip_align.report.panels import panels
from clip_align.report.score_curves import Curve, Point


@pytest.fixture
def history(tmp_path: Path, synthetic: ModuleType) -> History:
    return read(synthetic.run(tmp_path))


def curve(*values: float | None) -> Curve:
    points = tuple(Point(10 * i, 1280 * i, v, reason=None if v is not None else "why") for i, v in enumerate(values))
    return Curve("human/x/srocc", "SROCC", "headline", points)


def test_live_notes_name_the_score(history: History) -> None:
    key = "human/tid2013_remade/srocc"
    assert sentences.live_notes(history, {key: "fell by at least .012 since step 420"}) == [
        "SROCC, all pairs fell by at least .012 since step 420, corrected for looking after every evaluation"
    ]
    assert sentences.live_notes(history, {}) == []


def test_sentences_of_an_earlier_rule_are_marked(history: History) -> None:
    older = {**history.verdicts[0], "rule": 1, "sentence": "a fall above .03 is excluded."}
    history.verdicts[:] = [older, {**older, "score": "human/x/srocc", "word": None, "sentence": "srocc: no verdict."}]
    (_, marked), (_, none) = sentences.verdict_sentences(history)
    assert marked == "a fall above .03 is excluded." + sentences.EARLIER
    assert none == "srocc: no verdict."


def test_verdicts_are_the_records_own_sentences_the_last_of_each_score(history: History) -> None:
    (label, sentence), _ = sentences.verdict_sentences(history)
    assert label == "SROCC, all pairs"
    assert sentence == history.verdicts[0]["sentence"]
    history.verdicts.append({**history.verdicts[0], "sentence": "later"})
    assert sentences.verdict_sentences(history)[0] == ("SROCC, all pairs", "later")


def test_course_of_a_curve_with_gaps() -> None:
    text = sentences._course(curve(None, 0.6, 0.8, 0.5, None, 0.55))
    assert text == (
        "SROCC: .60 at step 10; .55 at step 50 (highest .80 at step 20, lowest .50 at step 30). "
        "Undefined at 2 of 6 evaluations: why (steps 0, 40)."
    )


def test_course_names_every_reason_with_its_steps() -> None:
    reasons = ["few", "few", "one class", None, "few", None, *(f"why {n}" for n in range(13))]
    points = tuple(Point(10 * n, n, None if r else 0.5, reason=r) for n, r in enumerate(reasons))
    course = sentences._course(Curve("texture/x/bias", "Bias", "headline", points[:6]))
    assert course.endswith("Undefined at 4 of 6 evaluations: few (steps 0 to 10, 40); one class (step 20).")
    longer = sentences._course(Curve("texture/x/bias", "Bias", "headline", points))
    assert longer.endswith("why 8 (step 140); why 9 (step 150); and 3 more, in the table of values.")


def test_a_value_that_is_held_back_is_not_called_undefined() -> None:
    why = "defined at 1 evaluation running; drawn from 2 on"
    gone, held, there = Point(0, 0, None, reason="why"), Point(1, 1, None, reason=why, held=True), Point(2, 2, 0.5)
    assert sentences._course(Curve("a/b/c", "bias", "headline", (gone, held, there))) == (
        f"Bias: .50 at step 2. Undefined at 1 of 3 evaluations: why (step 0). "
        f"Not drawn at 1 of 3 evaluations: {why} (step 1)."
    )
    assert sentences._course(Curve("a/b/c", "bias", "headline", (gone, held))) == f"Bias: not drawn yet ({why})."


def test_course_of_a_score_that_was_never_defined() -> None:
    assert sentences._course(curve(None, None)) == "SROCC: undefined so far (why)."


def test_course_has_texture_bias_together_with_its_hits_and_their_chance(history: History) -> None:
    texture = " ".join(sentences.course(panels(history)[3]))
    for part in ("Bias, corrected: ", "Shape hits: ", "Texture hits: ", "Chance: .06."):
        assert part in texture


def test_course_has_the_limit_of_the_relative_drop(history: History) -> None:
    assert any("with accuracy alone" in s for s in sentences.course(panels(history)[4]))


def test_warnings_leave_the_calm_events_out(history: History) -> None:
    history.events.append({"event": "skipped_samples", "global_step": 3, "message": "2 truncated"})
    assert [e["event"] for e in sentences.warnings(history)] == ["skipped_samples"]


def test_a_checkpoint_that_was_given_up_is_something_a_reader_should_know() -> None:
    resumed: dict[str, object] = {"event": "resumed", "message": "from step 200"}
    damaged = {**resumed, "given_up": ["step-000000300.ckpt: no checksum"]}
    history = History(events=[resumed, damaged, {"event": "resumable"}, {"event": "waiting"}])
    assert sentences.warnings(history) == [damaged, {"event": "waiting"}]
