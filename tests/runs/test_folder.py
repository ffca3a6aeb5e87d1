# SPDX-License-Identifier: Apache-2.0
"""A run's folder: names, atomic writes, provenance, caches on machines that refuse things."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from clip_align.errors import UserError
from clip_align.runs import folder as run_folder
from clip_align.runs.folder import RunFolder, new_run, resolve_run, run_name, user_cache, write_atomic, write_provenance
from clip_align.runs.provenance import provenance


def test_two_processes_with_one_id_write_the_same_file(tmp_path: Path) -> None:
    """Ids of processes repeat between the containers that share a folder."""
    with run_folder.replacing(tmp_path / "a") as mine, run_folder.replacing(tmp_path / "a") as theirs:
        mine.write_text("mine")
        theirs.write_text("theirs")
    assert (tmp_path / "a").read_text() == "mine"  # renamed last
    assert len(list(tmp_path.iterdir())) == 1


def used(folder: RunFolder) -> RunFolder:
    folder.metrics_jsonl.write_text('{"kind": "event", "global_step": 0}\n')
    return folder


def test_a_name_made_from_the_experiment_is_unique_within_a_second(tmp_path: Path) -> None:
    names = {new_run(tmp_path, None, "paper").path.name for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("paper-") for name in names)


def test_a_used_name_is_refused_and_an_empty_folder_is_not(tmp_path: Path) -> None:
    used(new_run(tmp_path, "a/0", "main"))
    with pytest.raises(UserError) as caught:
        new_run(tmp_path, "a/0", "main")
    assert str(caught.value) == (
        f"name: {tmp_path}/a/0 already holds a run; continue with it by resume=a/0, or choose another name=…"
    )
    new_run(tmp_path, "b", "main")
    new_run(tmp_path, "b", "main")  # made before, but no step was taken in it


@pytest.mark.parametrize("name", ["../x", "/abs", "a b", "", "a//b", ".hidden", "latest", "-x", "a/../b"])
def test_names_that_are_no_folder_names_are_refused(tmp_path: Path, name: str) -> None:
    assert run_folder.bad_name(name) is not None


def test_latest_points_to_the_newest_run(tmp_path: Path) -> None:
    used(new_run(tmp_path, "a", "main"))
    used(new_run(tmp_path, "b/1", "main"))
    assert (tmp_path / "latest").is_symlink()
    assert resolve_run(tmp_path, "latest").path == tmp_path / "b" / "1"


@pytest.mark.parametrize("text", ["my notes\n", "gone\n", "a\nand more\n", ""])
def test_a_foreign_file_called_latest_is_left_alone(tmp_path: Path, text: str) -> None:
    (tmp_path / "latest").write_text(text)
    new_run(tmp_path, "a", "main")
    assert (tmp_path / "latest").read_text() == text
    (tmp_path / "latest").write_text("a\n")  # as it is where links are refused
    new_run(tmp_path, "b", "main")
    assert (tmp_path / "latest").readlink() == Path("b")


def test_latest_is_a_text_file_where_links_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("links are refused")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    used(new_run(tmp_path, "a", "main"))
    assert (tmp_path / "latest").read_text() == "a\n"
    assert resolve_run(tmp_path, "latest").path == tmp_path / "a"


def test_a_run_is_found_by_name_and_by_folder_and_the_message_lists_what_is_there(tmp_path: Path) -> None:
    run = used(new_run(tmp_path, "a", "main"))
    assert resolve_run(tmp_path, "a") == run
    assert resolve_run("elsewhere", run.path) == run
    with pytest.raises(UserError, match=r"no run of this name in .*; runs there, newest first: a"):
        resolve_run(tmp_path, "b")
    for typed in ("latset", "lastest"):
        with pytest.raises(UserError, match=rf"^{typed}: .*; did you mean latest\? runs there, newest first: a"):
            resolve_run(tmp_path, typed)


def test_a_run_is_called_as_users_type_it(tmp_path: Path) -> None:
    assert run_name(RunFolder(tmp_path / "runs" / "sweep" / "0"), tmp_path / "runs") == "sweep/0"
    assert run_name(RunFolder(tmp_path / "elsewhere"), tmp_path / "runs") == "elsewhere"


def test_a_sweep_names_its_runs_and_only_runs_are_listed_newest_first(tmp_path: Path) -> None:
    for number in (0, 2, 10):
        used(new_run(tmp_path, f"seeds/{number}", "main"))
    used(new_run(tmp_path, "z", "main"))
    (tmp_path / "compare-1").mkdir()
    os.utime(tmp_path / "z", (1, 1))
    with pytest.raises(UserError) as caught:
        resolve_run(tmp_path, "seeds")
    assert caught.value.lines == ("seeds: a sweep of 3, not a run; its runs: seeds/0, seeds/2, seeds/10",)
    with pytest.raises(UserError, match=r"; runs there, newest first: seeds, z$"):
        resolve_run(tmp_path, "nope")


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    write_atomic(path, "old")

    def write_half() -> None:
        with run_folder.replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_provenance_is_merged(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    write_provenance(run, **provenance(["train", "seed=3"], seed=3), status="running", exit_code=None)
    write_provenance(run, status="done", exit_code=0)
    read = json.loads(run.provenance_json.read_text())
    assert (read["status"], read["exit_code"], read["seed"], read["command"]) == ("done", 0, 3, ["train", "seed=3"])
    assert read["versions"]["hydra-core"]
    assert "git_commit" in read


def test_an_explicit_cache_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as caught:
        user_cache(str(tmp_path / "file" / "cache"))
    assert str(caught.value) == (
        f"paths.cache: {tmp_path}/file/cache cannot be used (Not a directory); give a folder that can be written"
    )
    assert user_cache(str(tmp_path / "new")) == (tmp_path / "new", None)


@pytest.mark.skipif(sys.platform != "linux", reason="XDG folders")
def test_without_a_usable_home_the_cache_is_temporary_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder, line = user_cache(None)
    assert folder.parent == tmp_path
    assert line is not None
    assert str(folder) in line
    assert user_cache(None)[0] == folder  # the next run finds it again


def test_runs_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(UserError, match=r"^paths.runs: .* cannot be made \(Not a directory\); set paths.runs=…$"):
        new_run(tmp_path / "runs", "a", "main")
    assert not os.path.lexists(tmp_path / "latest")
