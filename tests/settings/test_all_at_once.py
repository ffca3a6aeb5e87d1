# SPDX-License-Identifier: Apache-2.0
"""Everything that is wrong is reported in one go: types, ranges, combinations, callbacks, what can be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from clip_align.commands.train import main
from clip_align.errors import UserError
from tests.settings.refusals import errors


@pytest.mark.parametrize(
    ("overrides", "lines"),
    [
        (
            ["trainer.log_every_n_steps=0", "trainer.max_steps=null"],
            [
                "trainer.log_every_n_steps: 0 is out of range; it must be at least 1",
                "trainer: neither max_steps nor samples is given; type one of them",
            ],
        ),
        (
            ["data.flip=3", "data.crop_scale=[0.9,0.1]"],
            [
                "data.flip: 3 is not true or false",
                "data.crop_scale: [0.9, 0.1] runs backwards; the smaller fraction comes first",
            ],
        ),
        (
            ["data.workers=-1", "data.batch_size=99999"],
            [
                "data.workers: -1 is out of range; it must be at least 0",
                "data.batch_size: a global batch of 99999 is larger than the data, 20000 images; at most 20000 here",
            ],
        ),
        (
            ["seed=x", "model.image_size=33", "name=latest", "callbacks.world.every_n_steps=0", "checkpoint.best=a"],
            [
                "seed: 'x' is not a whole number",
                "callbacks.world.every_n_steps: 0 is out of range; it must be at least 1",
                "name: 'latest' is the link to the newest run; choose another name",
                "checkpoint.best: 'a' is not a key of the record; it looks like human/tid2013_remade/srocc",
                "model.image_size: 33; model=tiny takes multiples of 8: model.image_size=32",
            ],
        ),
    ],
)
def test_types_ranges_combinations_and_callbacks(overrides: Sequence[str], lines: list[str]) -> None:
    assert errors(*overrides) == lines


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["data.images=5", "data.batch_size=99999"], "data.images: 5 is out of range; it must be at least 16"),
        (["data.scale=[0.9,2]"], "data.scale: 2.0 is out of range; it must be above 0.0 and at most 1.0"),
        (
            ["data.batch_size=x", "trainer.samples=1"],
            "data.batch_size: 'x' is not a whole number",
        ),
        (
            ["trainer.max_steps=0", "trainer.samples=null"],
            "trainer.max_steps: 0 is out of range; it must be at least 1",
        ),
        (
            ["callbacks.world_noise.sigmas=[0.01,2]", "data.sensor_noise=0.03"],
            "callbacks.world_noise.sigmas: 2.0 is out of range; "
            "it must be above 0 and below 1 and a multiple of 0.01",
        ),
    ],
)  # fmt: skip
def test_what_follows_from_a_refused_value_is_left_out(overrides: Sequence[str], line: str) -> None:
    assert errors(*overrides) == [line]


def test_what_can_be_looked_at_is_reported_with_the_rest(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as caught:
        main([
            "trainer.max_steps=0", "data=webdataset", "data.shards=/nope.tar", "data.workers=-1", "callbacks=[]",
            f"paths.runs={tmp_path}/file", f"paths.cache={tmp_path}/file",
        ])  # fmt: skip
    assert list(caught.value.lines) == [
        "data.workers: -1 is out of range; it must be at least 0",
        "trainer.max_steps: 0 is out of range; it must be at least 1",
        "data.shards: no such shard: /nope.tar; name tars that exist, like '/folder/{000..003}.tar' or '/folder/*.tar'",
        f"paths.runs: {tmp_path}/file is not a folder; set paths.runs=…",
        f"paths.cache: {tmp_path}/file cannot be used (File exists); give a folder that can be written",
    ]


def test_runs_of_a_sweep_are_all_looked_at() -> None:
    with pytest.raises(UserError) as caught:
        main(["--multirun", "seed=1,x", "data=folder", "data.csv=/nope.csv", "optimizer.lr=0", "callbacks=[]"])
    assert sorted(caught.value.lines) == [
        "data.csv: no such file: /nope.csv; name a csv with data.csv=…",
        "optimizer.lr: 0.0 is out of range; it must be above 0.0",
        "seed: 'x' is not a whole number",
    ]
