# SPDX-License-Identifier: Apache-2.0
"""The wheel by itself: installed in an empty folder, away from the checkout, it trains two steps."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True, timeout=600)
    (found,) = folder.glob("clip_align-*.whl")
    return found


@pytest.mark.slow
def test_wheel_carries_configs_data_and_terms(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for part in (
        "clip_align/conf/config.yaml",
        "clip_align/py.typed",
        "clip_align/conf/callbacks/tid2013_remade.yaml",
        "clip_align/perception/data/I01.webp",
        *(f"clip_align/perception/data/{path.name}" for path in (ROOT / "clip_align/perception/data").glob("*.csv")),
        *(f"clip_align/report/{name}" for name in ("page.html.j2", "figure.html.j2", "figure.css", "figure.js")),
        "licenses/LICENSE",
        "licenses/NOTICE",
        "licenses/LICENSES/LicenseRef-TID2013.txt",
        "licenses/LICENSES/LicenseRef-Kodak-PhotoCD.txt",
    ):
        assert any(name.endswith(part) for name in names), f"{part} is not in the wheel"
    assert not any(name.startswith("tests") for name in names)


def test_an_editable_install_is_a_link_without_copies(tmp_path: Path) -> None:
    """From the files that the Dockerfile has copied by then."""
    root = tmp_path / "checkout"
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "clip_align/__init__.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(ROOT / "LICENSES", root / "LICENSES")
    build = f"import hatchling.build; print(hatchling.build.build_editable({str(tmp_path)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=root, capture_output=True, text=True, check=True, timeout=600
    )
    names = zipfile.ZipFile(tmp_path / done.stdout.split()[-1]).namelist()
    assert [n for n in names if ".dist-info/" not in n] == ["_clip_align.pth"]


@pytest.mark.slow
def test_wheel_trains_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    site, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, timeout=600)
    environment = {**os.environ, "PYTHONPATH": str(site), "WANDB_MODE": "offline"}
    run_position = "import clip_align.config as c; print(c.__file__); print(c.conf_dir())"
    found = subprocess.run(
        [sys.executable, "-c", run_position],
        env=environment,
        cwd=work,
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    assert all(line.startswith(str(site)) for line in found.stdout.split()), found.stdout
    overrides = [
        "name=two",
        "data.images=512",
        "trainer.max_steps=2",
        "paths.cache=cache",
        "callbacks=[world,tid2013_remade]",
    ]
    result = subprocess.run(
        [sys.executable, "-m", "clip_align", "train", *overrides],
        env=environment,
        cwd=work,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    run = work / "runs" / "two"
    assert json.loads((run / "provenance.json").read_text(encoding="utf-8"))["status"] == "done"
    assert (run / "report.html").is_file()
    assert (run / "curves.png").is_file()
