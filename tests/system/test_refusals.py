# SPDX-License-Identifier: Apache-2.0
"""Bad input to ``train``: one clear line per error, the exit code of the command's contract, nothing half-written."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from miniature_shards import samples, tar
from privileges import bound
from training_runs import ROOT, code_of, forked, lines, provenance, real

FEW = [
    "trainer=cpu", "callbacks=[]", "tracker=none", "checkpoint.best=null", "trainer.max_steps=4",
    "optimizer.warmup_steps=1", "trainer.log_every_n_steps=2",
]  # fmt: skip


def shards(*paths: Path, batch: int = 4) -> list[str]:
    return ["data=webdataset", f"data.shards=[{','.join(map(str, paths))}]", f"data.batch_size={batch}"]


def no_such_shard(at: Path) -> list[str]:
    return shards(at / "none.tar")


def empty_tar(at: Path) -> list[str]:
    return shards(tar(at / "good.tar", samples(range(8))), tar(at / "empty.tar", []))


def no_captions(at: Path) -> list[str]:
    return shards(tar(at / "mute.tar", [m for m in samples(range(8)) if m[0].endswith("jpg")]))


def batch_too_large(at: Path) -> list[str]:
    return shards(tar(at / "good.tar", samples(range(8))), batch=9)


def cache_is_a_file(at: Path) -> list[str]:
    (at / "file").write_text("taken")
    return ["data.images=64", "data.batch_size=16", f"paths.cache={at / 'file'}"]


def unknown_key(at: Path) -> list[str]:
    return ["trainer.max_step=4"]


def never_due(at: Path) -> list[str]:
    return ["callbacks=tid2013_remade", "callbacks.tid2013_remade.every_n_steps=0"]


def used(at: Path) -> list[str]:
    (at / "runs" / "x").mkdir(parents=True)
    (at / "runs" / "x" / "metrics.jsonl").write_text("{}\n")
    return ["data.images=64", "data.batch_size=16"]


Case = Callable[[Path], list[str]]
CASES: dict[Case, tuple[str, ...]] = {  # the line: what, where, and what to do
    no_such_shard: ("data.shards", "none.tar", "no such"),
    empty_tar: ("data.shards", "empty.tar is an empty tar", "leave it out"),
    no_captions: ("data.shards", "mute.tar", "8 no caption (first: k00000)", "a caption (txt"),
    batch_too_large: ("8 samples are fewer than one global batch of 9", "data.batch_size=8 or less"),
    cache_is_a_file: ("paths.cache", "/file cannot be used", "give a folder that can be written"),
    unknown_key: ("trainer.max_step:", "trainer.max_steps"),
    never_due: ("callbacks.tid2013_remade.every_n_steps", "0", "1"),
    used: ("name:", "/runs/x already holds a run", "resume=x", "another name="),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_bad_input_is_one_line_and_leaves_nothing(case: Case, tmp_path: Path) -> None:
    given = [*FEW, f"paths.runs={tmp_path}/runs", f"paths.cache={tmp_path}/cache", "name=x", *case(tmp_path)]
    there = files(tmp_path, but="cache")
    assert code_of(forked(given, tmp_path / "out")) == 2
    reported = (tmp_path / "out").read_text().splitlines()
    assert len(reported) == 1, reported
    assert all(part in reported[0] for part in CASES[case]), reported[0]
    assert files(tmp_path, but="cache") - {Path("out")} == there
    assert not half_written(tmp_path / "cache")


def test_two_errors_are_two_lines_within_seconds_from_the_command_itself(tmp_path: Path) -> None:
    given = ["trainer.max_step=4", "data.batch_size=0", f"paths.runs={tmp_path}/runs"]
    assert code_of(real(given, tmp_path / "out"), 20) == 2
    reported = (tmp_path / "out").read_text().splitlines()
    assert [line.split(":")[0] for line in sorted(reported)] == ["data.batch_size", "trainer.max_step"]
    assert not (tmp_path / "runs").exists()


def test_a_cache_without_permissions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0)
    command = [*bound(), sys.executable, "train.py", f"paths.runs={tmp_path}/runs", f"paths.cache={tmp_path}/locked"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "locked cannot be used (Permission denied); give a folder that can be written" in done.stderr
    assert not (tmp_path / "runs").exists()


def files(folder: Path, but: str = "") -> set[Path]:
    return {p.relative_to(folder) for p in folder.rglob("*") if p.relative_to(folder).parts[0] != but}


def half_written(cache: Path) -> list[Path]:
    """Files of a cache under a temporary name, and worlds without the file that is written last."""
    hidden = [p for p in cache.rglob("*") if p.name.startswith(".")]
    return hidden + [p for p in cache.glob("world/*") if not (p / "world.json").is_file()]


def test_a_cut_jpeg_among_good_ones_is_passed_over_and_counted(tmp_path: Path) -> None:
    members = samples(range(24))
    members[2 * 7] = (members[2 * 7][0], members[2 * 7][1][: len(members[14][1]) // 2])
    given = [
        *FEW, *shards(tar(tmp_path / "a.tar", members)), "data.max_bad_share=0.5", "trainer.max_steps=12",
        f"paths.runs={tmp_path}", f"paths.cache={tmp_path}/cache", "name=x",
    ]  # fmt: skip
    assert code_of(forked(given, tmp_path / "out")) == 0, (tmp_path / "out").read_text()
    event = next(line for line in lines(tmp_path / "x", "event") if line["event"] == "skipped_samples")
    assert event["causes"] == {"damaged image": event["skipped"]}
    assert "damaged image (first: k00007)" in event["message"]
    assert provenance(tmp_path / "x")["status"] == "done"


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow), 2])
def test_an_image_that_the_decoder_fails_on_does_not_end_the_run(
    tmp_path: Path, shared_data: Path, workers: int
) -> None:
    """A PNG with a malformed chunk and right checksums: it ended the run, and each resumed one at the same place."""
    given = [
        *FEW, *shards(shared_data / "odd_inputs/tars/poison.tar"), f"data.workers={workers}", "trainer.max_steps=40",
        f"paths.runs={tmp_path}", f"paths.cache={tmp_path}/cache", "name=x",
    ]  # fmt: skip
    assert code_of(forked(given, tmp_path / "out")) == 0, (tmp_path / "out").read_text()
    event = [line for line in lines(tmp_path / "x", "event") if line["event"] == "skipped_samples"][-1]
    assert event["causes"] == {"decoder error (IndexError)": 1}
    assert "1 decoder error (IndexError) (first: b)" in event["message"]
    assert event["copies"] == 0
    assert provenance(tmp_path / "x")["status"] == "done"


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, timeout=20)
    except OSError as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=20)


def world_too_large(at: Path) -> list[str]:
    return ["data.images=2000"]


def pictures_too_large(at: Path) -> list[str]:
    return [*shards(tar(at / "good.tar", samples(range(16)))), "callbacks=[tid2013_remade]"]


@pytest.mark.parametrize("case", [world_too_large, pictures_too_large], ids=lambda case: case.__name__)
def test_a_full_disk_is_one_line_and_nothing_stays_half_written(case: Case, tmp_path: Path, tiny_disk: Path) -> None:
    given = [*FEW, "data.batch_size=16", *case(tmp_path), f"paths.runs={tmp_path}/runs", f"paths.cache={tiny_disk}"]
    assert code_of(forked(given, tmp_path / "out")) == 2, (tmp_path / "out").read_text()
    reported = (tmp_path / "out").read_text().splitlines()
    (error,) = [line for line in reported if line.startswith("paths.cache")]
    assert reported[-1] == error  # after the lines of progress
    assert str(tiny_disk) in error
    assert "the disk is full" in error
    assert "choose another folder with paths.cache=<folder>" in error
    assert not half_written(tiny_disk)
    assert not (tmp_path / "runs").exists()
