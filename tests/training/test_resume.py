# SPDX-License-Identifier: Apache-2.0
"""Where a run begins: again, at a checkpoint, or not at all."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from clip_align.config import Config, OptimizerConfig, PathsConfig, Source, TrainerConfig
from clip_align.config_plain import to_plain
from clip_align.data.sources.webdataset import ShardData
from clip_align.errors import UserError
from clip_align.runs.folder import RunFolder, lock, release, write_provenance
from clip_align.training import open_run as opening
from clip_align.training.checkpoint_files import OWN, point_last
from clip_align.training.resume import first_start, global_batch, resume_command, run_start, steps_of


def config(**trainer: Any) -> Config:
    return Config(trainer=TrainerConfig(**{"max_steps": 1000, **trainer}), optimizer=OptimizerConfig(warmup_steps=100))


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run of 1,000 steps on 2 ranks with a checkpoint at step 400."""
    run = RunFolder(tmp_path / "a")
    run.checkpoints.mkdir(parents=True)
    own = {
        "global_step": 400, "ranks": 2, "wall_seconds": 50.0, "cursor": [2, 7], "config": to_plain(config()),
        "words": ["a", "b"], "samples_seen": 102_400,
    }  # fmt: skip
    torch.save({OWN: own}, run.checkpoints / "last.ckpt")
    line = {"kind": "event", "global_step": 410, "samples_seen": 0, "epoch": 2, "wall_seconds": 53.5, "event": "x"}
    run.metrics_jsonl.write_text(json.dumps(line) + "\n")
    return run


def test_steps_from_samples_are_rounded_up():
    batch = global_batch(128, 3, accumulate=2)
    assert batch == 768
    assert steps_of(None, 10_000, batch) == 14
    assert steps_of(1000, None, batch) == 1000


@pytest.mark.parametrize(("kind", "contrasted"), [("accumulate", 1024), ("accumulate_grad_batches", 256)])
def test_the_contrast_grows_with_the_batches_that_are_contrasted_together(tmp_path, kind, contrasted):
    settings = config(**{kind: 4})
    start = run_start(replace(settings, paths=PathsConfig(runs=str(tmp_path))), 2)
    components = SimpleNamespace(
        model_name="tiny",
        event_steps=[],
        loader=SimpleNamespace(num_workers=0),
        data_provenance={},
        stimuli={},
        initial=None,
    )
    line = opening._started_event(start, components, 2, RunFolder(tmp_path / "a"))
    assert (line["global_batch"], line["contrastive_batch"]) == (1024, contrasted)
    assert line["message"] == (
        f"a: tiny, 1000 steps of 1024 samples on 2 ranks (each contrasted with {contrasted}), 0 evaluations"
    )
    about = opening._provenance(start, components, 2, ["x"], RunFolder(tmp_path / "a"))
    assert (about["global_batch"], about["contrastive_batch"]) == (1024, contrasted)


def test_a_new_run(tmp_path):
    start = run_start(replace(config(), paths=PathsConfig(runs=str(tmp_path))), 1)
    assert (start.folder, start.checkpoint, start.step, start.done, start.lines) == (None, None, 0, False, ())
    assert start.cursor("print") == ([0, 0], None)
    assert start.words is None


def test_a_warm_up_longer_than_the_run_is_cut(tmp_path):
    short = replace(config(max_steps=50), paths=PathsConfig(runs=str(tmp_path)))
    start = run_start(short, 1)
    assert start.optimizer.warmup_steps == 5
    assert start.config.optimizer.warmup_steps == 100  # what was configured stays in the config
    assert start.lines == ("optimizer.warmup_steps: 100 is longer than the run of 50 steps; cut to 5",)


def test_going_on(run):
    start = run_start(replace(config(), resume=str(run.path)), 2)
    assert (start.step, start.checkpoint) == (400, run.checkpoints / "last.ckpt")
    assert start.cursor("print") == ([2, 7], None)  # of before fingerprints were kept
    assert start.words == ["a", "b"]
    assert start.wall_seconds == 53.5  # of the last line, which came after the checkpoint
    assert start.lines == ("resuming from step 400 (last.ckpt)",)


def test_with_other_data_the_next_epoch_begins(run):
    own = torch.load(run.checkpoints / "last.ckpt")[OWN]
    torch.save({OWN: {**own, "data_fingerprint": "old"}}, run.checkpoints / "last.ckpt")
    start = run_start(replace(config(), resume=str(run.path)), 2)
    assert start.cursor("old") == ([2, 7], None)
    cursor, line = start.cursor("new")
    assert cursor == [3, 0]
    assert line == (
        f"data: not what {run.path} was trained on so far (fingerprint old, now new); continuing with epoch 3 of these"
    )


def on_shards(run: RunFolder, fingerprint: str | None, before: str, now: str) -> Any:
    """The run with a checkpoint that was trained on shards in one place, resumed with those in another."""
    own = torch.load(run.checkpoints / "last.ckpt")[OWN]
    trained, resumed = (replace(config(), data=ShardData(shards=(Source(place),))) for place in (before, now))
    known = {**own, "config": to_plain(trained)} | ({"data_fingerprint": fingerprint} if fingerprint else {})
    torch.save({OWN: known}, run.checkpoints / "last.ckpt")
    return run_start(replace(resumed, resume=str(run.path)), 2)


def test_the_same_data_in_another_place_are_trained_on_from_the_same_batch(run):
    cursor, line = on_shards(run, "print", "/a/x.tar", "/b/x.tar").cursor("print")
    assert cursor == [2, 7]
    assert line == "data.shards: the same data as before, in another place"


def test_samples_that_were_trained_on_are_not_held_out(run):
    own = torch.load(run.checkpoints / "last.ckpt")[OWN]

    def check(before: str | None, now: str | None) -> None:
        torch.save(
            {OWN: own | ({"held_out_limit": before} if before != "absent" else {})}, run.checkpoints / "last.ckpt"
        )
        run_start(replace(config(), resume=str(run.path)), 2).check_held_out(now)

    for before, now in (("absent", None), (None, None), ("0b", None), ("0b", "0b"), ("0b", "0a")):
        check(before, now)
    for before, now in (("absent", "0a"), (None, "0a"), ("0a", "0b")):
        with pytest.raises(UserError) as caught:
            check(before, now)
        assert caught.value.lines == (
            f"data.held_out: among these samples are some that {run.path} may have been trained on so far; keep its "
            "data and its data.held_out, or begin a new run",
        )
    first_start(config(), 2).check_held_out("0a")  # nothing was trained on before


@pytest.mark.parametrize(("kept", "shown"), [("old", "old"), (None, "unknown")])
def test_other_data_in_another_place_are_refused_by_name(run, kept, shown):
    with pytest.raises(UserError) as caught:
        on_shards(run, kept, "/a/x.tar", "/b/x.tar").cursor("print")
    assert str(caught.value) == (
        f"data.shards: not the data that {run.path} was trained on so far (fingerprint {shown}, now print); when a run "
        "is resumed its data may lie elsewhere, with the same names, sizes and order"
    )
    assert on_shards(run, kept, "/a/x.tar", "/a/x.tar").cursor("print")[0] == ([3, 0] if kept else [2, 7])


def test_the_provenance_keeps_the_fingerprint_of_earlier_data(run):
    start = run_start(replace(config(), resume=str(run.path)), 2)
    write_provenance(run, command=["first"], data_fingerprint="old")

    def noted(own: str | None, now: str) -> dict[str, Any]:
        components: Any = SimpleNamespace(data_provenance={"data_fingerprint": now}, stimuli={}, initial=None)
        known = {**start.own, "data_fingerprint": own} if own else start.own
        return opening._provenance(replace(start, own=known), components, 2, ["second"], run)

    for own, now in ((None, "new"), ("old", "old")):
        assert "data_fingerprint_before" not in noted(own, now)["resumed"][0]
    about = noted("old", "new")
    assert about["command"] == ["first"]
    assert about["data_fingerprint"] == "new"
    assert about["resumed"][0]["data_fingerprint_before"] == "old"


def test_another_length_is_reported(run):
    start = run_start(replace(config(max_steps=2000), resume=str(run.path)), 2)
    assert start.lines[1] == "learning rate: cosine schedule recomputed for 2000 steps"


@pytest.mark.parametrize(
    ("steps", "ranks", "message"),
    [
        (300, 2, "has reached step 400, beyond the 300 steps asked for"),
    ],
)
def test_what_cannot_go_on(run, steps, ranks, message):
    with pytest.raises(UserError, match=message):
        run_start(replace(config(max_steps=steps), resume=str(run.path)), ranks)


@pytest.mark.parametrize(
    ("ranks", "batch_size", "accumulate", "advice"),
    [
        (1, 128, 1, "1 rank, 128 and 128; both must stay: type data.batch_size=256 or trainer.accumulate=2"),
        (4, 128, 1, "4 ranks, 512 and 512; both must stay: type data.batch_size=64"),
        (2, 64, 1, "2 ranks, 128 and 128; both must stay: type data.batch_size=128 or trainer.accumulate=2"),
        (3, 128, 1, "3 ranks, 384 and 384; both must stay: start a number of ranks that divides them"),
    ],
)
def test_steps_of_other_samples_are_refused(run, ranks, batch_size, accumulate, advice):
    divided = config(accumulate=accumulate)
    resumed = replace(divided, data=replace(divided.data, batch_size=batch_size), resume=str(run.path))
    with pytest.raises(UserError) as caught:
        run_start(resumed, ranks)
    assert caught.value.lines == (
        f"resume: {run.path} was trained by 2 ranks in steps of 256 samples, each contrasted with 256, and would "
        f"continue with {advice}",
    )


def test_what_samples_are_contrasted_with_has_to_stay_too(run):
    """A checkpoint of an earlier release, whose accumulated batches were contrasted one by one."""
    content = torch.load(run.checkpoints / "last.ckpt")
    trainer = content[OWN]["config"]["trainer"]
    del trainer["accumulate_grad_batches"]
    trainer["accumulate"] = 2
    torch.save(content, run.checkpoints / "last.ckpt")
    assert run_start(replace(config(accumulate_grad_batches=2), resume=str(run.path)), 2).step == 400
    with pytest.raises(UserError, match="in steps of 512 samples, each contrasted with 256, and would continue with 2"):
        run_start(replace(config(accumulate=2), resume=str(run.path)), 2)


@pytest.mark.parametrize(("ranks", "batch_size", "accumulate"), [(1, 256, 1), (1, 128, 2), (4, 64, 1), (4, 32, 2)])
def test_another_number_of_ranks_continues_at_the_same_sample(run, ranks, batch_size, accumulate):
    divided = config(accumulate=accumulate)
    start = run_start(replace(divided, data=replace(divided.data, batch_size=batch_size), resume=str(run.path)), ranks)
    assert start.cursor("print") == ([2, 7], None)  # in batches of all ranks
    assert start.lines == (
        "resuming from step 400 (last.ckpt)",
        f"ranks: 2 before, {ranks} now; each step has the same samples, and losses differ by rounding, and by what a "
        "rank draws itself (dropout, noise)",
    )
    components = SimpleNamespace(model_name="tiny", event_steps=[], loader=SimpleNamespace(num_workers=0))
    line = opening._started_event(start, components, ranks, run)
    assert (line["ranks"], line["message"].endswith("0 evaluations, from step 400 on 2 ranks")) == (ranks, True)


def test_the_command_that_resumes_a_run(tmp_path):
    run = RunFolder(tmp_path / "my runs" / "sweep" / "0")
    assert resume_command(RunFolder(Path("runs/a")), PathsConfig()) == "python train.py resume=a"
    assert resume_command(run, PathsConfig(runs=str(tmp_path / "my runs"), cache="/c")) == (
        f"python train.py resume=sweep/0 'paths.runs={tmp_path}/my runs' paths.cache=/c"
    )
    assert resume_command(run, PathsConfig()) == f"python train.py 'resume={run.path}'"


def test_a_finished_run_has_nothing_to_do(run):
    at_its_end = replace(config(max_steps=400), resume=str(run.path))
    assert not run_start(at_its_end, 2).done  # the steps are made, the verdict is missing
    write_provenance(run, status="done")
    start = run_start(at_its_end, 2)
    assert start.done
    assert len(start.lines) == 1


def test_steps_without_a_checkpoint(run):
    (run.checkpoints / "last.ckpt").unlink()
    start = run_start(replace(config(), resume=str(run.path)), 2)
    assert (start.folder, start.checkpoint, start.step) == (run.path, None, 0)
    assert "starting again, old record kept aside" in start.lines[0]


def test_a_new_start_keeps_what_trackers_know_of_the_old_one_aside(run):
    (run.wandb / "offline-run-1").mkdir(parents=True)
    (run.path / "tensorboard").mkdir()
    names = ["evaluations.csv", "train.csv"]
    for name in names:
        (run.path / name).write_text("global_step\n60\n")
    opening._keep_aside(run)
    (aside,) = run.path.glob("before-*")
    assert {"wandb", "tensorboard", *names} <= {p.name for p in aside.iterdir()}
    assert not run.wandb.exists()


def test_a_member_of_a_sweep_begins_under_the_name_that_users_type(tmp_path):
    start = first_start(replace(config(max_steps=9), paths=PathsConfig(runs=str(tmp_path))), 1)
    components = SimpleNamespace(model_name="tiny", event_steps=[], loader=SimpleNamespace(num_workers=0))
    line = opening._started_event(start, components, 1, RunFolder(tmp_path / "sweep" / "0"))
    assert line["run"] == "sweep/0"
    assert line["message"].startswith("sweep/0: tiny, 9 steps of 128 samples (each contrasted with 128)")


def test_a_used_name_is_refused(run):
    used = replace(config(), name="a", paths=PathsConfig(runs=str(run.path.parent)))
    before = sorted(run.path.parent.rglob("*"))
    with pytest.raises(UserError, match="already holds a run"):
        run_start(used, 1)
    assert sorted(run.path.parent.rglob("*")) == before  # no folder, and `latest` stays where it was


def test_a_folder_that_cannot_be_written_names_paths_runs(tmp_path, monkeypatch):
    def refuse(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(opening, "write_atomic", refuse)
    start = run_start(replace(config(), name="b", paths=PathsConfig(runs=str(tmp_path))), 1)
    folder, _ = opening.folder_of(start)
    with pytest.raises(UserError, match=r"^paths.runs: .*/b cannot be written \(No space left on device\); set paths"):
        opening.open_run(folder, start, None, None, [])


def test_what_a_killed_write_has_left_is_removed_under_the_lock(run, monkeypatch):
    """A process is killed in the middle of a save, and of a write of the record's items."""
    script = """
        import os, signal, sys
        from pathlib import Path
        from clip_align.runs.folder import replacing
        with replacing(Path(sys.argv[1])) as temporary:
            temporary.write_bytes(bytes(100_000))
            os.kill(os.getpid(), signal.SIGKILL)
    """
    for name in ("checkpoints/step-000000410.ckpt", "items/human/x/step-000000410.npz"):
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        killed = subprocess.run([sys.executable, "-c", textwrap.dedent(script), run.path / name], check=False)
        assert killed.returncode == -9
    (run.items / "human" / "x" / ".mine.tmp").write_text("not one of ours")
    report = run.path / ".report.html.0123abcd.tmp"  # of a report that is being drawn
    report.write_text("half")
    old = run.path / ".curves.png.0123abcd.tmp"
    old.write_text("half")
    os.utime(old, (1.0, 1.0))

    def hidden() -> list[str]:
        return sorted(p.name for p in run.path.rglob(".*"))

    assert len(hidden()) == 5
    start = run_start(replace(config(), resume=str(run.path)), 2)
    held = lock(run)  # a training is under way: its files stay
    monkeypatch.setattr(opening, "ORPHANS_S", 0.3)
    with pytest.raises(UserError, match="in use"):
        opening.folder_of(start)
    assert len(hidden()) == 5
    os.close(held)
    monkeypatch.setattr(opening, "lock", lambda run: None)  # nobody can tell whether there is one
    opening.folder_of(start)
    assert len(hidden()) == 5
    monkeypatch.undo()
    release(opening.folder_of(start).lock)
    assert hidden() == [".mine.tmp", report.name]


def test_a_checkpoint_that_was_given_up_is_named_in_lines_and_record(run):
    own = torch.load(run.checkpoints / "last.ckpt")
    for step in (400, 500):
        with (run.checkpoints / f"step-{step:09d}.ckpt").open("wb") as file:
            torch.save({**own, "w": torch.zeros(4096)}, file)
    point_last(run.checkpoints, "step-000000500.ckpt")
    with (run.checkpoints / "step-000000500.ckpt").open("r+b") as file:
        file.seek(9000)
        file.write(b"x")
    start = run_start(replace(config(), resume=str(run.path)), 2)
    reason = "archive/data/0 does not have its checksum"
    assert start.lines == (
        f"resume: checkpoint step-000000500.ckpt is damaged and was given up ({reason})",
        "resuming from step 400 (step-000000400.ckpt)",
    )
    components = SimpleNamespace(model_name="tiny", event_steps=[], loader=SimpleNamespace(num_workers=0))
    line = opening._started_event(start, components, 2, run)
    assert line["given_up"] == [f"step-000000500.ckpt: {reason}"]
    assert line["message"].endswith(f", from step 400; given up as damaged: step-000000500.ckpt: {reason}")
    opening.folder_of(start)
    assert sorted(p.name for p in run.checkpoints.iterdir()) == [
        "damaged-step-000000500.ckpt", "last.ckpt", "step-000000400.ckpt",
    ]  # fmt: skip


def test_a_folder_in_use_is_refused_and_one_whose_orphans_end_is_waited_for(run, monkeypatch):
    held = lock(run)
    monkeypatch.setattr(opening, "ORPHANS_S", 0.3)
    with pytest.raises(UserError, match=r"^name: .*/a is in use by a training that is under way"):
        opening._lock(run)
    monkeypatch.setattr(opening, "ORPHANS_S", 30.0)
    threading.Timer(0.5, os.close, [held]).start()
    opening._lock(run)
