# SPDX-License-Identifier: Apache-2.0
"""The README's commands compose, and its examples run as they stand."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip_align.record.record import read
from clip_align.report.panels import panels

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def block(language: str, part: str) -> str:
    found = [text for text in blocks(language) if part in text]
    assert len(found) == 1, f"the README has {len(found)} {language} blocks with {part!r}"
    return found[0]


def training_commands() -> list[list[str]]:
    lines = [line for text in blocks("bash") for line in text.splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    return [line[2:] for line in words if line[:2] == ["python", "train.py"]]


def only_prints(arguments: list[str]) -> bool:
    return not {"--help", "--cfg", "--version"}.isdisjoint(arguments)


@pytest.mark.parametrize("arguments", [c for c in training_commands() if only_prints(c)], ids=" ".join)
def test_commands_that_print_end_well(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    from clip_align.commands.train import main

    assert main(arguments) == 0
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("arguments", [c for c in training_commands() if not only_prints(c)], ids=" ".join)
def test_commands_name_keys_that_exist(arguments: list[str]) -> None:
    from clip_align.settings.load_config import load

    overrides = [a for a in arguments if not a.startswith("--") and not a.startswith("resume=")]
    load([a.replace("seed=1,2,3", "seed=1") for a in overrides])


def test_commands_beside_training_exist() -> None:
    from clip_align.commands.command_names import commands

    lines = [shlex.split(line, comments=True) for text in blocks("bash") for line in text.splitlines()]
    named = {line[3] for line in lines if line[:3] == ["python", "-m", "clip_align"]}
    assert {"data", "evaluate", "report", "verify"} <= named <= set(commands())


def test_the_python_interface_is_named_as_it_is() -> None:
    import clip_align as ca

    assert set(re.findall(r"\bca\.(\w+)", block("python", "import clip_align as ca"))) == set(ca.__all__)


def outside_package(folder: Path) -> None:
    """The package that the README describes, as files."""
    package, plugin = folder / "my_package", folder / "hydra_plugins" / "my_package_plugin"
    (package / "conf" / "callbacks").mkdir(parents=True)
    plugin.mkdir(parents=True)
    for init in (package / "__init__.py", package / "conf" / "__init__.py", plugin / "__init__.py"):
        init.touch()
    (package / "my_pairs.py").write_text(block("python", "class MyPairs"), encoding="utf-8")
    (package / "conf" / "callbacks" / "my_pairs.yaml").write_text(block("yaml", "my_pairs:"), encoding="utf-8")
    (plugin / "plugin.py").write_text(block("python", "SearchPathPlugin"), encoding="utf-8")
    (folder / "pyproject.toml").write_text(block("toml", "my-package"), encoding="utf-8")


def pairs(folder: Path) -> None:
    """Six references and three blurs of each, with opinions that fall with the blur."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    rows = []
    for r in range(6):
        image = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / f"r{r}.png")
        for level in (1, 2, 3):
            noisy = np.clip(image + rng.normal(0, 20 * level, image.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / f"r{r}_{level}.png")
            rows.append({"reference": f"r{r}.png", "distorted": f"r{r}_{level}.png", "opinion": 6 - level})
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["reference", "distorted", "opinion"])
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.slow
def test_an_outside_package_adds_a_callback(tmp_path: Path) -> None:
    """Class, yaml and search-path plugin, installed by pip: its curve is in record, figure, page and wandb."""
    outside_package(tmp_path / "source")
    pairs(tmp_path / "pairs")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(tmp_path / "site"), str(tmp_path / "source")], check=True, timeout=600)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "WANDB_MODE": "offline"}
    overrides = [
        "callbacks=[my_pairs]",
        f"callbacks.my_pairs.root={tmp_path / 'pairs'}",
        "checkpoint.best=human/my_pairs/srocc",
        "data.images=512",
        "trainer.max_steps=6",
        "evaluation.every_n_steps=2",
        f"paths.runs={tmp_path / 'runs'}",
        f"paths.cache={tmp_path / 'cache'}",
        "name=outside",
    ]
    command = [sys.executable, str(ROOT / "train.py"), *overrides]
    result = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    run = tmp_path / "runs" / "outside"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    curve = [line["human/my_pairs/srocc"] for line in lines if line["kind"] == "evaluation"]
    assert len(curve) >= 4
    assert all(isinstance(value, float) for value in curve)
    assert "human/my_pairs" in (run / "report.html").read_text(encoding="utf-8")
    drawn = {curve.key: curve for panel in panels(read(run)) for curve in panel.curves}
    assert [point.value for point in drawn["human/my_pairs/srocc"].points] == curve
    assert (run / "curves.png").stat().st_size > 10_000
    recorded = list((run / "wandb").rglob("run-*.wandb"))
    assert len(recorded) == 1
    inspect = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", str(recorded[0]), "--json"]
    shown = subprocess.run(inspect, capture_output=True, text=True, timeout=600, check=True)
    assert "human/my_pairs/srocc" in shown.stdout


@pytest.mark.slow
def test_the_callbacks_run_in_a_foreign_trainer(tmp_path: Path) -> None:
    script = tmp_path / "own.py"
    script.write_text(block("python", "class MyCLIP"), encoding="utf-8")
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, str(script)]
    result = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"tensor\(0\.\d+", result.stdout)
    lines = (tmp_path / "clip-align" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert kinds.count("benchmark") == 1
    assert kinds.count("evaluation") >= 2
