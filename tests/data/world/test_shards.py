# SPDX-License-Identifier: Apache-2.0
"""The rendered world on disk."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import tracemalloc
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from clip_align.data.world import build as building
from clip_align.data.world import recipe
from clip_align.data.world.held_out import held_out, image
from clip_align.data.world.recipe import Recipe
from clip_align.data.world.shapes import SHAPES
from clip_align.data.world.shards import RenderedWorld, ensure_held_out, ensure_world, rendered_held_out
from clip_align.errors import UserError
from clip_align.processes import all_cores
from clip_align.processes.stop_signals import STOP_SIGNALS

SMALL = Recipe(images=70, size=16)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def world(cache: Path) -> RenderedWorld:
    return ensure_world(SMALL, cache, lambda line: None)


def test_shards_have_the_usual_layout(world: RenderedWorld) -> None:
    assert [path.name for path in world.shards] == ["00000.tar"]
    assert json.loads((world.folder / "00000_stats.json").read_text())["successes"] == 70
    with tarfile.open(world.shards[0]) as tar:
        names = tar.getnames()
        assert names[:3] == ["000000000.json", "000000000.png", "000000000.txt"]
        assert len(names) == 210
        content = {name: tar.extractfile(name).read() for name in names[:3]}  # type: ignore[union-attr]
    array = np.asarray(Image.open(io.BytesIO(content["000000000.png"])))
    about = json.loads(content["000000000.json"])
    assert array.shape == (16, 16, 3)
    assert about["caption"] == content["000000000.txt"].decode()
    assert about["shape"] in about["caption"]


def test_webdataset_reads_every_sample(world: RenderedWorld) -> None:
    samples = list(webdataset.WebDataset([str(path) for path in world.shards], shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [f"00000{n:04d}" for n in range(70)]
    assert all(json.loads(sample["json"])["caption"] == sample["txt"].decode() for sample in samples)


def test_held_out_sets_are_as_designed(world: RenderedWorld) -> None:
    for part, count in (("test", 512), ("random_texture", 240), ("cue_conflict", 960)):
        sets = held_out(world.held_out, part)
        assert sets.images.shape == (count, 16, 16, 3)
        assert len(sets) == count
        assert sets.shape.max() == len(SHAPES) - 1
        assert np.array_equal(image(world.held_out, part, 7), sets.images[7])


def test_second_call_renders_nothing(world: RenderedWorld, cache: Path) -> None:
    lines: list[str] = []
    assert ensure_world(SMALL, cache, lines.append) == world
    assert lines == []


def test_held_out_sets_alone_are_those_of_the_world(world: RenderedWorld, cache: Path, tmp_path: Path) -> None:
    assert ensure_held_out(cache, SMALL) == rendered_held_out(cache, SMALL) == world.held_out
    assert rendered_held_out(tmp_path, SMALL) is None
    folder = ensure_held_out(tmp_path, SMALL)
    assert rendered_held_out(tmp_path, SMALL) == folder
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        path.name for path in world.folder.iterdir() if not path.name.startswith("00000")
    )
    assert (folder / "test.npy").read_bytes() == (world.held_out / "test.npy").read_bytes()


def test_any_number_of_processes_gives_the_same_bytes(
    world: RenderedWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "cores", lambda: 3)
    monkeypatch.setattr(building, "_notify", lambda **fields: None)
    building.build(SMALL, tmp_path / "again")
    for path in world.folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_parameters_and_the_version_make_another_world(monkeypatch: pytest.MonkeyPatch) -> None:
    prints = {SMALL.fingerprint(), replace(SMALL, occlusion=0.3).fingerprint()}
    with monkeypatch.context() as patched:  # a docstring is not a parameter
        patched.setattr(Path, "read_bytes", lambda self: b"other code")
        prints.add(SMALL.fingerprint())
    assert len(prints) == 2
    monkeypatch.setattr(recipe, "VERSION", recipe.VERSION + 1)
    assert SMALL.fingerprint() not in prints
    assert Recipe.from_json(SMALL.to_json()) == SMALL


def test_held_out_images_are_read_without_torch() -> None:
    """The processes that make stimuli read them, and must start fast."""
    rooms = "import clip_align.data.world.held_out, clip_align.data.world.render"
    code = f"import sys; {rooms}; sys.exit('torch' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_cache_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as caught:
        ensure_world(SMALL, tmp_path / "file", lambda line: None)
    assert len(caught.value.lines) == 1
    assert str(caught.value) == (
        f"paths.cache: cannot write the embedded world to {tmp_path}/file/world: Not a directory; "
        "make room there or choose another folder with paths.cache=<folder>"
    )


def test_a_shard_of_large_images_takes_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(images=1000, size=64)  # 12 MB of pixels, 49 as float32
    monkeypatch.setattr(
        building, "render", lambda recipe, scenes, held_out: np.zeros((len(scenes.shape), 64, 64, 3), np.uint8)
    )
    monkeypatch.setattr(building, "_tick", lambda image_list: None)
    monkeypatch.setattr(building, "_recipe", recipe, raising=False)
    monkeypatch.setattr(building, "_test", np.ones((4, 64 * 64 * 3), np.float32), raising=False)
    building._write_shard(tmp_path, 0)  # tables are made
    tracemalloc.start()
    distances, _ = building._write_shard(tmp_path, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (distances == 0).all()  # less the test image's own square
    assert peak < 20e6


def test_a_rendering_process_that_is_killed_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def killed(recipe: Recipe, folder: Path) -> None:
        raise BrokenProcessPool("a traceback")

    monkeypatch.setattr(building, "build", killed)
    monkeypatch.setattr("signal.signal", lambda *arguments: None)
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({"recipe": SMALL.to_json(), "folder": "x"})))
    assert building.main() == 1
    assert capsys.readouterr().out == "a rendering process was killed (out of memory?)\n"


def test_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(recipe: Recipe, folder: Path) -> None:
        (folder / "00000.tar").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(building, "_render_all", fail)
    with pytest.raises(OSError, match="No space"):
        building.build(SMALL, tmp_path / "world" / "x")
    assert list((tmp_path / "world").iterdir()) == []


def test_what_another_process_finished_first_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def overtaken(recipe: Recipe, folder: Path) -> None:
        (tmp_path / "x").mkdir()
        for name in ("world.json", "00000.tar"):
            (tmp_path / "x" / name).write_text("theirs")
        (folder / "world.json").write_text("mine")

    monkeypatch.setattr(building, "_render_all", overtaken)
    building.build(SMALL, tmp_path / "x")
    assert (tmp_path / "x" / "world.json").read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]


def test_a_world_that_has_lost_a_shard_is_rendered_again(world: RenderedWorld, cache: Path) -> None:
    before = world.shards[0].read_bytes()
    world.shards[0].unlink()
    assert ensure_world(SMALL, cache, lambda line: None) == world
    assert world.shards[0].read_bytes() == before
    assert list(world.folder.parent.iterdir()) == [world.folder]


def test_another_process_with_our_id_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids of processes repeat between the containers that share a cache."""
    theirs = tmp_path / f".x.{os.getpid()}.rendering"
    theirs.mkdir()
    (theirs / "00000.tar").write_bytes(b"half")
    monkeypatch.setattr(building, "_render_all", lambda recipe, folder: (folder / "world.json").write_text("{}"))
    building.build(SMALL, tmp_path / "x")
    assert (theirs / "00000.tar").read_bytes() == b"half"
    assert (tmp_path / "x" / "world.json").is_file()
    assert [path.name for path in tmp_path.glob(".*")] == [theirs.name]


def test_what_a_killed_renderer_left_is_removed_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, young = (tmp_path / f".{name}.1.rendering" for name in ("old", "young"))
    for folder in (old, young):
        folder.mkdir()
        (folder / "00000.tar").write_bytes(b"half")
    os.utime(old, (time.time() - all_cores.STALE_SECONDS - 1,) * 2)
    all_cores.remove_stale(tmp_path)
    assert list(tmp_path.iterdir()) == [young]
    monkeypatch.setattr(Path, "glob", lambda self, pattern: [old, young])  # gone between looking and asking
    all_cores.remove_stale(tmp_path)


@pytest.mark.parametrize(
    ("printed", "message"),
    [
        ('{"error": "No space left on device", "errno": 28}', "the disk is full (No space left on device)"),
        ("Killed by something", "ended early (Killed by something); try again"),
    ],
)
def test_what_the_renderer_reports_becomes_one_line(
    printed: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    popen = subprocess.Popen
    monkeypatch.setattr(
        all_cores.subprocess,
        "Popen",
        lambda command, **options: popen([sys.executable, "-c", f"input(); print({printed!r})"], **options),
    )
    with pytest.raises(UserError) as caught:
        ensure_world(SMALL, tmp_path, lambda line: None)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def renderer(folder: Path) -> subprocess.Popen[str]:
    """One that has begun with a large world."""
    process = subprocess.Popen(
        [sys.executable, "-m", "clip_align.data.world.build"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=all_cores.PACKAGE_PARENT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps({"recipe": replace(SMALL, images=20_000).to_json(), "folder": str(folder)}))
    process.stdin.close()
    process.stdin = None
    process.stdout.readline()
    return process


def test_a_killed_renderer_leaves_nobody_behind_who_keeps_its_reader_waiting(tmp_path: Path) -> None:
    process = renderer(tmp_path / "w" / "x")
    process.kill()
    process.communicate(timeout=30)  # to the end of its output, which a whole world would delay for longer


def test_renderer_whose_reader_is_gone_cleans_up(tmp_path: Path) -> None:
    process = renderer(tmp_path / "w" / "x")
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=600) != 0
    assert list((tmp_path / "w").iterdir()) == []


@pytest.mark.parametrize("number", STOP_SIGNALS, ids=lambda n: n.name)
def test_a_renderer_that_a_signal_ends_cleans_up(tmp_path: Path, number: signal.Signals) -> None:
    process = renderer(tmp_path / "w" / "x")
    process.send_signal(number)
    process.communicate(timeout=600)
    assert process.returncode == (130 if number == signal.SIGINT else 143)
    assert list((tmp_path / "w").iterdir()) == []
