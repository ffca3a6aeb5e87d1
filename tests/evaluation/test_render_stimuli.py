# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from clip_align.errors import UserError
from clip_align.evaluation import render_stimuli as images
from clip_align.evaluation.render_stimuli import ensure
from clip_align.evaluation.stimulus import ImageArray, Stimulus, View
from clip_align.evaluation.stimulus_cache import IDS, Job, load
from clip_align.evaluation.stimulus_fingerprint import fingerprint
from clip_align.evaluation.views import cut

Maker = Callable[[str], Callable[..., object]]
MAKER = """
import sys, numpy as np
def flat(value, height=40, width=50):
    assert "torch" not in sys.modules, "torch was imported"
    return np.full((height, width, 3), value, np.uint8)
def light(value):
    return np.full((8, 8, 3), value / 255, np.float32)
def broken(value):
    raise OSError("no such image")
def killed(value):
    import os
    os.kill(os.getpid(), 9)
def slow(value):
    import time
    time.sleep(600)
"""


@pytest.fixture
def maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Maker:
    """A module of somebody's own, importable in other processes too."""
    (tmp_path / "my_maker.py").write_text(MAKER)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("my_maker", None)
    import my_maker  # type: ignore[import-not-found]

    return lambda name: getattr(my_maker, name)


def plan(cache: Path, stimuli: Iterable[Stimulus], view: View, size: int, tiles: int = 1) -> Job:
    return Job("human/mine", tuple(stimuli), view, size, tiles, 1, cache)


def job(cache: Path, maker: Maker, name: str = "flat", n: int = 20) -> Job:
    stimuli = [Stimulus(f"s{i}", partial(maker(name), i)) for i in range(n)]  # type: ignore[arg-type]
    return plan(cache, stimuli, "tiles", 16, 3)


def test_images_are_made_once_in_another_process(tmp_path: Path, maker: Maker) -> None:
    reported: list[str] = []
    order = job(tmp_path / "cache", maker)
    ensure([order], reported.append)
    array, rows = load(order)
    assert rows.tolist() == list(range(20))
    assert array.shape == (20, 3, 16, 16, 3)
    assert array.dtype == np.uint8
    assert array[:, 0, 0, 0, 0].tolist() == list(range(20))
    assert not any("this process only" in line for line in reported)
    changed = order.target.stat().st_mtime_ns
    ensure([order], reported.append)
    assert order.target.stat().st_mtime_ns == changed
    assert sorted(p.name for p in order.target.parent.iterdir()) == sorted(
        [order.target.name, order.target.stem + IDS]
    )  # nothing temporary left


def test_two_processes_with_one_id_make_the_same_images(tmp_path: Path, maker: Maker) -> None:
    """Ids of processes repeat between the containers that share a cache."""
    order = job(tmp_path, maker, "light", n=4)

    def overtaken() -> Iterator[ImageArray]:
        yield from images._all_images(order, 1, cut)
        images._written(order, images._all_images(order, 1, cut))

    images._written(order, overtaken())
    assert (255 * load(order)[0][:, 0, 0, 0, 0]).round().tolist() == [0, 1, 2, 3]


def test_float_images_are_kept_as_float(tmp_path: Path, maker: Maker) -> None:
    order = plan(tmp_path, [Stimulus("a", partial(maker("light"), 51))], "native", 8)  # type: ignore[arg-type]
    ensure([order], str)
    assert load(order)[0].dtype == np.float32
    assert np.allclose(load(order)[0], 0.2)


def test_what_only_this_process_can_make_is_made_here(tmp_path: Path) -> None:
    reported: list[object] = []
    order = plan(tmp_path, [Stimulus("a", lambda: np.zeros((8, 8, 3), np.uint8))], "native", 8)
    ensure([order], reported.append)
    assert load(order)[0].shape == (1, 1, 8, 8, 3)
    # without progress, which comes where an image takes long
    assert [line for line in reported if isinstance(line, str)] == [
        "human/mine: its images can be made in this process only, one by one"
    ]


def test_a_broken_image_is_one_line_that_names_it(tmp_path: Path, maker: Maker) -> None:
    order = job(tmp_path, maker, "broken", 3)
    with pytest.raises(UserError) as caught:
        ensure([order], str)
    assert caught.value.lines == ("human/mine: cannot make the image s0: OSError: no such image",)
    assert not order.target.exists()


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(images, "_write", full)
    order = plan(tmp_path, [Stimulus("a", lambda: np.zeros((8, 8, 3), np.uint8))], "native", 8)
    with pytest.raises(UserError, match=r"paths\.cache: cannot write .*: the disk is full; free space there") as caught:
        ensure([order], str)
    assert len(caught.value.lines) == 1
    assert list(order.target.parent.iterdir()) == []


def test_a_cache_that_cannot_be_used_is_one_line(tmp_path: Path, maker: Maker) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(UserError, match=r"paths\.cache: cannot write .*choose another folder"):
        ensure([job(tmp_path / "cache", maker, n=1)], str)


def test_mixed_kinds_of_images_are_refused(tmp_path: Path) -> None:
    kinds = [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.float32)]
    stimuli = [Stimulus(str(i), lambda kind=kind: kind) for i, kind in enumerate(kinds)]  # type: ignore[misc]
    with pytest.raises(UserError, match="all uint8 or all float32"):
        ensure([plan(tmp_path, stimuli, "native", 8)], str)


def test_the_fingerprint_follows_whatever_changes_an_image(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"one")

    def of(identity: str = "a", view: str = "x", places: str | None = None, version: int = 1) -> bytes:
        return fingerprint(Stimulus(identity, partial(cut, file, view=view), places=places), version)  # type: ignore[arg-type]

    first = of()
    assert of() == first
    assert len({first, of("b"), of(view="y"), of(places="p"), of(version=2)}) == 5
    file.write_bytes(b"other")
    assert of() != first
    bound = [fingerprint(Stimulus("a", lambda kind=kind: kind)) for kind in (1, 2)]  # type: ignore[misc]
    assert bound[0] != bound[1]
    arrays = [fingerprint(Stimulus("a", partial(cut, np.full(3, v)))) for v in (1, 2)]  # type: ignore[arg-type]
    assert arrays[0] != arrays[1]


def test_the_fingerprint_is_not_of_the_source(tmp_path: Path, maker: Maker) -> None:
    """A comment, a docstring, another function in the module: nothing has to be made again."""
    before = fingerprint(Stimulus("a", partial(maker("flat"), 7)))  # type: ignore[arg-type]
    (tmp_path / "my_maker.py").write_text(f"# a comment\n{MAKER}\ndef more():\n    return 1\n")
    sys.modules.pop("my_maker", None)
    import my_maker

    assert fingerprint(Stimulus("a", partial(my_maker.flat, 7))) == before


def test_functions_without_a_name_of_their_own_are_known_by_their_code() -> None:
    def one_of(value: int) -> Callable[[], ImageArray]:
        return (lambda: np.zeros((8, 8, 3), np.uint8)) if value else (lambda: np.ones((8, 8, 3), np.uint8))

    assert fingerprint(Stimulus("a", one_of(0))) != fingerprint(Stimulus("a", one_of(1)))
    assert fingerprint(Stimulus("a", one_of(0))) == fingerprint(Stimulus("a", one_of(0)))


def test_the_process_and_its_workers_end_with_their_parent(tmp_path: Path, maker: Maker) -> None:
    code = f"""
import sys; sys.path.insert(0, {str(tmp_path)!r})
import my_maker
from functools import partial
from pathlib import Path
from clip_align.evaluation.render_stimuli import ensure
from clip_align.evaluation.stimulus import Stimulus
from clip_align.evaluation.stimulus_cache import Job
stimuli = [Stimulus(str(i), partial(my_maker.slow, i)) for i in range(64)]
ensure([Job("human/mine", tuple(stimuli), "native", 8, 1, 1, Path({str(tmp_path)!r}))], print)
"""
    marker = f"clip-align-test-{os.getpid()}"
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "MARKER": marker})
    try:
        assert _until(lambda: len(_alive(marker)) >= 3)  # the caller, the process, a worker
    finally:
        process.kill()
        process.wait()
    assert _until(lambda: not _alive(marker))
    assert not [p for p in (tmp_path / "stimuli").rglob("*") if p.is_file()]  # nothing half-written


def test_a_worker_that_is_killed_is_one_line(tmp_path: Path, maker: Maker) -> None:
    with pytest.raises(UserError, match="human/mine: a process that made images was killed; is there enough memory"):
        ensure([job(tmp_path, maker, "killed")], str)


def test_an_unreadable_file_is_reported_with_advice(tmp_path: Path, maker: Maker) -> None:
    order = job(tmp_path, maker, n=1)
    ensure([order], str)
    order.target.write_bytes(order.target.read_bytes()[:40])
    with pytest.raises(UserError, match=r"cannot be read .*; delete this file, it is made again"):
        load(order)


def _alive(marker: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (folder / "environ").read_bytes() and "Z" not in (folder / "stat").read_text():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def _until(condition: Callable[[], bool], seconds: float = 120) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False
