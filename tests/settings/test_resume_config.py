# SPDX-License-Identifier: Apache-2.0
"""Going on with a run: its own configuration, with what may change in it changed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from clip_align.config import Config
from clip_align.config_plain import to_plain
from clip_align.errors import UserError
from clip_align.settings.load_config import load
from tests.settings.started_run import STARTED

ONLY = (
    "when a run is resumed, only trainer.max_steps or samples, data.workers, the ranks of an equal global batch, "
    "tracker, callbacks and where the data lie may change"
)


def lines(*overrides: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        load(overrides)
    return list(caught.value.lines)


def go_on(runs: str, *overrides: str) -> Config:
    config = load([runs, "resume=a", *overrides])
    assert config.resume == f"{runs.partition('=')[2]}/a"
    assert (config.seed, config.name) == (3, "a")
    return config


def test_its_own_configuration_comes_back(runs: str) -> None:
    config = go_on(runs)
    assert (config.trainer.max_steps, config.evaluation.every_n_steps) == (50, 7)
    assert list(config.callbacks) == ["world"]


def test_the_command_that_started_an_experiment_resumes_it(tmp_path: Path) -> None:
    command = ["experiment=paper", "data.shards=/a/x.tar", "callbacks=[]", "checkpoint.best=null", "name=a"]
    command += [f"paths.runs={tmp_path}", "resume=auto"]
    started = load(command)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.yaml").write_text(yaml.safe_dump(to_plain(started)))
    resumed = load(command)
    assert (resumed.resume, resumed.model.name) == (f"{tmp_path}/a", "ViT-B-32")
    others = [word for word in command[1:] if not word.startswith("callbacks")]  # also without the experiment's name
    assert load(others).model.name == "ViT-B-32"


def test_what_may_change_changes(runs: str) -> None:
    config = go_on(
        runs, "trainer.max_steps=90", "data.workers=1", "tracker=[csv]", "tracker.tags=[x]",
        "callbacks=[world,world_noise]", "callbacks.world.every_n_steps=14",
    )  # fmt: skip
    assert (config.trainer.max_steps, config.data.workers) == (90, 1)
    assert (config.tracker.kinds, config.tracker.tags) == ({"csv": {}}, ("x",))
    assert config.callbacks["world_noise"].arguments["every_n_steps"] == 7  # the run's own, not today's default
    assert config.callbacks["world"].arguments["every_n_steps"] == 14


def test_one_callback_of_the_run_is_changed_or_dropped(runs: str) -> None:
    assert go_on(runs, "callbacks.world.every_n_steps=14").callbacks["world"].arguments["every_n_steps"] == 14
    assert go_on(runs, "~callbacks.world").callbacks == {}


def test_a_callback_keeps_the_arguments_that_nobody_types_anew(tmp_path: Path) -> None:
    mine = "+callbacks.mine={_target_:clip_align.callbacks.zero_shot.world.World,name:mine,every_n_steps:9}"
    first = [
        f"paths.runs={tmp_path}", "name=a", "callbacks=[world_noise,tid2013_remade]", mine,
        "callbacks.world_noise.sigmas=[0.2,0.3]", "+callbacks.world_noise.view=native",
        "callbacks.tid2013_remade.tiles=2",
    ]  # fmt: skip
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.yaml").write_text(yaml.safe_dump(to_plain(load(first))))
    assert load([*first, "resume=auto"]).callbacks == load(first).callbacks

    def go_on(*overrides: str) -> dict[str, dict[str, object]]:
        callbacks = load([f"paths.runs={tmp_path}", "resume=a", *overrides]).callbacks
        return {name: dict(callback.arguments) for name, callback in callbacks.items()}

    before = go_on()
    assert (before["world_noise"]["sigmas"], before["tid2013_remade"]["tiles"]) == ([0.2, 0.3], 2)
    noise = {**before["world_noise"], "every_n_steps": 20}
    assert go_on("callbacks.world_noise.every_n_steps=20") == {**before, "world_noise": noise}
    assert go_on("callbacks.mine.every_n_steps=3") == {**before, "mine": {**before["mine"], "every_n_steps": 3}}
    assert go_on("~callbacks.mine", "+callbacks.world_noise.batch_size=8") == {
        "world_noise": {**before["world_noise"], "batch_size": 8},
        "tid2013_remade": before["tid2013_remade"],
    }
    chosen_anew = go_on("callbacks=[world,world_noise]", "callbacks.world_noise.every_n_steps=32")
    assert list(chosen_anew) == ["world", "world_noise"]
    assert chosen_anew["world_noise"] == {**before["world_noise"], "every_n_steps": 32}
    assert lines(f"paths.runs={tmp_path}", "resume=a", "callbacks.mine.every_n_step=3", "callbacks.mine.view=a") == [
        "callbacks.mine.every_n_step: unknown key; did you mean callbacks.mine.every_n_steps?",
        "callbacks.mine.view: taken by the class, but not in its yaml; add it by typing +callbacks.mine.view=…",
    ]


def other_items(key: str, value: str, old: str) -> str:
    name = key.split(".")[1]
    return (
        f"{key}: {value} is not what a was started with ({old}), and this curve would continue with other items; "
        f"give it another name, +callbacks.{name}.name=…"
    )


def test_other_items_under_the_same_key_are_refused(tmp_path: Path) -> None:
    """A verdict would pair values of one set of items with the opinions of another."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "pairs.csv").touch()
    first = [
        f"paths.runs={tmp_path}", "name=a", "callbacks=[world_noise,tid2013_remade,pairs_csv]", "checkpoint.best=null",
        f"callbacks.pairs_csv.csv={tmp_path}/x/pairs.csv",
    ]  # fmt: skip
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.yaml").write_text(yaml.safe_dump(to_plain(load(first))))
    again = (f"paths.runs={tmp_path}", "resume=a")
    assert set(lines(*again, "callbacks.world_noise.images=32", "callbacks.tid2013_remade.tiles=2")) == {
        other_items("callbacks.world_noise.images", "32", "256"),
        other_items("callbacks.tid2013_remade.tiles", "2", "4"),
    }
    assert set(lines(*again, "+callbacks.tid2013_remade.layers=[1]", "callbacks.world_noise.sigmas=[0.2]")) == {
        other_items("callbacks.world_noise.sigmas", "[0.2]", "[0.1]"),
        other_items("callbacks.tid2013_remade.layers", "[1]", "null"),
    }
    assert lines(*again, "callbacks.pairs_csv.higher_opinion=worse") == [
        other_items("callbacks.pairs_csv.higher_opinion", "'worse'", "'better'"),
    ]
    for name in ("other.csv", "y/pairs.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert lines(*again, f"callbacks.pairs_csv.csv={tmp_path}/other.csv") == [
        other_items("callbacks.pairs_csv.csv", f"'{tmp_path}/other.csv'", f"'{tmp_path}/x/pairs.csv'")
    ]
    moved = load([*again, f"callbacks.pairs_csv.csv={tmp_path}/y/pairs.csv"]).callbacks["pairs_csv"]
    assert moved.arguments["csv"] == f"{tmp_path}/y/pairs.csv"
    noise = "_target_:clip_align.callbacks.noise.world_noise.WorldNoise"
    under_another_key = f"+callbacks.mine={{{noise},name:world_noise,images:32}}"
    assert other_items("callbacks.mine.images", "32", "256") in lines(
        *again, "~callbacks.world_noise", under_another_key
    )
    another_class = "+callbacks.mine={_target_:clip_align.callbacks.human.tid2013_remade.TID2013Remade,name:pairs_csv}"
    assert lines(*again, "~callbacks.pairs_csv", another_class) == [
        "callbacks.mine: a was started with another class for this curve "
        "(clip_align.callbacks.human.pairs_csv.PairsCsv); give it another name, +callbacks.mine.name=…"
    ]
    renamed = load([*again, "callbacks.world_noise.images=32", "+callbacks.world_noise.name=fewer"])
    assert renamed.callbacks["world_noise"].arguments["images"] == 32
    as_well = f"+callbacks.fewer={{{noise},images:32}}"
    assert {"fewer", "world_noise"} <= set(load([*again, as_well]).callbacks)
    assert load([*again, "callbacks.world_noise.images=256"]).callbacks["world_noise"].arguments["images"] == 256


def test_samples_typed_replace_the_steps(runs: str) -> None:
    trainer = go_on(runs, "trainer.samples=20000").trainer
    assert (trainer.max_steps, trainer.samples) == (None, 20000)


def test_anything_else_is_refused_by_name(runs: str) -> None:
    assert lines(runs, "resume=a", "optimizer.lr=1", "seed=4", "model=vit_b_32", "trainer.max_steps=60") == [
        f"optimizer.lr: 1.0 is not what a was started with (0.002); {ONLY}",
        f"seed: 4 is not what a was started with (3); {ONLY}",
        f"model.kind: 'open_clip' is not what a was started with ('tiny'); {ONLY}",
        f"model.name: 'ViT-B-32' is not what a was started with (null); {ONLY}",
        f"model.image_size: null is not what a was started with (32); {ONLY}",
    ]


def test_a_run_of_an_earlier_release_goes_on_accumulating_as_it_did(runs: str, tmp_path: Path) -> None:
    """There ``trainer.accumulate`` was plain accumulation."""
    stored = yaml.safe_load((tmp_path / "a" / "config.yaml").read_text())
    del stored["trainer"]["accumulate_grad_batches"]
    stored["trainer"]["accumulate"] = 4
    del stored["loss"]["chunk"]
    (tmp_path / "a" / "config.yaml").write_text(yaml.safe_dump(stored))
    trainer = go_on(runs).trainer
    assert (trainer.accumulate, trainer.accumulate_grad_batches) == (1, 4)
    assert go_on(runs, "trainer.accumulate_grad_batches=4", "loss=infonce").trainer == trainer
    assert lines(runs, "resume=a", "trainer.accumulate=4") == [
        f"trainer.accumulate: 4 is not what a was started with (1); {ONLY}; for the 4 batches of its steps, which an "
        "earlier release called so, type trainer.accumulate_grad_batches=4 or nothing"
    ]


def test_the_global_batch_may_be_divided_otherwise(runs: str) -> None:
    """Whether it stays equal is known with the number of ranks."""
    config = go_on(runs, "trainer=ddp", "trainer.devices=2", "trainer.accumulate=2", "data.batch_size=32")
    trainer = config.trainer
    assert (trainer.kind, trainer.devices, trainer.accumulate, config.data.batch_size) == ("ddp", 2, 2, 32)
    assert (trainer.max_steps, go_on(runs).trainer.kind) == (50, "auto")
    assert go_on(runs, "trainer=cpu").trainer.kind == "cpu"
    assert lines(runs, "resume=a", "trainer.accumulate_grad_batches=2") == [
        f"trainer.accumulate_grad_batches: 2 is not what a was started with (1); {ONLY}"
    ]


def test_parameters_may_be_divided_over_ranks_from_now_on(runs: str, tmp_path: Path) -> None:
    trainer = go_on(runs, "trainer=fsdp", "trainer.reshard_after_forward=false").trainer
    assert (trainer.kind, trainer.reshard_after_forward, trainer.max_steps) == ("fsdp", False, 50)
    stored = yaml.safe_load((tmp_path / "a" / "config.yaml").read_text())
    stored["trainer"]["kind"] = "fsdp"
    (tmp_path / "a" / "config.yaml").write_text(yaml.safe_dump(stored))
    assert go_on(runs, "trainer=ddp").trainer.kind == "ddp"


def test_the_command_that_started_a_run_goes_on_with_it(runs: str) -> None:
    again = load([runs, *STARTED, "resume=auto"])
    assert again.resume is not None
    assert load([runs, *STARTED[1:], "name=b", "resume=auto"]).resume is None  # a fresh start


def test_mistakes_beside_resume_have_their_lines_too(runs: str) -> None:
    assert lines(runs, "resume=a", "trainer.max_stepz=60", "trainer.max_steps=0") == [
        "trainer.max_stepz: unknown key; did you mean trainer.max_steps?",
        "trainer.max_steps: 0 is out of range; it must be at least 1",
    ]


def test_another_name_beside_the_run_is_refused(runs: str) -> None:
    assert lines(runs, "resume=a", "name=b") == ["name: b with resume=a; a resumed run keeps its name: leave name out"]
    assert go_on(runs, "name=a").resume is not None


def test_a_run_without_its_configuration(runs: str) -> None:
    folder = runs.partition("=")[2]
    (Path(folder) / "a" / "config.yaml").unlink()
    (Path(folder) / "a" / "metrics.jsonl").write_text("{}\n")
    assert lines(runs, "resume=a") == [
        f"resume: {folder}/a/config.yaml cannot be read (No such file or directory); without it the run cannot continue"
    ]


def test_no_such_run_and_a_damaged_configuration(runs: str) -> None:
    folder = runs.partition("=")[2]
    assert lines(runs, "resume=b") == [
        f"resume: b: no run of this name in {folder} and no such run folder; runs there, newest first: a"
    ]
    (Path(folder) / "a" / "config.yaml").write_text("a: [\n")
    (line,) = lines(runs, "resume=a")
    assert line.startswith(f"resume: {folder}/a/config.yaml cannot be read (while parsing")
    for text, reason in (("", "empty"), ("[1, 2]", "keys and values are not in it")):
        (Path(folder) / "a" / "config.yaml").write_text(text)
        assert lines(runs, "resume=a") == [
            f"resume: {folder}/a/config.yaml cannot be read ({reason}); without it the run cannot continue"
        ]


def test_the_callback_that_the_best_checkpoint_is_of_has_to_stay(tmp_path: Path) -> None:
    stored = load([*STARTED, "checkpoint.best=zero_shot/world/accuracy", f"paths.runs={tmp_path}"])
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.yaml").write_text(yaml.safe_dump(to_plain(stored)))
    assert lines(f"paths.runs={tmp_path}", "resume=a", "callbacks=[world_noise]") == [
        "checkpoint.best: no callback that is chosen writes zero_shot/world/accuracy; "
        "chosen are: world_noise; leave the callback in, a run continues with it"
    ]


def shards(tmp_path: Path, *sources: str) -> str:
    """A run on shards; returns the override for the folder of runs."""
    stored = load([f"paths.runs={tmp_path}", "name=s", "data=webdataset", "callbacks=[]", *sources])
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "config.yaml").write_text(yaml.safe_dump(to_plain(stored)))
    return f"paths.runs={tmp_path}"


def test_shards_may_lie_elsewhere(tmp_path: Path) -> None:
    runs = shards(tmp_path, "data.shards='/a/x-{000..003}.tar'", "data.batch_size=32")
    data = load([runs, "resume=s", "data.shards='/b/x-{000..003}.tar'"]).data
    assert to_plain(Config(data=data))["data"]["shards"] == [{"shards": "/b/x-{000..003}.tar", "weight": 1.0}]
    assert data.batch_size == 32
    assert lines(runs, "resume=s", "data.shards=/b", "data.flip=false")[0].startswith("data.flip: false is not")


def test_shards_that_move_are_not_mixed_otherwise(tmp_path: Path) -> None:
    runs = shards(tmp_path, "data.shards=[{shards: /a, weight: 2}, /b]")
    load([runs, "resume=s", "data.shards=[{shards: /c, weight: 2}, /d]"])
    assert lines(runs, "resume=s", "data.shards=[/c, {shards: /d, weight: 2}]") == [
        "data.shards: sources with weights [1.0, 2.0] are not what s was started with ([2.0, 1.0]); when a run is "
        "resumed its shards may lie elsewhere, but not be mixed otherwise"
    ]


def test_samples_and_captions_stay_those_that_were_chosen(tmp_path: Path) -> None:
    chosen = ["data.where=width > 3", "data.caption_fields={txt: 1, llava: 3}"]
    runs = shards(tmp_path, "data.shards=/a", *chosen)
    assert load([runs, "resume=s", *chosen]).data == load([runs, "resume=s"]).data
    assert lines(runs, "resume=s", "data.where=width > 4") == [
        f"data.where: 'width > 4' is not what s was started with ('width > 3'); {ONLY}"
    ]
    for typed in ("{txt: 1, llava: 2}", "{txt: 1, llava: 3, more: 1}", "null"):
        (line,) = lines(runs, "resume=s", f"data.caption_fields={typed}")
        assert line.startswith("data.caption_fields")
        assert line.endswith(f"; {ONLY}")


def test_a_csv_may_lie_elsewhere(tmp_path: Path) -> None:
    stored = load([f"paths.runs={tmp_path}", "name=s", "data=folder", "data.csv=/a/c.csv", "callbacks=[]"])
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "config.yaml").write_text(yaml.safe_dump(to_plain(stored)))
    data = to_plain(load([f"paths.runs={tmp_path}", "resume=s", "data.csv=/b/c.csv", "data.root=/c"]))["data"]
    assert (data["csv"], data["root"]) == ("/b/c.csv", "/c")
    (line,) = lines(f"paths.runs={tmp_path}", "resume=s", "data.caption_column=text")
    assert line.startswith("data.caption_column: 'text' is not what s was started with")


@pytest.fixture
def saved(runs: str) -> Path:
    """Checkpoint files of the run; what is in them is not looked at here."""
    folder = Path(runs.partition("=")[2]) / "a" / "checkpoints"
    folder.mkdir()
    for name in ("step-000000010.ckpt", "step-000000020.ckpt", "last.ckpt", "best-human-x-srocc.ckpt"):
        (folder / name).write_text("")
    return folder


@pytest.mark.parametrize("name", ["last.ckpt", "step-000000020.ckpt"])
def test_the_newest_checkpoint_names_its_run(runs: str, saved: Path, name: str) -> None:
    for typed in (saved / name, f"a/checkpoints/{name}"):
        config = load([runs, f"resume={typed}", "trainer.max_steps=90"])
        assert (config.resume, config.seed, config.trainer.max_steps) == (str(saved.parent), 3, 90)


def test_a_run_of_an_earlier_release_keeps_its_events_and_its_weights(runs: str) -> None:
    path = Path(runs.partition("=")[2]) / "a" / "config.yaml"
    stored = yaml.safe_load(path.read_text())
    stored["evaluation"] = {"every_n_steps": 7, "early_steps": [2, 5], "batch_size": 256}  # all that there was
    path.write_text(yaml.safe_dump(stored))
    found = go_on(runs).evaluation
    assert (found.early_steps, found.weights) == ((2, 5), ("raw",))
    assert lines(runs, "resume=a", "evaluation.weights=ema") == [
        f"evaluation.weights: ['ema'] is not what a was started with (['raw']); {ONLY}"
    ]


@pytest.mark.parametrize("name", ["step-000000010.ckpt", "best-human-x-srocc.ckpt"])
def test_another_checkpoint_is_refused_with_what_to_type(runs: str, saved: Path, name: str) -> None:
    assert lines(runs, f"resume={saved}/{name}") == [
        f"resume: {saved}/{name}: not the newest checkpoint of its run, which is resumed from step-000000020.ckpt "
        f"only: type resume={saved.parent}"
    ]


def test_a_checkpoint_without_its_run(runs: str, tmp_path: Path) -> None:
    (tmp_path / "mine.ckpt").write_text("")
    assert lines(runs, f"resume={tmp_path}/mine.ckpt") == [
        f"resume: {tmp_path}/mine.ckpt: a file in no run's checkpoints; name a run or its folder: resume=<run>"
    ]
    assert lines(runs, "resume=a/checkpoints/step-000000030.ckpt") == [
        "resume: a/checkpoints/step-000000030.ckpt: no such checkpoint; name the run that it belongs to: resume=<run>"
    ]


@pytest.mark.parametrize(
    ("name", "shown"),
    [("world.every_n_steps=3", "'world.every_n_steps=3'"), ("~world", "'~world'"), ("", "''"), ("a b", "'a b'")],
)
def test_a_callback_named_like_an_override_is_refused_by_name(runs: str, name: str, shown: str) -> None:
    path = Path(runs.partition("=")[2]) / "a" / "config.yaml"
    stored = yaml.safe_load(path.read_text())
    stored["callbacks"][name] = stored["callbacks"]["world"]
    path.write_text(yaml.safe_dump(stored))
    assert lines(runs, "resume=a", "callbacks.world.every_n_steps=5") == [
        f"resume: {path}: callbacks: {shown} is no name; use letters, digits, underscores"
    ]


@pytest.mark.parametrize("stored", [0, 7, 1000])
@pytest.mark.parametrize("typed", [(), ("data=webdataset",), ("data.held_out=null",), ("experiment=main",)])
def test_a_run_keeps_the_number_of_samples_held_out(tmp_path: Path, stored: int, typed: tuple[str, ...]) -> None:
    begun = load(["data=webdataset", "data.shards=/a/x.tar", "callbacks=[held_out]", f"data.held_out={stored}"])
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.yaml").write_text(yaml.safe_dump(to_plain(begun)))
    again = load([f"paths.runs={tmp_path}", "resume=a", "data.shards=/a/x.tar", "callbacks=[held_out]", *typed])
    assert again.data.held_out == stored
