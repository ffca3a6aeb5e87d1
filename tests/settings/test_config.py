# SPDX-License-Identifier: Apache-2.0
"""The configuration: every shipped yaml composes, every mistake has its line, all at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from clip_align import config
from clip_align.config import CallbackConfig, Config
from clip_align.config_plain import from_plain, to_plain
from clip_align.errors import UserError
from clip_align.kinds import SOURCES
from clip_align.settings.load_config import load
from clip_align.training.default_intervals import evaluation_every
from tests.settings.refusals import errors, options

CALLBACKS = (
    "world", "world_cue_conflict", "world_noise", "tid2013_remade", "contrast_sensitivity", "spectral_sensitivity",
    "chromatic_discrimination",
)  # fmt: skip


def test_defaults_of_the_dataclasses_are_those_of_the_yaml_files() -> None:
    composed = load(["callbacks=[]"])
    assert composed == Config()


@pytest.mark.parametrize(
    "data",
    [
        ["data=webdataset", "data.shards=/a/x.tar"],
        ["data=folder", "data.csv=/a/x.csv"],
        ["data=streaming", "data.shards=s3://a/x"],
    ],
)
def test_on_anyones_images_the_default_callbacks_are_those_that_are_defined_there(data: list[str]) -> None:
    composed = load(data)
    psychophysics = {"contrast_sensitivity", "spectral_sensitivity", "chromatic_discrimination"}
    retrieved = {"held_out", "held_out_noise", "held_out_patch_shuffle"}
    assert set(composed.callbacks) == {"tid2013_remade", *psychophysics, *retrieved}
    assert composed.data.held_out is None  # by the number of samples, once they are found
    assert composed.checkpoint.best == "human/tid2013_remade/srocc"
    assert load([*data, "data.held_out=50"]).data.held_out == 50
    chosen = load([*data, "callbacks=[world]"])
    assert (sorted(chosen.callbacks), chosen.data.held_out) == (["world"], 0)
    assert load([*data, "callbacks=[]"]).data.held_out == 0
    assert load([*data, "data.held_out=0"]).data.held_out == 0
    assert load(["callbacks=[held_out]"]).data.held_out is None  # on the world too


def test_the_default_run_watches_the_standard_callbacks_often_enough_for_a_verdict() -> None:
    composed = load([])
    assert sorted(composed.callbacks) == sorted(CALLBACKS)
    assert all(c.arguments["every_n_steps"] is None for c in composed.callbacks.values())  # the run's length decides
    assert composed.evaluation.every_n_steps is None
    assert composed.trainer.max_steps is not None
    assert composed.trainer.max_steps // evaluation_every(composed.trainer.max_steps) + 1 >= 20


@pytest.mark.parametrize(
    ("typed", "weights"), [("ema", ("ema",)), ("[ema,raw]", ("ema", "raw")), ("[raw]", ("raw",)), ("raw", ("raw",))]
)
def test_weights_are_one_name_or_several_in_their_order(typed: str, weights: tuple[str, ...]) -> None:
    assert load([f"evaluation.weights={typed}", "callbacks=[]"]).evaluation.weights == weights


EXTRA = {
    "data=webdataset": ["data.shards=/a/x.tar"],
    "data=folder": ["data.csv=/a/x.csv"],
    "data=streaming": ["data.shards='https://a/x.tar'"],
    "callbacks=retrieval": ["callbacks.retrieval.shards=/a/x.tar"],
    "callbacks=fixations_csv": [
        f"callbacks.fixations_csv.csv={__file__}",
        "callbacks.fixations_csv.sigma_px=4",
    ],
    "callbacks=fixation_folder": [
        f"callbacks.fixation_folder.images={Path(__file__).parent}",
        f"callbacks.fixation_folder.fixation_maps={Path(__file__).parent}",
    ],
    "model=open_clip": ["model.name=ViT-S-32-alt"],
    "callbacks=pairs_csv": [f"callbacks.pairs_csv.csv={__file__}"],
    "experiment=paper": ["data.shards=/a/x.tar", "callbacks=[]", "checkpoint.best=null"],
}


GROUPS = ("data", "loss", "model", "optimizer", "trainer", "evaluation", "tracker", "intervention")


@pytest.mark.parametrize(
    "option",
    [f"{group}={option}" for group in (*GROUPS, "experiment") for option in options(group)]
    + [f"callbacks={option}" for option in options("callbacks")],
)
def test_every_shipped_yaml_composes_and_passes_the_checks(option: str) -> None:
    composed = load([option, *EXTRA.get(option, [])])
    assert from_plain(to_plain(composed)) == composed
    assert from_plain(yaml.safe_load(yaml.safe_dump(to_plain(composed)))) == composed


def test_every_key_of_a_yaml_file_is_commented_with_its_meaning() -> None:
    bare = []
    for path in config.conf_dir().rglob("*.yaml"):
        inside = False
        for line in path.read_text(encoding="utf-8").splitlines():
            inside = line.startswith("defaults:") or (inside and line.startswith(("  -", " ")))
            key, colon, _ = line.partition(":")
            plain = colon and not inside and not key.strip().startswith(("#", "-", "_target_")) and "#" not in line
            if plain and path.parent.name not in ("experiment", "hydra") and line.split(":")[1].strip():
                bare.append(f"{path.name}: {line}")
    allowed = ("kind:", "name:", "eps:", "betas:", "wandb:", "tensorboard:", "csv:", "intervention:")
    assert [b for b in bare if not b.split(": ", 1)[1].strip().startswith(allowed)] == []


def test_all_errors_at_once() -> None:
    found = errors(
        "modle=tiny", "trainer.max_stepz=3", "data.batch_size=abc", "optimizer.lr=-1", "tracker=wandbb", "x",
        "callbacks.world.every_n_steps=0", "trainer.precision=8", "seed=-1",
    )  # fmt: skip
    starts = [
        "x: not of the form", "tracker=wandbb: no such option; did you mean tracker=wandb?", "modle: unknown key",
        "trainer.max_stepz: unknown key", "seed: -1", "data.batch_size: 'abc'", "optimizer.lr: -1.0",
        "trainer.precision: 8", "callbacks.world.every_n_steps: 0",
    ]  # fmt: skip
    assert len(found) == len(starts)
    for start in starts:
        assert any(line.startswith(start) for line in found), (start, found)


def test_two_callbacks_of_one_name_are_refused() -> None:
    both = load(["+callbacks.world_noise.name=world"]).callbacks  # of another family
    assert {"world", "world_noise"} <= set(both)
    again = "+callbacks.again={_target_:clip_align.callbacks.zero_shot.world.World,name:world}"
    assert errors(again) == [
        "callbacks: world and again would both write zero_shot/world; give one of them another name"
    ]


def test_arguments_of_callbacks_are_converted_like_all_other_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "123").write_text("")
    callbacks = load(["evaluation.every_n_steps=1e2", "callbacks=[world,pairs_csv]", "callbacks.pairs_csv.csv=123"])
    assert repr(callbacks.callbacks["world"].arguments["every_n_steps"]) == "100"
    assert callbacks.callbacks["pairs_csv"].arguments["csv"] == "123"


def test_the_paper_experiment_composes_and_names_what_is_missing() -> None:
    assert errors("experiment=paper") == ["data.shards: not given; this key has no default: data.shards=…"]
    paper = load(["experiment=paper", "data.shards=/a/{0..9}.tar", "callbacks=[]", "checkpoint.best=null"])
    assert (paper.model.name, paper.data.kind, paper.trainer.kind) == ("ViT-B-32", "webdataset", "ddp")
    assert (paper.trainer.precision, paper.experiment, paper.optimizer.eps) == ("bf16-mixed", "paper", 1e-6)


def test_a_stored_configuration_that_is_wrong_is_refused() -> None:
    plain = to_plain(Config(callbacks={"x": CallbackConfig("a.B", {"every_n_steps": 5})}))
    assert from_plain(plain).callbacks["x"] == CallbackConfig("a.B", {"every_n_steps": 5})
    broken: dict[str, Any] = {**plain, "seed": "one"}
    with pytest.raises(UserError, match=r"^seed: 'one' is not a whole number$"):
        from_plain(broken)


@pytest.mark.parametrize("kind", ["world", "webdataset", "folder"])
def test_configurations_stored_before_a_key_was_there_have_its_default(kind: str) -> None:
    options = {"webdataset": {"shards": (config.Source("/a.tar"),)}}.get(kind, {})
    data = SOURCES.build(kind, options)
    stored = to_plain(Config(data=data))
    for key in ("max_image_mb", "max_megapixels", "max_caption_chars"):
        del stored["data"][key]
    assert from_plain(stored) == Config(data=data)


def test_no_torch_and_no_lightning_are_needed() -> None:
    code = (
        "import sys; from clip_align.settings.load_config import load; load(['data.batch_size=8']); "
        "sys.exit(any(m in sys.modules for m in ('torch', 'pytorch_lightning', 'open_clip', 'wandb', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=600).returncode == 0
