# SPDX-License-Identifier: Apache-2.0
"""Images are kept once per part, at the smaller of their own and the model's size, and forgotten when not used."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import stubs
import torch
from random_images import random_image

from clip_align.callbacks.base import Features, Items, PerceptualCallback, Stimulus
from clip_align.errors import TOO_MANY_FILES, UserError
from clip_align.evaluation import stimulus_cache
from clip_align.evaluation.enlarge import enlarged
from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.evaluation.prepare import files_of, jobs_of, planned
from clip_align.evaluation.render_stimuli import ensure
from clip_align.evaluation.stimulus import View
from clip_align.evaluation.stimulus_cache import IDS, Job, load, prune
from clip_align.evaluation.views import cut

DAY = 86400


class Shows(PerceptualCallback):
    """Some images of a part."""

    family: ClassVar[str] = "noise"

    def __init__(self, images: int, part: str | None = "random/test", side: int = 12, **base: object) -> None:
        super().__init__(**base)  # type: ignore[arg-type]
        self.ids = [f"random/{i}" for i in range(images)]
        self.part, self.side = part, side

    def stimuli(self) -> Iterable[Stimulus]:
        for name in self.ids:
            yield Stimulus(name, partial(random_image, name, self.side, self.side), part=self.part)

    def items(self, features: Features) -> Items:
        return Items(features[self.ids].mean(axis=(1, 2)), np.arange(len(self.ids)))


def job(cache: Path, names: Iterable[str], view: View = "squash", size: int = 64, side: int = 20) -> Job:
    stimuli = tuple(Stimulus(name, partial(random_image, name, side, side)) for name in names)
    return Job("random/test", stimuli, view, size, 1, 0, cache)


def made(order: Job) -> Path:
    ensure([order], str)
    return order.target


def test_benchmarks_share_the_images_of_a_part(tmp_path: Path) -> None:
    many, few = Shows(6, name="many"), Shows(4, name="few")
    jobs = jobs_of([planned(callback, stubs.evaluated_model()) for callback in (many, few)], tmp_path)
    ensure(jobs.values(), str)
    files = [path for path in (tmp_path / "stimuli").rglob("*.npy") if not path.name.endswith(IDS)]
    assert len(files) == 1
    assert files_of(jobs) == {f"noise/{name}": [str(files[0].relative_to(tmp_path))] for name in ("many", "few")}
    assert len(np.load(files[0])) == 6


def test_a_benchmark_without_a_part_keeps_its_own(tmp_path: Path) -> None:
    callbacks = [Shows(4, None, name=name) for name in ("one", "two")]
    jobs = jobs_of([planned(callback, stubs.evaluated_model()) for callback in callbacks], tmp_path)
    assert sorted(job.folder.name for job in jobs.values()) == ["noise-one", "noise-two"]


def test_a_file_that_has_more_serves_a_run_that_needs_less(tmp_path: Path) -> None:
    target = made(job(tmp_path, "abcd"))
    fewer = job(tmp_path, "ca")
    ensure([fewer], lambda line: pytest.fail(f"made again: {line}"))
    images, rows = load(fewer)
    assert np.array_equal(images[rows][0, 0], random_image("c", 20, 20))
    assert [p for p in target.parent.iterdir() if not p.name.endswith(IDS)] == [target]
    assert made(job(tmp_path, "ab", side=21)) != target  # other pixels by these names


def test_small_images_are_kept_at_their_own_size_and_large_ones_at_the_models(tmp_path: Path) -> None:
    for side, kept in ((20, 20), (64, 64), (80, 64)):
        order = job(tmp_path, "ab", side=side)
        made(order)
        assert load(order)[0].shape == (2, 1, kept, kept, 3)


def test_images_of_several_sizes_are_kept_at_the_models(tmp_path: Path) -> None:
    stimuli = tuple(Stimulus(str(n), partial(random_image, str(n), n, n)) for n in (20, 30))
    order = Job("random/test", stimuli, "squash", 64, 1, 0, tmp_path)
    made(order)
    images, rows = load(order)
    assert np.array_equal(images[rows][1], cut(random_image("30", 30, 30), "squash", 64, 1, ""))


@pytest.mark.parametrize("view", ["squash", "resize_crop", "native"])
def test_enlarging_while_encoding_gives_what_enlarging_before_gives(tmp_path: Path, view: View) -> None:
    """So that a number never depends on what else a cache holds."""
    order = job(tmp_path, "abc", view)
    made(order)
    images, _ = load(order)
    before = np.concatenate([cut(random_image(name, 20, 20), view, 64, 1, "") for name in "abc"])
    assert np.array_equal(enlarged(torch.from_numpy(images[:, 0]), view, 64).numpy(), before)


def test_an_event_is_the_same_from_small_and_from_large_files(tmp_path: Path) -> None:
    model = stubs.StubModel()
    under_test = EvaluatedModel(model, stubs.SIZE, (0.5,) * 3, (0.25,) * 3)
    small = stubs.evaluated([Shows(6, name="x")], under_test, tmp_path / "small")

    class AtModelSize(Shows):
        def stimuli(self) -> Iterable[Stimulus]:
            for name in self.ids:
                yield Stimulus(name, partial(_large, name))

    large = stubs.evaluated([AtModelSize(6, name="x")], under_test, tmp_path / "large")
    assert small == large


def _large(name: str) -> np.ndarray:
    return cut(random_image(name, 12, 12), "squash", stubs.SIZE, 1, "")[0]


def test_too_many_open_files_are_no_fault_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = job(tmp_path, "a")
    made(order)

    def refused(*arguments: object, **options: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(np, "load", refused)
    with pytest.raises(UserError) as error:
        load(order)
    assert error.value.lines == (TOO_MANY_FILES,)


def test_what_is_not_used_for_long_goes_with_a_line(tmp_path: Path) -> None:
    old, new = made(job(tmp_path, "a")), made(job(tmp_path, "b"))
    _aged(old, 61), _aged(new, 59)
    reported: list[str] = []
    prune(tmp_path, [], reported.append)
    assert not old.exists()
    assert not old.with_name(old.stem + IDS).exists()
    assert new.exists()
    assert reported == [
        f"stimuli: removed 1 file (0.0 GiB) from {tmp_path / 'stimuli'}: not used for 60 days, or beyond 30 GiB"
    ]
    prune(tmp_path, [], lambda line: pytest.fail(line))


def test_beyond_a_total_size_the_least_recently_used_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [made(job(tmp_path, name)) for name in "abc"]
    for days, path in zip((1, 3, 2), paths, strict=True):
        _aged(path, days)
    monkeypatch.setattr(stimulus_cache, "MOST_BYTES", 2 * paths[0].stat().st_size)
    prune(tmp_path, [], str)
    assert [path.exists() for path in paths] == [True, False, True]
    monkeypatch.setattr(stimulus_cache, "MOST_BYTES", 0)
    prune(tmp_path, [paths[2]], str)  # this run's own stays
    assert [path.exists() for path in paths] == [False, False, True]


def test_what_another_run_has_just_made_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(job(tmp_path, "a"))
    monkeypatch.setattr(stimulus_cache, "MOST_BYTES", 0)
    prune(tmp_path, [], str)
    assert path.exists()


def test_a_load_counts_as_use(tmp_path: Path) -> None:
    order = job(tmp_path, "a")
    _aged(made(order), 61)
    load(order)
    prune(tmp_path, [], lambda line: pytest.fail(line))


def test_a_damaged_list_of_rows_is_as_none(tmp_path: Path) -> None:
    target = made(job(tmp_path, "ab"))
    target.with_name(target.stem + IDS).write_bytes(b"no array")
    assert made(job(tmp_path, "a")) != target


def _aged(path: Path, days: float) -> None:
    then = time.time() - days * DAY
    os.utime(path, (then, then))
