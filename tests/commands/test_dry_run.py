# SPDX-License-Identifier: Apache-2.0
"""A dry run: what is found, what is missing, what it will cost, every estimate marked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from clip_align.commands.dry_run import dry_run
from clip_align.commands.train import main
from clip_align.config_plain import to_plain
from clip_align.data import shared_memory, worker_count
from clip_align.data.world.shards import ensure_held_out
from clip_align.errors import UserError
from clip_align.runs.folder import RunFolder, write_provenance
from clip_align.settings.load_config import load
from clip_align.training.checkpoint_files import OWN


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the sets of the world's benchmarks, which every dry run would render for itself: it keeps nothing."""
    folder = tmp_path_factory.mktemp("cache")
    ensure_held_out(folder)
    return folder


@pytest.mark.parametrize(
    ("weights", "sets", "kept"),
    [
        ("raw", "", "weights, gradients"),
        ("[ema,raw]", ", each with 2 sets of weights", "weights, their average, gradients"),
    ],
)
def test_a_run_that_can_start_is_listed_with_its_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], weights: str, sets: str, kept: str
) -> None:
    overrides = ["trainer=cpu", "callbacks=[tid2013_remade,world]", f"paths.cache={tmp_path}/cache"]
    assert dry_run(load([*overrides, f"paths.runs={tmp_path}/runs", f"evaluation.weights={weights}"])) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0] == "dry run: nothing is trained"
    assert "found    data: the embedded world, 20,000 images of 32 px, to be rendered once into the cache" in lines
    assert any(
        line.startswith("found    callbacks.tid2013_remade: human/tid2013_remade, 8,160 images") for line in lines
    )
    steps = "cost     steps: 1,300 of 128 samples (each contrasted with 128), 166,400 samples in all, 8.32 epochs"
    assert steps in lines
    (evaluations,) = (line for line in lines if line.startswith("cost     evaluations: "))
    assert evaluations.startswith("cost     evaluations: 35, the largest of 8,")
    assert evaluations.endswith(f" images at 32 px, tiles counted{sets}")
    assert any(line.startswith("cost     memory: ") and kept in line for line in lines)
    for what in ("time", "memory", "disk"):
        assert any(line.startswith(f"cost     {what}: ") and "estimated" in line for line in lines), out
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "cache" / "world").exists()


def test_logits_of_accumulated_batches_are_named_as_not_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ["trainer=cpu", "callbacks=none", f"paths.cache={tmp_path}/cache", f"paths.runs={tmp_path}/runs"]
    on_top = "; logits of 4 batches together come on top: see loss.chunk)"
    for accumulation, named in (("accumulate=4", True), ("accumulate_grad_batches=4", False)):
        assert dry_run(load([*overrides, "data.batch_size=8", f"trainer.{accumulation}"])) == 0
        (memory,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("cost     memory: "))
        assert memory.endswith(on_top) == named


def test_everything_missing_is_named_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "metrics.jsonl").write_text("{}\n")
    (tmp_path / "cache").write_text("")
    (tmp_path / "empty.csv").write_text("")
    overrides = [
        "dry_run=true", "trainer=cpu", "data=webdataset", f"data.shards={tmp_path}/x-{{0..3}}.tar", "name=a",
        "callbacks=pairs_csv", f"callbacks.pairs_csv.csv={tmp_path}/empty.csv", "callbacks.pairs_csv.root=/nope",
        f"+callbacks.mine={{_target_:clip_align.callbacks.human.pairs_csv.PairsCsv,csv:{tmp_path}/empty.csv}}",
        f"paths.runs={tmp_path}", f"paths.cache={tmp_path}/cache",
    ]  # fmt: skip
    with pytest.raises(UserError) as caught:
        main(overrides)
    assert [line.partition(":")[0] for line in caught.value.lines] == [
        "callbacks.pairs_csv.root", "name", "paths.cache", "data.shards", "human/mine",
    ]  # fmt: skip
    assert "cost     memory" in capsys.readouterr().out  # what is known is reported


def captioned(folder: Path, captions: list[str]) -> list[str]:
    """A csv of small images with these captions, as data."""
    rows = ["image,caption"]
    for number, caption in enumerate(captions):
        Image.new("RGB", (32, 32), (number, 0, 0)).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{caption}")
    (folder / "captions.csv").write_text("\n".join(rows) + "\n")
    return ["data=folder", f"data.csv={folder}/captions.csv", "data.batch_size=4", "trainer=cpu"]


def test_what_will_be_null_is_reported_before_the_run_and_why(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The words are those of the captions; a benchmark whose classes they do not name is null in the whole run."""
    folders = [f"paths.cache={cache}", f"paths.runs={tmp_path}/runs"]
    data = captioned(tmp_path, [f"a photo of a {name}" for name in ("cat", "dog", "bus", "star", "ring")])
    assert dry_run(load([*data, "callbacks=[world,tid2013_remade]", *folders])) == 0
    out = capsys.readouterr().out.splitlines()
    null = [line for line in out if line.startswith("null ")]
    assert null == [
        "null     callbacks.world: zero_shot/world in the whole run: of its 16 classes 2 have words that the tokenizer "
        "knows, at least 3 are needed; unknown: disc, square, triangle, cross, heart, …"
    ]
    found = [line for line in out if line.startswith("found    callbacks")]
    assert [line.split(":")[0] for line in found] == ["found    callbacks.tid2013_remade"]
    assert any(line.startswith("cost     evaluations: ") and "of 8,160 images" in line for line in out)


def test_how_many_samples_are_held_out_by_default_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [f"paths.cache={tmp_path}/cache", f"paths.runs={tmp_path}/runs"]
    data = captioned(tmp_path, [f"a photo of {'abcdefghij'[n % 10]}" for n in range(120)])
    assert dry_run(load([*data, "callbacks=[held_out]", *folders])) == 0
    out = capsys.readouterr().out.splitlines()
    assert "found    data: 12 samples are held out (data.held_out=12, by default), 108 are trained on" in out
    assert any(line.startswith("found    callbacks.held_out: zero_shot/held_out, 12 images an event") for line in out)
    assert sum(line.startswith("note     callbacks: images are retrieved by their captions; ") for line in out) == 1
    (tmp_path / "captions.csv").write_text("image,caption\n" + "".join(f"{n}.png,a\n" for n in range(50)))
    with pytest.raises(UserError, match=r"^data.held_out: of 50 samples 5 would be held out, too few"):
        dry_run(load([*data, "callbacks=[held_out]", *folders]))


def test_a_layer_that_was_typed_and_is_not_there_is_missing(tmp_path: Path, cache: Path) -> None:
    folders = [f"paths.cache={cache}", f"paths.runs={tmp_path}/runs"]
    config = load(["trainer=cpu", "callbacks=tid2013_remade", "+callbacks.tid2013_remade.layers=[99]", *folders])
    with pytest.raises(UserError) as caught:
        dry_run(config)
    (line,) = caught.value.lines
    assert line.startswith("human/tid2013_remade: layers: no layer 99; this model's image tower has layers 0 to ")


def test_a_best_score_that_nobody_writes_is_missing(tmp_path: Path, cache: Path) -> None:
    folders = [f"paths.cache={cache}", f"paths.runs={tmp_path}/runs"]
    config = load(["trainer=cpu", "callbacks=world", "checkpoint.best=zero_shot/world/acuracy", *folders])
    with pytest.raises(UserError) as caught:
        dry_run(config)
    assert list(caught.value.lines) == [
        "checkpoint.best: no callback of this run writes zero_shot/world/acuracy; "
        "valid: zero_shot/world/accuracy, zero_shot/world/accuracy_random_texture"
    ]
    assert dry_run(load(["callbacks=[]", "checkpoint.best=null", *folders])) == 0


def stored(folder: Path, *overrides: str, step: int, ranks: int = 1) -> str:
    """A run that has come to ``step``; returns the override for the folder that it is in."""
    runs = f"paths.runs={folder}"
    config = to_plain(load([runs, "name=a", *overrides]))
    run = RunFolder(folder / "a")
    run.checkpoints.mkdir(parents=True)
    run.config_yaml.write_text(yaml.safe_dump(config))
    own = {"global_step": step, "ranks": ranks, "wall_seconds": 5.0, "config": config}
    torch.save({OWN: own}, run.checkpoints / "last.ckpt")
    return runs


def test_of_a_resumed_run_the_rest_is_reported(tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = stored(tmp_path / "runs", "trainer=cpu", "callbacks=[world]", step=1175)
    go_on = [runs, f"paths.cache={cache}", "resume=a"]
    assert dry_run(load(go_on)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "resuming from step 1175 (last.ckpt)" in lines
    assert "found    run: step 1,175 of 1,300 (last.ckpt)" in lines
    assert "cost     steps: 125 of 128 samples (each contrasted with 128), 16,000 samples in all, 0.8 epochs" in lines
    assert any(line.startswith("cost     evaluations: 3, the largest of ") for line in lines)  # 1,200, 1,260, 1,300
    with pytest.raises(UserError) as caught:
        dry_run(load([*go_on, "trainer.max_steps=1100"]))
    assert list(caught.value.lines) == [
        f"trainer: {tmp_path}/runs/a has reached step 1175, beyond the 1100 steps asked for; ask for more than 1175"
    ]


def test_of_a_finished_run_nothing_else_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = stored(tmp_path / "runs", "trainer=cpu", "callbacks=[]", "checkpoint.best=null", step=1300)
    write_provenance(tmp_path / "runs" / "a", status="done")
    assert dry_run(load([runs, "resume=a"])) == 0
    assert capsys.readouterr().out.splitlines() == [
        "dry run: nothing is trained",
        "found    trainer: 1 rank on the CPU",
        f"{tmp_path}/runs/a is finished (1300 steps); nothing to do. To train on: trainer.max_steps=<more than 1300>",
    ]


def test_under_torchrun_the_first_rank_reports_for_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("RANK", "1")
    assert dry_run(load([]), ["data.shards: not given"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("launcher", "variable"), [("srun", "CLIP_ALIGN_RANK"), ("torchrun", "TORCHELASTIC_RUN_ID")])
def test_on_several_machines_it_says_where_the_ranks_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, launcher: str, variable: str
) -> None:
    places = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 3, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": 0}
    places |= {"GROUP_WORLD_SIZE": 2, "MASTER_ADDR": "gpu07", "MASTER_PORT": 29500, variable: 1}
    for name, value in places.items():
        monkeypatch.setenv(name, str(value))
    typed = ["callbacks=[]", f"paths.cache={tmp_path}/c", f"paths.runs={tmp_path}", "trainer=multi_node"]
    assert dry_run(load([*typed, "data.images=512", "trainer.max_steps=1"])) == 0
    assert capsys.readouterr().out.splitlines()[1] == (
        f"found    trainer: 3 ranks on the CPU, on 2 machines, 2 on this one, started by {launcher}; they meet at "
        "gpu07:29500; each machine has a cache of its own, or they share one"
    )


def test_without_a_launcher_several_machines_are_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    typed = ["callbacks=[]", f"paths.cache={tmp_path}/c", f"paths.runs={tmp_path}", "trainer=multi_node"]
    with pytest.raises(UserError) as caught:
        dry_run(load([*typed, "data.images=512", "trainer.max_steps=1"]))
    assert caught.value.lines == (
        "trainer: multi_node trains on ranks that torchrun or srun has started, one command on each machine "
        "(docs/machines.md); on this machine alone take trainer=ddp",
    )
    assert "found    trainer: 1 rank on the CPU" in capsys.readouterr().out


def test_what_is_not_there_is_listed_with_the_cost_of_the_rest(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [
        "dry_run=true", "data=webdataset", "trainer=cpu", "callbacks=[world,pairs_csv]",
        f"paths.cache={cache}", f"paths.runs={tmp_path}/runs",
    ]  # fmt: skip
    lines = [
        "data.shards: not given; this key has no default: data.shards=…",
        "callbacks.pairs_csv.csv: not given; this key has no default: callbacks.pairs_csv.csv=…",
    ]
    with pytest.raises(UserError) as caught:
        main(overrides)
    assert list(caught.value.lines) == lines
    out = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in out] == [
        "dry run", "found    trainer", "found    paths.cache", "found    callbacks.world",
        "found    data.workers", *(f"cost     {what}" for what in ("steps", "evaluations", "time", "memory", "disk")),
    ]  # fmt: skip
    for refused, with_it in ((overrides[1:], []), ([*overrides, "seed=-1"], ["seed: -1 is out of range"])):
        with pytest.raises(UserError) as caught:
            main(refused)
        assert [line.partition(";")[0] for line in caught.value.lines if line not in lines] == with_it
        assert set(lines) <= set(caught.value.lines)
        assert capsys.readouterr().out == ""


def test_a_data_set_that_is_not_there_is_listed_with_its_source(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [f"paths.cache={cache}", *(f"paths.{name}={tmp_path}/{name}" for name in ("runs", "data"))]
    with pytest.raises(UserError) as caught:
        main(["dry_run=true", "trainer=cpu", "callbacks=[world,cifar100]", *folders])
    assert list(caught.value.lines) == [
        f"noise/cifar100: no such folder: {tmp_path}/data/cifar100; expected below it: cifar-100-python/test, "
        "cifar-100-python/meta. CIFAR-100 (0.2 GB) is at https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz; "
        "unpack it there, or name its folder with callbacks.cifar100.root=…"
    ]
    assert "cost     steps" in capsys.readouterr().out


def test_without_a_model_there_is_no_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError) as caught:
        main(["dry_run=true", "model=open_clip", "trainer=cpu", f"paths.cache={tmp_path}", f"paths.runs={tmp_path}"])
    assert list(caught.value.lines) == ["model.name: not given; this key has no default: model.name=…"]
    assert "cost" not in capsys.readouterr().out


def test_shared_memory_that_workers_need_and_do_not_find_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shared_memory, "free_shared_memory", lambda folder=None: 2**20)
    overrides = ["trainer=ddp", "trainer.devices=2", "callbacks=[]", f"paths.cache={tmp_path}"]
    with pytest.raises(UserError) as caught:
        dry_run(load([*overrides, "data.workers=4", f"paths.runs={tmp_path}/runs"]))
    assert caught.value.lines == (
        "data.workers: 4 workers on 2 ranks need 7.8 MiB of shared memory (/dev/shm) for 20 batches of 0.4 MiB, and "
        "1.0 MiB are free; take data.workers=0 or a smaller data.batch_size, or give the container more "
        "(docker run --shm-size=1g, or --ipc=host)",
    )
    assert "cost     shared memory: 7.8 MiB for 20 batches under way" in capsys.readouterr().out


def test_workers_that_are_left_open_are_those_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the run needs a GPU that is not here: as if it were on this machine."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(worker_count, "usable_cores", lambda: 4)
    data = captioned(tmp_path, ["a photo of a dog"] * 8)
    folders = [f"paths.cache={tmp_path}", f"paths.runs={tmp_path}/runs", "callbacks=[]", "checkpoint.best=null"]
    assert dry_run(load([*data, *folders])) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "found    data.workers: 0 for each rank (on the CPU, training itself uses all cores)" in lines
    assert any("ms a sample, no workers)" in line for line in lines)
    assert dry_run(load([*data, "trainer=gpu", *folders])) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "found    data.workers: 3 for each rank (4 cores for 1 rank)" in lines
    assert any(line.startswith("cost     shared memory: ") and "for 8 batches" in line for line in lines)


@pytest.mark.parametrize("key", ["trainer=gpu", "trainer.precision=16-mixed"])
def test_a_run_for_a_gpu_is_estimated_where_there_is_none(
    key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    folders = [f"paths.cache={tmp_path}", f"paths.runs={tmp_path}/runs"]
    raw = "evaluation.weights=raw"
    config = load([key, raw, "model=vit_b_32", "callbacks=[]", "checkpoint.best=null", *folders])
    assert dry_run(config) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "note     trainer: the run needs a GPU, and torch finds none on this machine" in lines
    assert "cost     time: not estimated: only a GPU could tell" in lines
    assert any(line.startswith("cost     memory: 2.3 GiB a rank (estimated: weights") for line in lines), lines
    assert any(line.startswith("cost     disk: ") for line in lines)
