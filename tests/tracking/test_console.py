# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from clip_align.data.progress import Progress
from clip_align.record.lines import as_read
from clip_align.record.record import deliver, read
from clip_align.tracking.console import ConsoleMirror
from clip_align.tracking.run_status import Status
from tests.fake_clock import Clock


def shown(folder: Path, lines: list[dict[str, object]], clock: Clock, seconds: float = 0.0) -> list[str]:
    out = io.StringIO()
    mirror = ConsoleMirror(folder, interactive=False, stream=out, clock=clock)
    for line in lines:
        deliver(as_read(line), mirror)  # type: ignore[arg-type]
        clock.now += seconds
    mirror.close("done")
    return out.getvalue().splitlines()


def test_plain_lines(tmp_path: Path, synthetic: ModuleType) -> None:
    lines = shown(tmp_path, list(synthetic.lines(60)), Clock())
    assert lines[0] == "training tiny on world, 2 ranks"
    assert lines[1].startswith("evaluation at step 0 (0 samples): accuracy .0")
    assert " · alignment .5" in lines[1]
    assert "texture bias undefined (0.14 of the decisions hit a cue, below .25)" in lines[1]
    assert "texture bias" not in lines[2]  # an early evaluation: not due
    assert "step 10 of 1500 · loss 4.754 · 1250 samples/s · 2 min 44 s left" in lines
    assert lines[-1] == f"report: {tmp_path / 'report.html'} (figure: curves.png, record: metrics.jsonl)"
    logged = (tmp_path / "train.log").read_text(encoding="utf-8").splitlines()
    assert [x.split(" ", 1)[1] for x in logged] == lines


def test_training_lines_come_at_most_every_ten_seconds(tmp_path: Path, synthetic: ModuleType) -> None:
    lines = [x for x in synthetic.lines(1000) if x["kind"] != "evaluation"]
    steps = [x for x in shown(tmp_path, lines, Clock(), seconds=1.0) if x.startswith("step ")]
    assert len(steps) == 10


def test_warnings_and_verdicts_are_lines(tmp_path: Path, synthetic: ModuleType) -> None:
    warning = {**synthetic.where(5), "kind": "event", "event": "warning", "message": "x failed"}
    lines = shown(tmp_path, [warning, *synthetic.verdicts()], Clock())
    assert lines[0] == "warning: x failed"
    assert lines[1].startswith("srocc: rose, then fell in this run.")


@pytest.mark.parametrize("interactive", [False, True])
def test_a_line_of_the_record_is_never_taken_for_progress(
    tmp_path: Path, synthetic: ModuleType, capsys: pytest.CaptureFixture[str], interactive: bool
) -> None:
    mirror = ConsoleMirror(tmp_path, interactive=interactive, clock=Clock())
    mirror.line(next(iter(synthetic.lines(0))))
    texts = [f"{name}: flat. Left out: {n} of 26 evaluations." for n, name in enumerate(("srocc", "within"), 2)]
    for text in texts:
        mirror.line({**synthetic.where(5), "kind": "verdict", "score": "human/x/srocc", "sentence": text})
    mirror.line({**synthetic.where(5), "kind": "event", "event": "warning", "message": "3 of 100 samples skipped"})
    mirror.show("warning: 5 of 5 rows lost")
    mirror.close("done")
    printed, logged = capsys.readouterr().out, (tmp_path / "train.log").read_text(encoding="utf-8")
    for text in (*texts, "warning: 3 of 100 samples skipped", "warning: 5 of 5 rows lost"):
        assert text in printed
        assert text in logged


@pytest.mark.parametrize("event", ["finished", "stopped"])
def test_the_end_reports_what_evaluation_took(tmp_path: Path, synthetic: ModuleType, event: str) -> None:
    end = {**synthetic.where(60), "kind": "event", "event": event, "message": "done at step 60"}
    lines = shown(tmp_path, [*synthetic.lines(60), end], Clock())
    assert lines[-3:-1] == ["done at step 60", "evaluation took 27 % of the time"]
    assert shown(tmp_path, [end], Clock())[0] == "done at step 60"  # no evaluation, no share
    untrained = [line for line in synthetic.lines(60) if line["global_step"] == 0]  # until there all is evaluation
    assert shown(tmp_path, [*untrained, end], Clock())[-2] == "done at step 60"


def test_a_distance_below_the_best_is_no_news(tmp_path: Path, synthetic: ModuleType) -> None:
    text = "\n".join(shown(tmp_path, list(synthetic.lines()), Clock()))
    assert "below its best" not in text
    assert "decline" not in text


def test_the_live_display_fits_its_terminal(
    tmp_path: Path, synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    rich_console = pytest.importorskip("rich.console")
    mirror = ConsoleMirror(tmp_path, interactive=True, stream=io.StringIO())
    for line in synthetic.lines(900):
        mirror._status.take(line)
    for width in (60, 100):
        out = io.StringIO()
        rich_console.Console(file=out, width=width, force_terminal=False).print(mirror._display())
        lines = out.getvalue().rstrip().splitlines()
        assert len(lines) == 5
        assert all(len(x.rstrip()) <= width for x in lines)
        assert "step 900 of 1500" in lines[0]
        assert [x.split("  ")[0].strip() for x in lines[1:]] == [
            "accuracy",
            "alignment",
            "texture bias",
            "noise drop",
        ]


def test_the_live_display_starts_with_the_run_and_stops_at_its_end(
    tmp_path: Path, synthetic: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror = ConsoleMirror(tmp_path, interactive=True)
    for line in synthetic.lines(60):
        mirror.line(line)
    assert mirror._live is not None
    mirror.notify("a line")
    mirror.close("done")
    assert mirror._live is None
    assert "a line" in capsys.readouterr().out
    logged = (tmp_path / "train.log").read_text(encoding="utf-8")
    assert "evaluation at step 60" in logged


def test_preparation_is_one_row_below_the_live_display(
    tmp_path: Path, synthetic: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror = ConsoleMirror(tmp_path, interactive=True, clock=Clock())
    mirror.line(next(iter(synthetic.lines(0))))
    for done in range(1, 6):
        mirror.notify(Progress("images", done, 5, "made"))
        assert mirror._work == ("" if done == 5 else f"images: {done} of 5 made")
    mirror.close("done")
    logged = (tmp_path / "train.log").read_text(encoding="utf-8").splitlines()
    assert [x.split(" ", 1)[1] for x in logged if "images" in x] == ["images: 1 of 5 made", "images: 5 of 5 made"]


def test_a_full_disk_ends_the_log_only(tmp_path: Path, synthetic: ModuleType) -> None:
    (tmp_path / "train.log").mkdir()  # cannot be written
    lines = shown(tmp_path, list(synthetic.lines(60)), Clock())
    assert sum(x.startswith("warning: train.log cannot be written") for x in lines) == 1
    assert any(x.startswith("evaluation at step 60") for x in lines)


def test_time_left_from_the_pace_where_the_record_has_none(synthetic: ModuleType) -> None:
    status = Status()
    for line in synthetic.lines(300):
        status.take({k: v for k, v in line.items() if k != "time/left_seconds"})
    assert status.seconds_left() == pytest.approx(1200 * 0.11, rel=0.01)


def test_a_resumed_run_shows_its_scores_at_once(tmp_path: Path, synthetic: ModuleType) -> None:
    synthetic.write(tmp_path, synthetic.lines(600))
    status = Status(read(tmp_path))
    assert [r.name for r in status.rows()] == ["accuracy", "alignment", "texture bias", "noise drop"]
    status.rewind(540)
    status.take({**synthetic.where(540), "kind": "event", "event": "resumed", "max_steps": 2000})
    assert status.train_line().startswith("step 540 of 2000")


def test_a_value_that_is_held_back_is_not_called_undefined(synthetic: ModuleType) -> None:
    status = Status()
    for line in synthetic.lines(300):
        status.take(line)
    bias = status.rows()[2]
    assert (bias.value, bias.remark, bias.drawn) == (
        "not drawn yet",
        "defined at 1 evaluation running; drawn from 2 on",
        False,
    )


def test_benchmarks_of_one_panel_are_distinguished_whatever_their_family(synthetic: ModuleType) -> None:
    status = Status()
    for key, panel in (("human/a", "alignment"), ("similarity/b", "alignment"), ("lab/c_d", "own")):
        status.take({**synthetic.benchmark(key, panel, [synthetic.score("srocc", "S")]), **synthetic.where(0)})
        status.take({**synthetic.where(0), "kind": "evaluation", f"{key}/srocc": 0.5})
    assert [row.name for row in status.rows()] == ["alignment", "similarity", "lab (c_d)"]


def test_what_a_resume_takes_back_is_not_shown_and_a_distance_below_the_best_is_no_news(synthetic: ModuleType) -> None:
    status = Status()
    key, mine = "human/mine/srocc", synthetic.benchmark("human/mine", "alignment", [synthetic.score("srocc", "S")])
    mine["scores"][0]["has_verdict"] = True
    status.take({**synthetic.where(0), **mine})
    for step, value in ((0, 0.5), (60, 0.6), (120, 0.9)):
        status.take({**synthetic.where(step), "kind": "evaluation", key: value})
    status.rewind(60)
    assert status.rows()[0].value == ".60"
    status.take({**synthetic.where(120), "kind": "evaluation", key: 0.5})
    assert (status.rows()[0].value, status.rows()[0].remark) == (".50", "")


def test_a_refresh_does_not_take_longer_the_longer_the_run(synthetic: ModuleType) -> None:
    status = Status()
    for benchmark in synthetic.benchmarks():
        status.take({**benchmark, **synthetic.where(0)})
    line = synthetic.evaluation(600, synthetic.benchmarks())

    class Counted(list[object]):
        looks = 0

        def __iter__(self) -> Iterator[object]:
            self.looks += 1
            return super().__iter__()

    for step in range(600, 6000, 60):
        status.take({**line, **synthetic.where(step)})
    status._points = {key: Counted(points) for key, points in status._points.items()}  # type: ignore[misc]
    assert len(status.rows()) == 4
    assert not any(points.looks for points in status._points.values())  # type: ignore[attr-defined]


def test_one_line_costs_next_to_nothing(tmp_path: Path, synthetic: ModuleType) -> None:
    lines = list(synthetic.lines(900))
    start = time.process_time()
    shown(tmp_path, lines, Clock())
    assert (time.process_time() - start) / len(lines) < 0.005


@pytest.mark.parametrize("event", ["finished", "stopped"])
def test_a_run_that_has_ended_has_no_time_left(synthetic: ModuleType, event: str) -> None:
    status = Status()
    for line in synthetic.lines(1500):
        status.take(line)
    assert status.train_line().endswith("left")
    end = {**synthetic.where(1500), "kind": "event", "event": event, "message": "", "wall_seconds": 185.0}
    status.take(end)
    assert status.seconds_left() is None
    assert status.train_line().endswith(" samples/s · took 3 min 05 s")


def test_headlines_of_one_family_or_one_benchmark_are_distinguished(synthetic: ModuleType) -> None:
    status = Status()
    for line in synthetic.lines(0, synthetic.many()):
        status.take(line)
    names = [row.name for row in status.rows()]
    assert len(set(names)) == len(names) == 11
    assert {"alignment", "alignment (kadid10k)", "saliency (correlation)", "saliency (NSS)"} <= set(names)
    assert names[:2] == ["accuracy", "accuracy (cifar100)"]  # in the order of the figure's panels


def test_a_benchmark_with_a_panel_of_its_own_has_its_own_name(synthetic: ModuleType) -> None:
    own = synthetic.benchmark("human/contrast_sensitivity", "psychophysics", [synthetic.score("srocc", "SROCC")])
    status = Status()
    for line in synthetic.lines(0, [own, *synthetic.benchmarks()]):
        status.take(line)
    names = [row.name for row in status.rows()]
    assert names == ["accuracy", "contrast sensitivity", "alignment", "texture bias", "noise drop"]


def test_accuracy_by_texture_alone_is_not_called_texture_bias(synthetic: ModuleType) -> None:
    status = Status()
    kept = synthetic.benchmark("texture/held_out_patch_shuffle", "texture", [synthetic.score("kept_4", "kept")])
    for line in synthetic.lines(0, [kept]):
        status.take(line)
    assert [row.name for row in status.rows()] == ["texture"]


class Screen(io.TextIOWrapper):
    """A terminal of an encoding of its own."""

    def __init__(self, encoding: str) -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding=encoding)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_screen_that_cannot_show_a_character_shows_the_rest(
    tmp_path: Path, synthetic: ModuleType, encoding: str
) -> None:
    screen = Screen(encoding)
    mirror = ConsoleMirror(tmp_path, interactive=False, stream=screen)
    mirror.show("step 10 · loss 4.754 — 日本")
    mirror.close("done")
    first = screen.bytes.getvalue().decode(encoding).splitlines()[0]
    assert first == "step 10 · loss 4.754 — 日本".encode(encoding, "replace").decode(encoding)
    logged = (tmp_path / "train.log").read_text(encoding="utf-8").splitlines()
    assert logged[0].endswith("step 10 · loss 4.754 — 日本")
    assert len(logged) == 2


class Closed(io.StringIO):
    """A terminal that has been closed."""

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")


def test_a_closed_terminal_costs_the_screen_and_not_the_log(tmp_path: Path, synthetic: ModuleType) -> None:
    mirror = ConsoleMirror(tmp_path, interactive=False, stream=Closed())
    mirror.notify("first")
    mirror.show("second")
    mirror.close("done")
    logged = [x.split(" ", 1)[1] for x in (tmp_path / "train.log").read_text(encoding="utf-8").splitlines()]
    assert logged[:3] == ["warning: nothing can be shown any more (Input/output error)", "first", "second"]
    assert len(logged) == 4
