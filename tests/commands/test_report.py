# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from clip_align.commands import report
from clip_align.commands.report import main
from clip_align.errors import UserError
from clip_align.report import compare, figures


def test_one_run_by_name_writes_into_it(tmp_path: Path, synthetic: ModuleType) -> None:
    run = synthetic.run(tmp_path / "first", last=60, status="running")
    assert main(["first", f"paths.runs={tmp_path}"]) == 0
    assert (run / "report.html").exists()
    assert (run / "curves.png").exists()


def test_lines_of_wrong_types_cost_no_report(tmp_path: Path, synthetic: ModuleType) -> None:
    run = synthetic.run(tmp_path / "first", last=60)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (started, first, *_), last = [e for e in lines if e["kind"] != "train"], lines[-1]
    assert last["kind"] == "verdict"
    evaluation = next(line for line in reversed(lines) if line["kind"] == "evaluation")  # its scores may be of any type
    damaged = [{**started, "event": []}, {**first, "scores": 1}, {**first, "options": ""}, {**last, "epoch": "1"}]
    changed = [*lines, *damaged, {**evaluation, **{key: ["0.5"] for key in evaluation if "/" in key}}]
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in changed))
    assert main(["first", f"paths.runs={tmp_path}"]) == 0
    assert "4 damaged lines of the record left out" in (run / "report.html").read_text()


def test_several_runs_go_into_a_dated_folder(tmp_path: Path, synthetic: ModuleType) -> None:
    runs = [synthetic.run(tmp_path / name, last=60) for name in ("a", "b")]
    assert main([*map(str, runs), f"paths.runs={tmp_path}"]) == 0
    (made,) = tmp_path.glob("compare-*")
    assert sorted(p.name for p in made.iterdir()) == ["curves.png", "report.html"]
    assert not (runs[0] / "report.html").exists()


def test_a_run_named_twice_is_one_run(tmp_path: Path, synthetic: ModuleType) -> None:
    run = synthetic.run(tmp_path / "a", last=60, status="running")
    assert main(["a", str(run), f"paths.runs={tmp_path}"]) == 0
    assert (run / "report.html").exists()


def test_mistakes_are_one_line_each(tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        main(["outputt=x", "paths.runs="])
    assert raised.value.lines == (
        "outputt: unknown key; did you mean output? valid: output, paths.runs, two_way",
        "paths.runs: empty; give a folder",
        "report: which run? give a name or a folder: python -m clip_align report latest",
    )
    with pytest.raises(UserError) as raised:
        main(["no-such", "nor-this", f"paths.runs={tmp_path}"])
    assert len(raised.value.lines) == 2
    assert raised.value.lines[0].startswith("no-such: no run of this name")


def test_two_way_intervals_are_drawn_on_request(tmp_path: Path, synthetic: ModuleType) -> None:
    runs = [str(synthetic.run(tmp_path / name, last=60)) for name in ("a", "b")]
    for arguments, reported in (
        ([runs[0], "two_way=yes"], "two_way: yes is neither true nor false"),
        ([*runs, "two_way=true"], "two_way: for one run only"),
        ([runs[0], "two_way=true"], "two_way: no score of this run ends in _two_way"),
    ):
        with pytest.raises(UserError, match=reported):
            main(arguments)
    metrics = Path(runs[0]) / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace("/plcc", "/srocc_two_way").replace('"plcc"', '"srocc_two_way"'))
    images = []
    for wanted in ("false", "true"):
        assert main([runs[0], f"two_way={wanted}"]) == 0
        images.append((Path(runs[0]) / "curves.png").read_bytes())
    assert images[0] != images[1]


def test_an_output_that_cannot_be_written_is_refused(tmp_path: Path, synthetic: ModuleType) -> None:
    synthetic.run(tmp_path / "a", last=60, status="running")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as raised:
        main(["a", f"paths.runs={tmp_path}", f"output={tmp_path}/file"])
    assert raised.value.lines == (
        f"output: {tmp_path}/file cannot be written (File exists); give another folder: output=<folder>",
    )


def test_the_command_itself_refuses_an_unknown_run(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "clip_align", "report", "no-such"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "compare-<date>" in capsys.readouterr().out


def test_a_sweep_is_its_runs(tmp_path: Path, synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[list[str]] = []

    def write(runs: list[Path], output: Path) -> None:
        compared.append([f"{path.parent.name}/{path.name}" for path in runs])

    monkeypatch.setattr(compare, "write", write)
    for number in range(2):
        synthetic.run(tmp_path / "seeds" / str(number), last=60)
    synthetic.run(tmp_path / "b", last=60)
    for names in (["seeds"], [f"{tmp_path}/seeds", "seeds/1"], ["b", "seeds"]):
        assert main([*names, f"paths.runs={tmp_path}", f"output={tmp_path}/out"]) == 0
    both = ["seeds/0", "seeds/1"]
    assert compared == [both, both, [f"{tmp_path.name}/b", *both]]
    with pytest.raises(UserError, match="no run of this name"):
        main(["seed", f"paths.runs={tmp_path}"])


@pytest.mark.parametrize("names", [["a"], ["a", "b"]])
def test_the_figure_alone_in_a_format_for_print(
    tmp_path: Path, synthetic: ModuleType, capsys: pytest.CaptureFixture[str], names: list[str]
) -> None:
    runs = [synthetic.run(tmp_path / name, last=60) for name in ("a", "b")]
    for suffix, begins in ((".svg", b"<?xml"), (".pdf", b"%PDF"), (".png", b"\x89PNG")):
        file = tmp_path / "out" / f"figure{suffix}"
        assert main([*names, f"paths.runs={tmp_path}", f"output={file}"]) == 0
        assert file.read_bytes().startswith(begins)
        assert capsys.readouterr().out == f"figure: {file}\n"
    assert len(list((tmp_path / "out").iterdir())) == 3
    assert not any((run / "report.html").exists() for run in runs)


def test_the_figures_formats_are_those_that_can_be_written() -> None:
    assert report.SUFFIXES == figures.SUFFIXES
