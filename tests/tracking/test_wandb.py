# SPDX-License-Identifier: Apache-2.0
"""wandb's own files, read by its own reader, as a user would find them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image
from wandb_files import inspected, rows

from clip_align.config import TrackerConfig
from clip_align.errors import UserError
from clip_align.record.record import Position, Record
from clip_align.runs.folder import RunFolder, write_provenance
from clip_align.tracking import wandb as child
from clip_align.tracking import wandb_mirror
from clip_align.tracking.wandb_mirror import WandbMirror, has_key, hints, mode, origin

SROCC = "human/tid2013_remade/srocc"


@pytest.fixture(autouse=True)
def nobody_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [n for n in os.environ if n.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """wandb takes seconds to start, and many of them on a busy machine: no mirror that works is given up."""
    monkeypatch.setattr(wandb_mirror, "CLOSE_SECONDS", {"done": 240.0, "failed": 240.0})


def feed(folder: Path, mirror: WandbMirror, lines: Iterator[dict[str, Any]]) -> None:
    record = Record(folder, [mirror])
    for line in lines:
        fields = {k: v for k, v in line.items() if k not in ("kind", *vars(Position(0, 0, 0, 0.0)))}
        where = Position(line["global_step"], line["samples_seen"], line["epoch"], line["wall_seconds"])
        record.append(line["kind"], where, fields)
    record.close("done")


def test_an_offline_run_and_its_resumption(tmp_path: Path, synthetic: ModuleType) -> None:
    reported: list[str] = []
    run = RunFolder(tmp_path / "run")
    tracker = TrackerConfig(project="mine", group="seeds", tags=("a", "b"))
    benchmarks = synthetic.benchmarks()
    feed(run.path, WandbMirror(run, tracker, {"seed": 3}, reported.append), synthetic.lines(120, benchmarks))
    records = inspected(run.path)
    logged = rows(records)
    evaluations = [r for r in logged if SROCC in r]
    assert [r["global_step"] for r in evaluations] == [0, 2, 8, 32, 60, 120]
    assert all(r["samples_seen"] == r["global_step"] * 128 for r in logged if "global_step" in r)
    assert all(f"interval/{SROCC}/low" in r and f"interval/{SROCC}/high" in r for r in evaluations)
    assert not any(key.startswith("human/") and key.endswith("/low") for r in logged for key in r)
    assert not any("human/tid2013_remade/plcc" in r for r in logged)  # a detail: in the record
    assert sum("train/loss" in r for r in logged) == 12
    axes = {r["metric"].get("glob_name"): r["metric"].get("step_metric") for r in records if r["type"] == "metric"}
    families = ("human", "zero_shot", "texture", "noise", "train", "time", "interval")
    assert {f"{family}/*": "samples_seen" for family in families}.items() <= axes.items()
    (start,) = (r["run"] for r in records if r["type"] == "run")
    assert (start["project"], start["display_name"], start["run_group"]) == ("mine", "run", "seeds")
    assert start["tags"] == ["a", "b"]
    assert start["config"]["update"]["seed"] == 3
    assert "wandb leet" in reported[0]
    assert "wandb sync" in reported[1]

    def resumed() -> Iterator[dict[str, Any]]:
        yield {**synthetic.where(60), "kind": "event", "event": "resumed", "message": ""}
        yield from (synthetic.evaluation(step, benchmarks) for step in (120, 180))

    feed(run.path, WandbMirror(run, tracker, {"seed": 3}, reported.append), resumed())
    records = inspected(run.path)
    (again,) = (r["run"] for r in records if r["type"] == "run")
    assert again["run_id"] == start["run_id"]
    assert [r["global_step"] for r in rows(records) if SROCC in r] == [180]  # 120 is there already


def test_without_its_server_it_continues_offline_and_reports_how_to_upload(
    tmp_path: Path, synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens there
    run = RunFolder(synthetic.write(tmp_path / "run", synthetic.lines(60)))
    WandbMirror(run, TrackerConfig(mode="disabled"), {}, print)._child.kill()  # only for what it is to do
    job = json.loads((run.wandb / "clip-align.json").read_text())
    (run.wandb / "clip-align.json").write_text(json.dumps({**job, "mode": "online"}))
    code = (
        "import sys; from clip_align.tracking import wandb as w; w.INIT_SECONDS = 2.0; sys.exit(w.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "0", str(run.path)]
    done = subprocess.run(command, input="end done\n", capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    warning, watch, upload = done.stdout.splitlines()
    assert warning.startswith("warning: wandb cannot be online (")
    assert warning.endswith("; continuing offline")
    assert (watch, upload) == tuple(hints(run, "offline"))
    assert [r["global_step"] for r in rows(inspected(run.path)) if SROCC in r] == [0, 2, 8, 32, 60]


def summary(records: list[dict[str, Any]]) -> dict[str, Any]:
    """The last value of every key of the run's summary."""
    found: dict[str, Any] = {}
    for record in records:
        for item in record.get("summary", {}).get("update", {}).items():
            found[item[0]] = item[1]
    return found


def test_the_best_value_is_the_one_that_the_score_declares(tmp_path: Path, synthetic: ModuleType) -> None:
    run, score = RunFolder(tmp_path / "run"), synthetic.score
    accuracy = score("accuracy_clean", "clean", higher_is_better=True)
    drop = score("corrected_drop_10", "corrected", higher_is_better=False)
    bias = score("texture_bias", "bias", higher_is_better=None)
    benchmarks = [
        synthetic.benchmark("noise/world_noise", "noise", [accuracy, drop]),
        synthetic.benchmark("texture/world_cue_conflict", "texture", [bias]),
    ]
    values = {0: 0.1, 60: 0.7, 120: 0.4}

    def lines() -> Iterator[dict[str, Any]]:
        yield from ({**synthetic.where(0), **benchmark} for benchmark in benchmarks)
        for step, value in values.items():
            keys = [f"{b['key']}/{s['name']}" for b in benchmarks for s in b["scores"]]
            ends = {f"{k}/low": value - 0.05 for k in keys} | {f"{k}/high": value + 0.05 for k in keys}
            yield {**synthetic.where(step), "kind": "evaluation", **dict.fromkeys(keys, value), **ends}

    feed(run.path, WandbMirror(run, TrackerConfig(), {}, print), lines())
    best = {k: v for k, v in summary(inspected(run.path)).items() if "/best" in k}
    assert best == {
        "noise/world_noise/accuracy_clean/best": 0.7,
        "noise/world_noise/accuracy_clean/best_samples": 60 * 128,
        "noise/world_noise/corrected_drop_10/best": 0.1,
        "noise/world_noise/corrected_drop_10/best_samples": 0,
    }


def test_a_best_value_that_a_resume_takes_back_is_no_best_value(tmp_path: Path, synthetic: ModuleType) -> None:
    run, score = RunFolder(tmp_path / "run"), synthetic.score("srocc", "SROCC", higher_is_better=True)
    key, mine = "human/mine/srocc", synthetic.benchmark("human/mine", "alignment", [score])

    def lines(*found: tuple[int, float]) -> Iterator[dict[str, Any]]:
        for step, value in found:
            yield {**synthetic.where(step), "kind": "evaluation", key: value}

    first = [{**synthetic.where(0), **mine}, *lines((0, 0.1), (60, 0.5), (120, 0.9))]
    resumed = {**synthetic.where(60), "kind": "event", "event": "resumed", "message": ""}
    feed(run.path, WandbMirror(run, TrackerConfig(), {}, print), iter(first))
    feed(run.path, WandbMirror(run, TrackerConfig(), {}, print), iter([resumed, *lines((120, 0.4), (180, 0.6))]))
    found = summary(inspected(run.path))
    assert (found[f"{key}/best"], found[f"{key}/best_samples"]) == (0.6, 180 * 128)


@pytest.mark.parametrize(
    ("name", "group", "expected"), [("sweep/0", None, "sweep"), ("sweep/0", "mine", "mine"), ("alone", None, None)]
)
def test_members_of_a_sweep_are_distinguished_and_grouped(
    tmp_path: Path, name: str, group: str | None, expected: str | None
) -> None:
    run = RunFolder(tmp_path / "runs" / name)
    mirror = WandbMirror(run, TrackerConfig(group=group), {"paths": {"runs": str(tmp_path / "runs")}}, print)
    mirror._child.kill()
    job = json.loads((run.wandb / "clip-align.json").read_text())
    assert (job["name"], job["group"]) == (name, expected)


def test_wandb_notes_the_command_as_typed_and_the_commit(tmp_path: Path, synthetic: ModuleType) -> None:
    run = RunFolder(tmp_path / "run")
    command = ["python", "train.py", "seed=3", "data.shards='a b.tar'"]
    write_provenance(run, command=command, git_commit="0123456789abcdef0123456789abcdef01234567-dirty")
    write_provenance(run, git_remote="https://git.example.org/clip-align.git")
    feed(run.path, WandbMirror(run, TrackerConfig(), {}, print), synthetic.lines(0))
    (found,) = (r["environment"] for r in inspected(run.path) if "program" in r.get("environment", {}))
    assert (found["program"], found["args"]) == ("train.py", command[2:])
    assert found["git"]["commit"] == "0123456789abcdef0123456789abcdef01234567"
    assert found["git"]["remote_url"] == "https://git.example.org/clip-align.git"


def test_what_wandb_would_find_out_about_its_own_process_is_the_runs() -> None:
    assert origin({"command": ["a"], "git_commit": None}) == {"command": ["a"], "git_commit": None, "git_remote": None}
    sweep = {"command": ["clip-align", "train", "seed=1"], "sweep_command": ["python", "train.py", "-m", "seed=1,2"]}
    assert origin(sweep)["command"] == ["python", "train.py", "-m", "seed=1,2"]
    assert child.program_of(["python", "-m", "clip_align", "train", "seed=1"]) == ("-m clip_align", ["train", "seed=1"])
    assert child.program_of(["torchrun", "train.py"]) == ("torchrun", ["train.py"])
    assert child.program_of([]) == ("clip-align", [])


class FakeRun:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.logged: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}

    def define_metric(self, *names: str, **more: str) -> None:
        """Nothing is drawn here."""

    def log(self, values: dict[str, Any]) -> None:
        self.logged.append(values)


def test_a_long_run_uploads_few_figures_and_always_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, fake, now = RunFolder(tmp_path), FakeRun(), [0.0]
    run.wandb.mkdir()
    (run.wandb / "clip-align.json").write_text("{}")
    monkeypatch.setattr(child, "_start", lambda *more: fake)
    monkeypatch.setattr(child.time, "monotonic", lambda: now[0])
    mirrored = child.Mirrored(run, print)
    Image.new("RGB", (4, 4)).save(run.curves_png)
    at = []
    for minute in range(24 * 60):
        now[0] = 60.0 * minute
        os.utime(run.curves_png, (now[0] + 1, now[0] + 1))  # drawn again
        before = len(fake.logged)
        mirrored.follow(final=False)
        at += [minute] if len(fake.logged) > before else []
    assert at == [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 1023]
    mirrored.follow(final=True)
    assert "curves" in fake.logged[-1]
    assert len(fake.logged) == len(at) + 1


@pytest.mark.slow
def test_rows_are_on_the_disk_while_the_run_goes_on(tmp_path: Path, synthetic: ModuleType) -> None:
    run = RunFolder(tmp_path / "run")
    mirror = WandbMirror(run, TrackerConfig(), {}, print)
    for line in synthetic.lines(60):
        synthetic.write(run.path, [line])
        mirror.line(line)
    end = time.monotonic() + 200
    while time.monotonic() < end:
        time.sleep(2)
        if list(run.path.glob("wandb/offline-run-*/run-*.wandb")) and any(
            SROCC in r for r in rows(inspected(run.path))
        ):
            break
    assert [r["global_step"] for r in rows(inspected(run.path)) if SROCC in r] == [0, 2, 8, 32, 60]
    mirror.close("done")


def test_a_wandb_that_dies_is_one_warning_and_the_record_goes_on(tmp_path: Path, synthetic: ModuleType) -> None:
    mirror = WandbMirror(RunFolder(tmp_path), TrackerConfig(), {}, print)
    mirror._child.kill()
    record = Record(tmp_path, [mirror])
    for step in range(5):
        record.append("train", Position(step, step, 0, 0.0), {"train/loss": 1.0})
    record.close("done")
    lines = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [x["kind"] for x in lines].count("train") == 5
    (warning,) = (x for x in lines if x["kind"] == "event")
    assert warning["message"].startswith("WandbMirror failed and is off for the rest of the run (wandb stopped")


def test_a_wandb_that_hangs_neither_slows_nor_keeps_the_run(
    tmp_path: Path, synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb_mirror, "SHORT_CLOSE_SECONDS", 0.3)
    reported: list[str] = []
    mirror = WandbMirror(RunFolder(tmp_path), TrackerConfig(), {}, reported.append)
    os.kill(mirror._child._process.pid, signal.SIGSTOP)
    line = {**synthetic.where(1), "kind": "train", "train/loss": 1.0}
    start = time.monotonic()
    for _ in range(70_000):  # more than the pipe holds
        mirror.line(line)
    assert (time.monotonic() - start) / 70_000 < 0.001
    mirror.close("interrupted")
    assert not mirror._child.alive
    assert reported[-1].startswith("warning: wandb did not finish")


def test_the_mode_is_decided_before_wandb_is_called(tmp_path: Path) -> None:
    here = {"HOME": str(tmp_path)}
    assert mode(None, here) == "offline"
    assert mode(None, {}) == "offline"  # no home
    assert mode(None, {**here, "WANDB_API_KEY": "x"}) == "online"
    assert mode(None, {**here, "WANDB_API_KEY": "x", "WANDB_MODE": "offline"}) == "offline"
    assert mode("disabled", {**here, "WANDB_MODE": "online"}) == "disabled"
    assert mode(None, {**here, "WANDB_MODE": "dryrun"}) == "offline"
    assert mode(None, {**here, "WANDB_DISABLED": "true"}) == "disabled"
    with pytest.raises(UserError, match="WANDB_MODE: 'on' is not one of online, offline, disabled"):
        mode(None, {**here, "WANDB_MODE": "on"})


def test_a_key_in_netrc_counts_for_its_host_only(tmp_path: Path) -> None:
    file = tmp_path / "rc"
    file.write_text("machine api.wandb.ai login user password secret\n")
    file.chmod(0o600)
    assert has_key({"NETRC": str(file)})
    assert not has_key({"NETRC": str(file), "WANDB_BASE_URL": "https://wandb.example.org"})
    (tmp_path / ".netrc").write_text("machine broken\n")
    assert not has_key({"HOME": str(tmp_path)})


def test_hints_quote_the_path(tmp_path: Path) -> None:
    watch, upload = hints(RunFolder(tmp_path / "a run"), "offline")
    assert f"leet '{tmp_path}/a run/wandb'" in watch
    assert upload.endswith(f"sync '{tmp_path}/a run/wandb'/offline-run-*")
    assert len(hints(RunFolder(tmp_path), "online")) == 1
