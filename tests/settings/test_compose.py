# SPDX-License-Identifier: Apache-2.0
"""From what was typed to one mapping: forms that Hydra would take half, references, texts, shards, search paths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from clip_align.config import Config, Source
from clip_align.data.sources.folder import FolderData
from clip_align.data.sources.webdataset import ShardData
from clip_align.settings.load_config import load
from clip_align.settings.override_check import OUTSIDE
from tests.settings.refusals import errors, options

CALLBACKS_THERE = "valid: " + ", ".join(options("callbacks"))
NOT_AWAY = "only callbacks can be taken away: ~callbacks.<name>;"
OF_HYDRA = "without effect, as Hydra only composes; of its keys type hydra.searchpath, launcher, sweeper"
DATA = "cifar10, cifar100, folder, streaming, tiny_imagenet, webdataset, world"


@pytest.mark.parametrize(
    ("overrides", "lines"),
    [
        (["callbacks=null"], ["callbacks=null: no such option; for none callbacks=[]"]),
        (["data=webdataset", "data.shards=/a-0.tar", "data.shards=/a-1.tar"], [
            "data.shards: typed 2 times, as a shell does with braces; "
            "put it in quotes: data.shards='/folder/{000..003}.tar'",
        ]),
        (["data=null"], [f"data=null: no such option; valid: {DATA}"]),
        (["tracker=false"], ["tracker=false: no such option; valid: csv, none, tensorboard, wandb"]),
        (["trainer=4", "seed=-1"], [
            "trainer=4: no such option; valid: auto, cpu, ddp, fsdp, gpu, multi_node",
            "seed: -1 is out of range; it must be at least 0 and at most 4294967295",
        ]),
        (["callbacks=[1]"], [f"callbacks=1: no such option; {CALLBACKS_THERE}; {OUTSIDE}"]),
        (["callbacks=[world,[a]]"], [f"callbacks=['a']: no such option; {CALLBACKS_THERE}; {OUTSIDE}"]),
        (["callbacks={}"], ["callbacks: a group takes names of options, not a mapping; for none callbacks=[]"]),
        (
            ["trainer={max_steps:3000,precision:'32'}"],
            ["trainer: a group takes names of options, not a mapping; "
             "type its keys: trainer.max_steps=3000 trainer.precision=32"],
        ),
        (["data=[world,folder]"], [f"data: one option, not a list; valid: {DATA}"]),
        (["data.kind=webdataset"], ["data.kind=webdataset: follows from the option that is chosen; "
                                    "type data=webdataset"]),
        (["~tracker", "seed=1"], [f"~tracker: {NOT_AWAY} for none tracker=[]"]),
        (["~trainer"], [f"~trainer: {NOT_AWAY} choose another option: trainer=…"]),
        (["~data.size"], [f"~data.size: {NOT_AWAY} a key that is not typed has its default"]),
        (["hydra.mode=MULTIRUN"], [f"hydra.mode=MULTIRUN: {OF_HYDRA}"]),
        (["hydra.job.chdir=true"], [f"hydra.job.chdir=true: {OF_HYDRA}"]),
        (["hydra.searchpath=/a"], [
            "hydra.searchpath: /a is not a list: hydra.searchpath=[file:///folder,pkg://package.folder]"
        ]),
        (["+experiment=quick", "seed=1", "trainer.max_steps=2"], [
            "+experiment=quick: Multiple values for experiment. To override a value use 'override experiment: quick'"
        ]),
    ],
)  # fmt: skip
def test_overrides_that_hydra_would_take_half(overrides: Sequence[str], lines: list[str]) -> None:
    assert errors(*overrides) == lines


@pytest.mark.parametrize("key", ["trainer.max_steps", "callbacks.world.every_n_steps", "data.scale"])
def test_a_reference_to_nothing_costs_its_own_key_only(key: str) -> None:
    assert errors(f"{key}=${{nope}}", "seed=-1") == [
        f"{key}: Interpolation key 'nope' not found",
        "seed: -1 is out of range; it must be at least 0 and at most 4294967295",
    ]


def test_what_follows_a_reference_to_nothing_has_no_line_of_its_own() -> None:
    assert errors("evaluation.every_n_steps=${nope}", "data.crop_scale=[0.1,${none}]") == [
        "data.crop_scale: Interpolation key 'none' not found",
        "evaluation.every_n_steps: Interpolation key 'nope' not found",
    ]
    assert errors("callbacks=pairs_csv", "callbacks.pairs_csv.csv=${nope}") == [
        "callbacks.pairs_csv.csv: Interpolation key 'nope' not found"
    ]


def test_a_search_path_that_is_not_there_is_one_line(recwarn: pytest.WarningsRecorder) -> None:
    there = "give folders of groups: file:///folder or pkg://package.folder"
    assert errors("hydra.searchpath=[file:///nope,pkg://no_such_package.conf]", "seed=1") == [
        f"hydra.searchpath: no such place file:///nope; {there}",
        f"hydra.searchpath: no such place pkg://no_such_package.conf; {there}",
    ]
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize(
    "path", ["/größe/日本.csv", "/a b;c#d@e.csv", "/a=b.csv", "C:\\x.csv", "~/x.csv", "/it's.csv", "/[ab].csv"]
)
def test_paths_are_taken_as_typed(path: str) -> None:
    data = load(["callbacks=[]", "data=folder", f"data.csv={path}"]).data
    assert isinstance(data, FolderData)
    assert data.csv == path


def test_what_cannot_be_read_is_one_line() -> None:
    assert errors("callbacks=[]", "data=folder", "data.csv='/a") == [
        "data.csv='/a: cannot be read (token recognition error at: ''/a'); put the value in quotes: 'data.csv=\"…\"'"
    ]


def test_shards_are_taken_as_typed() -> None:
    def shards(*overrides: str) -> tuple[Source, ...]:
        data = load(["callbacks=[]", "data=webdataset", *overrides]).data
        assert isinstance(data, ShardData)
        return data.shards

    assert shards("data.shards=/a/x-{000..003}.tar") == (Source("/a/x-{000..003}.tar"),)
    assert shards("data.shards='/a b/x-{000..003}.tar'") == (Source("/a b/x-{000..003}.tar"),)
    assert shards("data.shards=/a/{x,y}/{0..3}.tar") == (Source("/a/{x,y}/{0..3}.tar"),)
    assert shards("data.shards=/a (1)/it's.tar") == (Source("/a (1)/it's.tar"),)
    assert shards("data.shards=[/a/{0..3}.tar,/b/*.tar]") == (Source("/a/{0..3}.tar"), Source("/b/*.tar"))
    assert shards("data.shards=[{shards: /a/{0..3}.tar, weight: 2},{shards:/b.tar}]") == (
        Source("/a/{0..3}.tar", 2.0),
        Source("/b.tar"),
    )


def test_samples_typed_replace_the_default_steps() -> None:
    trainer = load(["callbacks=[]", "trainer.samples=1e6"]).trainer
    assert (trainer.max_steps, trainer.samples) == (None, 1_000_000)


def test_texts_stay_texts_and_home_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    found = load(["callbacks=[]", "name=2024_01", "tracker.tags=[1e3,x]", "tracker.group=007", "tracker.entity=null",
                  "paths.runs=~/r"])  # fmt: skip
    assert (found.name, found.paths.runs) == ("2024_01", "/home/me/r")
    assert (found.tracker.tags, found.tracker.group, found.tracker.entity) == (("1e3", "x"), "007", None)


def test_steps_typed_replace_the_samples_of_an_experiment() -> None:
    paper = ["experiment=paper", "callbacks=[]", "checkpoint.best=null", "data.shards=/a/x.tar"]
    assert load([*paper, "trainer.max_steps=100"]).trainer.samples is None
    assert load([*paper, "trainer.max_steps=null"]).trainer.samples == 320_000_000


def test_a_model_by_name_alone_brings_its_optimizer() -> None:
    model = load(["callbacks=[]", "model.name=RN50x4"])
    assert (model.model.kind, model.model.name, model.model.image_size) == ("open_clip", "RN50x4", None)
    assert model.optimizer.warmup_steps == 2000
    assert load(["callbacks=[]", "model=rn50"]).optimizer.betas == (0.9, 0.999)
    assert load(["callbacks=[]", "model=rn50", "optimizer=tiny"]).optimizer == Config().optimizer


def test_a_resnet_by_name_trains_as_the_one_by_option() -> None:
    by_option = load(["callbacks=[]", "model=rn50"]).optimizer
    for by_name in (["model.name=RN50"], ["model=open_clip", "model.name=RN50"], ["model.name=RN50", "optimizer.lr=1"]):
        found = load(["callbacks=[]", *by_name]).optimizer
        assert (found.betas, found.eps) == (by_option.betas, by_option.eps) == ((0.9, 0.999), 1e-8)
    assert load(["callbacks=[]", "model.name=RN50", "optimizer=clip_vit"]).optimizer.betas == (0.9, 0.98)
    assert load(["callbacks=[]", "model.name=ViT-B-16"]).optimizer.betas == (0.9, 0.98)


def test_lists_of_callbacks_and_trackers() -> None:
    assert list(load(["callbacks=[world,world_noise]"]).callbacks) == ["world", "world_noise"]
    assert load(["callbacks=[]"]).callbacks == load(["callbacks=none"]).callbacks == {}
    assert "world_noise" not in load(["~callbacks.world_noise"]).callbacks
    assert load(["tracker=[wandb,csv]"]).tracker.kinds == {"wandb": {}, "csv": {}}
    assert load(["tracker=none", "tracker.project=x"]).tracker.kinds == {}


def test_a_search_path_given_on_the_command_line_brings_its_own_options(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\nexperiment: mine\ntrainer:\n  max_stepz: 3\n"
    )
    search = f"hydra.searchpath=[file://{tmp_path}]"
    assert errors(search, "experiment=mine") == ["trainer.max_stepz: unknown key; did you mean trainer.max_steps?"]
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\nexperiment: mine\ntrainer: {max_steps: 3}\n"
    )
    assert load([search, "experiment=mine"]).trainer.max_steps == 3
    (tmp_path / "experiment" / "mine.yaml").write_text("a: [\n")
    (line,) = errors(search, "experiment=mine")
    assert line.startswith("experiment=mine: while parsing")
