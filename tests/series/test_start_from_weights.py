# SPDX-License-Identifier: Apache-2.0
"""A new run from another run's weights, or pretrained ones: step 0, a fresh optimizer, no source afterwards."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file
from series_runs import TRAINING, Done, command, numbers

from clip_align.config import Config, ModelConfig
from clip_align.errors import UserError
from clip_align.losses.infonce import InfoNCE
from clip_align.losses.siglip import SigLIP
from clip_align.models.build import ClipModel, build_model
from clip_align.settings.load_config import load
from clip_align.training.checkpoint_files import AVERAGE, step_file, weights_of
from clip_align.training.checkpoint_files import load as checkpoint
from clip_align.training.initial_weights import InitialWeights, initial_weights

SMALL = "ViT-S-32-alt"


@pytest.fixture
def start(places: list[str], pairs: Path) -> Callable[..., Done]:
    """``start(name, …)`` trains as the source was trained, under another name."""
    common = [word for word in TRAINING if not word.startswith("name=")]
    data = f"data.csv={pairs.with_name('captions.csv')}"

    def run(name: str, *more: str) -> Done:
        return command("train", *common, data, f"callbacks.pairs_csv.csv={pairs}", *places, f"name={name}", *more)

    return run


@pytest.mark.parametrize("weights", ["ema", "raw"])
def test_the_first_evaluation_is_the_sources_last(trained: Path, start: Callable[..., Done], weights: str) -> None:
    typed = ["init_weights=raw"] if weights == "raw" else []  # ema: the set with the plain keys
    name = f"from-{weights}"
    done = start(name, "init_from=mine", "optimizer.lr=0.0003", "trainer.max_steps=4", *typed)
    assert done.returncode == 0, done.stdout + done.stderr
    file = trained / "checkpoints" / "last.ckpt"
    line = f"init_from: starting from {weights} weights of {file} at step 8; the optimizer is fresh"
    assert line in done.stdout.replace("\n", " ") or line in done.stdout
    folder = trained.parent / name
    suffix = "" if weights == "ema" else "@raw"
    before, after = numbers(trained)[8], numbers(folder)[0]
    assert after["human/pairs_csv/srocc"] == before[f"human/pairs_csv/srocc{suffix}"]
    assert after["human/pairs_csv/srocc@raw"] == after["human/pairs_csv/srocc"]  # one set of weights so far
    assert yaml.safe_load((folder / "config.yaml").read_text())["init_from"] == "mine"
    about = json.loads((folder / "provenance.json").read_text())["initial_weights"]
    assert about == {"source": "mine", "file": str(file.resolve()), "weights": weights, "step": 8}
    first = checkpoint(folder / "checkpoints" / step_file(4))
    assert first["global_step"] == 4
    assert max(float(state["step"]) for state in first["optimizer_states"][0]["state"].values()) == 4  # fresh


def test_a_resumed_run_needs_no_source_and_continues_to_the_bit(
    trained: Path, start: Callable[..., Done], places: list[str]
) -> None:
    source = trained.parent / "source"
    shutil.copytree(trained, source)
    assert start("whole", "init_from=source").returncode == 0
    whole, part = trained.parent / "whole", trained.parent / "part"
    shutil.copytree(whole, part)
    for path in (part / "checkpoints").iterdir():
        if path.name != step_file(4):
            path.unlink()
    shutil.rmtree(source)
    done = command("train", "resume=part", *places)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resuming from step 4" in done.stdout
    a, b = (checkpoint(folder / "checkpoints" / "last.ckpt") for folder in (whole, part))
    for sets in ("state_dict", AVERAGE):
        one, other = (c[sets].get("tensors", c[sets]) for c in (a, b))
        assert all(torch.equal(one[name], other[name]) for name in one)
    about = json.loads((part / "provenance.json").read_text())
    assert about["initial_weights"]["source"] == "source"
    assert len(about["resumed"]) == 1


def test_what_cannot_be_started_from_is_one_line(trained: Path, start: Callable[..., Done], tmp_path: Path) -> None:
    runs = trained.parent
    other = tmp_path / "other.ckpt"
    torch.save({"state_dict": {"w": torch.zeros(2)}}, other)
    last = runs / "mine" / "checkpoints" / "last.ckpt"
    cases = {
        "init_from=nothing": "init_from: nothing: no run of this name in",
        "init_from=mine/checkpoints/none.ckpt": "init_from: mine/checkpoints/none.ckpt: no such checkpoint; name a",
        f"init_from={other}": f"init_from: {other} cannot be used (not a checkpoint of clip-align; weights of other",
    }
    for typed, message in cases.items():
        done = start("refused", typed)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert done.stderr.startswith(message)
    done = start("refused", "init_from=mine", "model.embed_dim=32")
    assert done.returncode == 2
    assert done.stderr == (
        f"init_from: {last} holds weights of model.embed_dim=64, this run has 32; choose the source's model\n"
    )
    assert not (runs / "refused").exists()


def test_a_dry_run_says_what_it_would_start_from(trained: Path, start: Callable[..., Done]) -> None:
    done = start("dry", "init_from=mine", "dry_run=true")
    assert done.returncode == 0, done.stderr
    last = trained / "checkpoints" / "last.ckpt"
    assert f"found    init_from: starting from ema weights of {last} at step 8; the optimizer is fresh\n" in done.stdout
    done = start("dry", "init_from=mine", "model.embed_dim=32", "dry_run=true")
    assert done.returncode == 2
    assert done.stderr.startswith(f"init_from: {last} holds weights of model.embed_dim=64, this run has 32;")


def test_resuming_with_another_source_is_refused(trained: Path, places: list[str]) -> None:
    done = command("train", "resume=mine", "init_from=other", *places)
    assert done.returncode == 2
    assert done.stderr.startswith("init_from: 'other' is not what mine was started with (null);")


def open_clip(**model: Any) -> Config:
    return Config(model=ModelConfig(**{"kind": "open_clip", "name": SMALL, "image_size": None, **model}))


@pytest.fixture(scope="module")
def small() -> ClipModel:
    """The smallest architecture of open_clip, at its own size."""
    torch.manual_seed(3)
    return build_model(open_clip().model)


@pytest.fixture(scope="module")
def files(small: ClipModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Its weights as trainers write them."""
    folder = tmp_path_factory.mktemp("weights")
    state = {name: tensor.clone() for name, tensor in small.model.state_dict().items()}
    state["logit_scale"] = torch.tensor(4.0)
    found = {"safetensors": folder / "a.safetensors", "open_clip_train": folder / "epoch_3.pt"}
    save_file(state, found["safetensors"])
    torch.save({"epoch": 3, "state_dict": {f"module.{n}": t for n, t in state.items()}}, found["open_clip_train"])
    return found


@pytest.mark.parametrize("form", ["safetensors", "open_clip_train"])
def test_pretrained_weights_from_a_file(small: ClipModel, files: dict[str, Path], form: str) -> None:
    torch.manual_seed(5)
    fresh = build_model(open_clip().model)
    initial = initial_weights(open_clip(pretrained=str(files[form])))
    assert isinstance(initial, InitialWeights)
    initial.load(fresh)
    wanted = {**small.model.state_dict(), "logit_scale": torch.tensor(4.0)}
    found = fresh.model.state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    model: Any = fresh.model
    for kind, loss, scale in (("infonce", InfoNCE(), 4.0), ("siglip", SigLIP(), 1.0)):
        model.logit_scale.data.fill_(1.0)  # what the module begins with
        initial.load_loss(kind, loss, model)
        assert float(model.logit_scale) == scale


def test_positions_are_interpolated_for_another_image_size(files: dict[str, Path]) -> None:
    fresh = build_model(open_clip(image_size=96).model)
    initial = initial_weights(open_clip(image_size=96, pretrained=str(files["safetensors"])))
    assert initial is not None
    initial.load(fresh)
    assert fresh.model.state_dict()["visual.positional_embedding"].shape[0] == 1 + 9


def refused(config: Config, load_into: ClipModel | None = None) -> str:
    def start() -> None:
        initial = initial_weights(config)
        assert initial is not None
        assert load_into is not None
        initial.load(load_into)

    with pytest.raises(UserError) as error:
        start()
    (line,) = error.value.lines
    return line


def test_weights_of_another_architecture_and_files_that_run_code(
    small: ClipModel, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "b.safetensors"
    save_file({"visual.conv1.weight": torch.zeros(3), "logit_scale": torch.zeros(())}, path)
    line = refused(open_clip(pretrained=str(path)), small)
    assert line.startswith(f"model.pretrained: {path}: its weights are not of this architecture (")
    assert line.endswith("; ViT-S-32-alt at 224 px is what model=… chooses: choose the architecture of the weights")
    hostile = tmp_path / "c.pt"
    hostile.write_bytes(pickle.dumps(_Hostile()))
    assert refused(open_clip(pretrained=str(hostile))).startswith(f"model.pretrained: {hostile}: cannot be read (")
    assert not (tmp_path / "owned").exists()
    line = refused(open_clip(pretrained="nothing/w.pt"))
    assert line == (
        "model.pretrained: no such file: nothing/w.pt; give a file of weights, or a tag of open_clip such as "
        "laion2b_s34b_b79k"
    )


def test_the_configuration_beside_a_file_counts(files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "open_clip_model.safetensors"
    shutil.copy(files["safetensors"], path)
    beside = tmp_path / "open_clip_config.json"
    beside.write_text(json.dumps({"model_cfg": {"quick_gelu": True}, "preprocess_cfg": {}}))
    assert refused(open_clip(pretrained=str(path))) == (
        f"model.pretrained: {path} was trained with another activation than ViT-S-32-alt has; choose other weights"
    )
    beside.write_text(json.dumps({"model_cfg": {}, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5]}}))
    assert "normalized with the mean [0.5, 0.5, 0.5], this run has [0.48" in refused(open_clip(pretrained=str(path)))
    beside.write_text("[]")
    assert refused(open_clip(pretrained=str(path))).startswith(f"model.pretrained: {beside} cannot be read (")
    beside.write_text(json.dumps({"model_cfg": {}}))
    assert initial_weights(open_clip(pretrained=str(path))) is not None


class _Hostile:
    def __reduce__(self) -> Any:
        return (open, ("owned", "w"))


def test_a_tag_is_checked_before_it_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    import open_clip as library

    def no_network(cfg: object) -> str:
        raise OSError("no network\nat all")

    monkeypatch.setattr(library, "download_pretrained", no_network)
    line = refused(open_clip(name="ViT-B-32", pretrained="laion9b"))
    assert line.startswith("model.pretrained: 'laion9b' is no file and no tag of open_clip; ViT-B-32 has openai, laion")
    assert refused(open_clip(name="ViT-B-32", pretrained="openai")) == (
        "model.pretrained: openai was trained with another activation than ViT-B-32 has; type "
        "model.name=ViT-B-32-quickgelu"
    )
    assert refused(open_clip(name="ViT-B-32", pretrained="laion2b_s34b_b79k")) == (
        "model.pretrained: ViT-B-32:laion2b_s34b_b79k: cannot be downloaded (no network); give a file: "
        "model.pretrained=/path/weights.safetensors"
    )
    assert initial_weights(open_clip(name="ViT-B-32", pretrained="laion2b_s34b_b79k"), fetch=False) is None


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (
            ["model.pretrained=openai"],
            "model.pretrained: 'openai' with model=tiny, of which there are no pretrained weights; type model=vit_b_32",
        ),
        (
            ["model=vit_b_32", "model.pretrained=openai", "init_from=a"],
            "init_from: 'a' and model.pretrained='openai' are given; a run starts from one of them",
        ),
        (["init_weights=ema"], "init_weights: ema of which run? type init_from=<run> too"),
        (["init_from=''"], "init_from: empty; name what to start from, or give null for random weights"),
    ],
)  # fmt: skip
def test_combinations(typed: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        load(typed)
    assert error.value.lines == (message,)


def test_the_set_of_the_checkpoint(trained: Path) -> None:
    """Raw and averaged weights differ: the choice between them means something."""
    content = checkpoint(trained / "checkpoints" / "last.ckpt")
    raw, ema = weights_of(content, "raw"), weights_of(content, "ema")
    assert any(not torch.equal(raw[name], ema[name]) for name in raw)
