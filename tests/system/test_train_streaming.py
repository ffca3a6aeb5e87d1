# SPDX-License-Identifier: Apache-2.0
"""Whole runs on streamed shards over HTTP: killed and resumed, on two ranks with workers, and refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.data.streaming.http_store import Faults, http_store

sys.path.insert(0, str(Path(__file__).parent))

from miniature_shards import CAPTIONS, samples, tar
from training_runs import SMALL, code_of, forked, lines, losses, provenance, real, text

SIZES = (30, 7, 41, 18, 25, 12)  # samples of the shards
STREAMING = [
    *(key for key in SMALL if not key.startswith(("data.", "callbacks"))),
    "data=streaming", "data.batch_size=16", "data.window_shards=2", "data.timeout_s=5", "data.retries=2",
    "callbacks=[]", "trainer.log_every_n_steps=1",
]  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[tuple[str, Faults]]:
    first, captions = 0, [f"{text} {n}" for n in range(sum(SIZES)) for text in CAPTIONS]
    for number, size in enumerate(SIZES):
        tar(tmp_path / "store" / f"{number}.tar", samples(range(first, first + size), captions))
        first += size
    with http_store(tmp_path / "store") as (address, faults):
        yield f"data.shards={address}/{{0..5}}.tar", faults


def arguments(tmp_path: Path, shards: str, name: str, *more: str) -> list[str]:
    return [*STREAMING, f"paths.runs={tmp_path}", f"paths.cache={tmp_path}/cache", shards, f"name={name}", *more]


def check_killed_and_resumed(tmp_path: Path, shards: str, *more: str) -> None:
    """Kill a run ``parts``, resume it with an empty cache: its losses are those of the run ``whole``."""
    parts = [*arguments(tmp_path, shards, "parts", *more), "checkpoint.every_n_steps=3", "resume=auto"]
    assert code_of(forked(parts, tmp_path / "out", "killed")) == -9
    parts = [key.replace("/cache", "/empty") for key in parts]
    assert code_of(forked(parts, tmp_path / "out")) == 0, text(tmp_path)
    resumed = next(line for line in lines(tmp_path / "parts", "event") if line["event"] == "resumed")
    assert 0 < resumed["global_step"] < 20
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert len(losses(tmp_path / "parts")) == 20


def test_a_killed_run_is_resumed_without_a_difference(tmp_path: Path, store: tuple[str, Faults]) -> None:
    """Over two epochs of eight batches, with faults on the way, and a cache that is empty when it is resumed."""
    store[1].kinds.update({"1.tar": "cut", "4.tar": "500"})
    store[1].times = 1
    assert code_of(forked(arguments(tmp_path, store[0], "whole"), tmp_path / "out")) == 0, text(tmp_path)
    printed = text(tmp_path)
    assert "data: epoch 0 ends after 128 samples in 8 batches, 5 left over" in printed
    assert printed.count("data: epoch 0 ends") == 1
    check_killed_and_resumed(tmp_path, store[0])
    about = [provenance(tmp_path / name)["data_fingerprint"] for name in ("whole", "parts")]
    assert about[0] == about[1]


def test_accumulated_steps_are_resumed_without_a_difference(tmp_path: Path, store: tuple[str, Faults]) -> None:
    """Two batches contrasted together, twice a step: a step is 16 samples, and three steps end within a window."""
    kinds = ["data.batch_size=4", "trainer.accumulate=2", "trainer.accumulate_grad_batches=2"]
    assert code_of(forked(arguments(tmp_path, store[0], "whole", *kinds), tmp_path / "out")) == 0, text(tmp_path)
    assert "data: epoch 0 ends after 128 samples in 16 batches, 5 left over" in text(tmp_path)
    check_killed_and_resumed(tmp_path, store[0], *kinds)


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_two_ranks_with_two_workers_each_train_on_what_one_does(tmp_path: Path, store: tuple[str, Faults]) -> None:
    """Uneven shards, fewer than ranks times workers times windows: nothing hangs, and no sample is seen twice."""
    constant = "optimizer.schedule=constant"  # the two parts are of one schedule
    assert code_of(forked(arguments(tmp_path, store[0], "one", constant), tmp_path / "out")) == 0, text(tmp_path)
    ranks = ["trainer=ddp", "trainer.devices=2", "data.batch_size=8", "resume=auto", constant]
    two = arguments(tmp_path, store[0], "two", *ranks)
    assert code_of(real([*two, "data.workers=2", "trainer.max_steps=9"], tmp_path / "out"), 250) == 0, text(tmp_path)
    assert text(tmp_path).count("data: epoch 0 ends after 128 samples in 8 batches, 5 left over") == 1
    assert code_of(real([*two, "data.workers=1"], tmp_path / "out"), 250) == 0, text(tmp_path)
    assert len(losses(tmp_path / "two")) == 20
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-3)


@pytest.mark.slow
def test_benchmarks_of_held_out_samples(tmp_path: Path, store: tuple[str, Faults]) -> None:
    held = ["callbacks=[held_out]", "callbacks.held_out.candidates=5", "data.held_out=10", "checkpoint.best=null"]
    held += ["data.held_out_fraction=0.2"]
    run = forked(arguments(tmp_path, store[0], "held", *held), tmp_path / "out")
    assert code_of(run) == 0, text(tmp_path)
    scores = lines(tmp_path / "held", "evaluation")
    assert any(key.startswith("zero_shot/held_out/") for key in scores[-1])
    assert "a fraction of 0.2 of the keys is never trained on" in text(tmp_path)


def test_what_cannot_be_fetched_is_refused_before_the_first_step(tmp_path: Path, store: tuple[str, Faults]) -> None:
    store[1].kinds.update({f"{n}.tar": "500" for n in range(6)})
    run = forked(arguments(tmp_path, store[0], "none", "data.retries=1"), tmp_path / "out")
    assert code_of(run) == 2, text(tmp_path)
    (line,) = [line for line in text(tmp_path).splitlines() if "cannot be fetched" in line]
    assert "data.shards: http://127.0.0.1:" in line
    assert line.endswith("given up after 2 attempts; repair it, or leave it out")
    assert "Traceback" not in text(tmp_path)


def test_a_dry_run_downloads_nothing(tmp_path: Path, store: tuple[str, Faults]) -> None:
    (tmp_path / "store" / "sizes.json").write_text('{"0.tar": 30, "1.tar": 7, "2.tar": 41, "3.tar": 18}')
    run = forked(arguments(tmp_path, store[0], "dry", "dry_run=true"), tmp_path / "out")
    assert code_of(run) == 0, text(tmp_path)
    assert "found    data: 6 shards, about 144 samples (as in 4); an epoch reads 6 shards in batches" in text(tmp_path)
    assert not [name for name in store[1].requests if name.endswith(".tar")]
