# SPDX-License-Identifier: Apache-2.0
"""The shipped recipes: each composes, reports what is missing and how to get it, and is checked against its data."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import yaml
from cifar_archive import write_cifar
from PIL import Image
from tiny_imagenet_tree import write_tiny_imagenet

from clip_align.commands.train import main
from clip_align.config import conf_dir
from clip_align.config_plain import to_plain
from clip_align.errors import UserError
from clip_align.open_clip_prompts import CIFAR_TEMPLATES, imagenet_class_names, imagenet_templates
from clip_align.perception.cifar import CIFAR100
from clip_align.settings.load_config import load
from clip_align.training.resume import global_batch, steps_of

# name, ranks, optimizer steps
STEPS = {
    "cc3m_rn50": (8, 85_136),
    "cc12m_vit_b_32": (8, 85_692),
    "datacomp_small": (8, 3_125),
    "laion_vit_b_32": (128, 397_786),
    "laion_vit_b_16": (176, 385_732),
    "cifar100": (1, 9_766),
    "tiny_imagenet": (1, 9_766),
}
FOLDERS = {
    "cc3m_rn50": "cc3m",
    "cc12m_vit_b_32": "cc12m",
    "datacomp_small": "datacomp_small/shards",
    "laion_vit_b_32": "laion400m",
    "laion_vit_b_16": "laion400m",
}
OTHERS = {"main", "paper", "quick"}  # no recipes
PAGE = Path(__file__).resolve().parents[2] / "docs" / "recipes.md"


def arguments(name: str, folder: Path) -> list[str]:
    # trainer=gpu: where there is none, steps of these models are not tried, which would take long
    places = [f"paths.{key}={folder / key}" for key in ("data", "runs", "cache")]
    return [f"experiment={name}", "dry_run=true", "trainer=gpu", *places]


def test_every_recipe_is_listed() -> None:
    assert {path.stem for path in (conf_dir() / "experiment").glob("*.yaml")} == OTHERS | set(STEPS)
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in STEPS)


@pytest.mark.parametrize("name", STEPS)
def test_a_recipe_composes_and_the_page_has_its_figures(name: str) -> None:
    config = load([f"experiment={name}"])
    ranks, steps = STEPS[name]
    batch = global_batch(config.data.batch_size, ranks, config.trainer.batches_per_step)
    assert steps_of(None, config.trainer.samples, batch) == steps
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    row = next(line for line in lines if line.startswith(f"| `{name}` |"))  # of the first table
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[3] == f"{config.data.batch_size} x {ranks} = {batch:,}"
    assert cells[4] == f"{config.optimizer.lr:g}, {config.optimizer.weight_decay:g}, {config.optimizer.warmup_steps:,}"
    assert cells[5] == f"{config.trainer.samples:,}"
    assert cells[6] == f"{steps:,}"


@pytest.mark.parametrize("name", STEPS)
def test_the_command_that_starts_a_recipe_resumes_it(name: str, tmp_path: Path) -> None:
    command = [f"experiment={name}", "name=a", f"paths.runs={tmp_path}", "resume=auto"]
    started = load(command)
    (tmp_path / "a").mkdir()
    stored = {**to_plain(started), "preparation": "as an earlier release had it"}
    (tmp_path / "a" / "config.yaml").write_text(yaml.safe_dump(stored))
    resumed = load(command)
    assert resumed.resume == f"{tmp_path}/a"
    assert replace(resumed, resume=None, preparation=started.preparation) == started


@pytest.mark.parametrize("experiment", ["cifar100", "tiny_imagenet"])
def test_no_caption_of_class_names_is_cut(experiment: str) -> None:
    model = load([f"experiment={experiment}"]).model
    templates = (*CIFAR_TEMPLATES, *imagenet_templates())
    captions = [template.replace("{}", name) for name in imagenet_class_names() for template in templates]
    tokens = open_clip.get_tokenizer(model.name, context_length=77)(captions)
    assert int(tokens.ne(0).sum(dim=1).max()) < model.context_length < tokens.shape[1]


SLOW = [  # each builds a model without values: some seconds
    pytest.param(name, marks=() if name in ("cc3m_rn50", "tiny_imagenet") else pytest.mark.slow) for name in STEPS
]


@pytest.mark.parametrize("name", SLOW)
def test_a_dry_run_without_data_says_what_to_get_and_how(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError) as error:
        main(arguments(name, tmp_path))
    lines = error.value.lines
    if name in FOLDERS:
        assert lines[0].startswith(f"data.shards: nothing matches {tmp_path}/data/{FOLDERS[name]}/*.tar")
        assert any(line.startswith("zero_shot/folder: no such folder: ") for line in lines)
        (how,) = (line for line in lines if line.startswith("to get the data: "))
        assert "img2dataset" in how
    else:
        assert lines[0].startswith(f"data.root: {tmp_path}/data/{name} ")
        assert "; download http" in lines[0]
        assert any(line.startswith(f"noise/{name}: ") and " is at http" in line for line in lines)
    out = capsys.readouterr().out
    assert "note     trainer: the run needs a GPU, and torch finds none on this machine" in out
    assert "cost     memory: " in out


@pytest.mark.parametrize(
    "name",
    [
        "cifar100",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("cc3m_rn50", "datacomp_small", "tiny_imagenet")),
    ],
)
def test_a_dry_run_with_the_data_ends_well(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["data.batch_size=8", "trainer.samples=80"]
    if name in FOLDERS:
        shards(tmp_path / "data" / FOLDERS[name] / "00000.tar", 160)
        for label in ("n01440764", "n01443537", "n02124075"):
            photograph(tmp_path / "data" / "imagenet" / "val" / label / "a.jpg")
    elif name == "cifar100":
        images = np.zeros((100, 32, 32, 3), np.uint8)
        write_cifar(tmp_path / "data" / name, CIFAR100, images, range(100), training=(images, range(100)))
        small += ["data.subset=true", "callbacks.cifar100.subset=true"]
    else:
        write_tiny_imagenet(tmp_path / "data" / name)
    if name == "datacomp_small":
        small += ["data.epoch_samples=80"]
    assert main([*arguments(name, tmp_path), *small]) == 0
    out = capsys.readouterr().out
    assert "found    data: " in out
    assert f"found    callbacks.{'folder' if name in FOLDERS else name}: " in out
    assert "cost     steps: 10 of 8 samples" in out


def photograph(path: Path) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 32), (200, 100, 0)).save(file, "JPEG")
    if path.suffix:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.getvalue())
    return file.getvalue()


def shards(path: Path, count: int) -> None:
    """A tar as img2dataset writes it."""
    image = photograph(Path("none"))
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w") as tar:
        for number in range(count):
            facts = json.dumps({"key": f"{number:09d}"}).encode()
            for name, data in (("jpg", image), ("json", facts), ("txt", f"a photo {number}".encode())):
                info = tarfile.TarInfo(f"{number:09d}.{name}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
