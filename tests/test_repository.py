# SPDX-License-Identifier: Apache-2.0
"""The files a release stands on: lock, licences, citation, container; one benchmark is one module and one yaml."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent


def lock_blocks() -> dict[str, str]:
    """Requirement line -> its block with hashes."""
    blocks = re.split(r"\n(?=[A-Za-z0-9])", (ROOT / "requirements.lock").read_text(encoding="utf-8").strip())
    return {block.split(" \\")[0]: block for block in blocks}


def test_lock_has_versions_and_hashes_and_no_addresses() -> None:
    for requirement, block in lock_blocks().items():
        assert re.match(r"^[A-Za-z0-9._-]+==[^ ]+( ;.*)?$", requirement), requirement
        assert "--hash=sha256:" in block, requirement
        assert "://" not in block, requirement


def test_lock_is_universal_and_holds_what_pip_leaves_out() -> None:
    locked = list(lock_blocks())
    assert any("sys_platform == 'win32'" in line for line in locked)
    assert any(line.startswith("setuptools==") for line in locked)
    names = {re.split(r"[=;\[ ]", line)[0].replace("_", "-").lower() for line in locked}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for requirement in project["dependencies"] + project["optional-dependencies"]["dev"]:
        assert re.split(r"[<>=!~\[; ]", requirement)[0].replace("_", "-").lower() in names, requirement


def test_licence_expression_names_the_terms_of_the_embedded_data() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name in re.findall(r"LicenseRef-[\w-]+", project["license"]):
        assert (ROOT / "LICENSES" / f"{name}.txt").is_file()
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    assert "Kodak" in notice
    assert "TID2013" in notice


def test_citation_and_compose_files_parse() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["version"] == project["version"]
    compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8"))
    train = compose["services"]["train"]
    assert train["shm_size"]
    assert train["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]


def test_container_steps_are_the_makefiles() -> None:
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    assert "RUN make setup" in dockerfile
    assert re.search(r"^USER (?!root)", dockerfile, re.MULTILINE)
    assert "pip install" not in dockerfile


def test_one_benchmark_is_one_module_and_one_yaml() -> None:
    folder = ROOT / "clip_align" / "callbacks"
    families = [
        path for path in folder.iterdir() if path.is_dir() and path.name not in {"common", "trainer", "__pycache__"}
    ]
    modules = [f"{p.parent.name}.{p.stem}" for family in families for p in family.glob("*.py") if p.stem != "__init__"]
    yamls = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in ROOT.glob("conf/callbacks/*.yaml")}
    given = {stem: text[stem] for stem, text in yamls.items() if text and "_target_" in text.get(stem, {})}
    targets = {stem: keys["_target_"].split(".")[-3:-1] for stem, keys in given.items()}
    assert sorted(modules) == sorted(".".join(target) for target in targets.values())
    # two families may have a benchmark of one name: the yaml of one of them has the family in its own
    named = {stem: given[stem].get("name", stem) for stem in given}
    assert named == {stem: module for stem, (_, module) in targets.items()}
    assert {stem for stem, (family, module) in targets.items() if stem not in (module, f"{module}_{family}")} == set()


def test_what_git_ignores_stays_out_of_the_container_too() -> None:
    def names(file: str) -> set[str]:
        return {line.strip("/").removeprefix("**/") for line in (ROOT / file).read_text(encoding="utf-8").split()}

    elsewhere = {"*.egg-info", "multirun", "wandb", "lightning_logs"}  # small, or made by other programs only
    assert names(".gitignore") - names(".dockerignore") <= elsewhere


def test_checks_leave_no_temporary_folder_behind() -> None:
    for script in (p for p in (ROOT / ".ci").iterdir() if p.is_file()):
        made = re.findall(r"(\w*)=?\"?\$\(mktemp", script.read_text(encoding="utf-8"))
        assert all(f'rm -rf "${name}"' in script.read_text(encoding="utf-8") for name in made), script.name


def test_another_interpreter_than_the_environments_is_noticed(tmp_path: Path) -> None:
    for name, version in ((".venv/bin/python", "3.11"), (".venv/bin/pip", ""), ("other", "3.12")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"#!/bin/sh\necho {version}\n")
        (tmp_path / name).chmod(0o755)
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_text("")

    def setup(*more: str) -> tuple[int, list[str]]:
        words = ["make", "-C", str(tmp_path), "-f", str(ROOT / "Makefile"), "--no-print-directory", "setup", *more]
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHON", "MAKEFLAGS", "MAKELEVEL", "VENV")}
        done = subprocess.run(words, capture_output=True, text=True, check=False, env={**environment, "LC_ALL": "C"})
        return done.returncode, done.stdout.splitlines()

    code, out = setup()
    assert code == 0
    assert "Setting up .venv (about 6 GB with PyTorch; a few minutes)" in out
    assert setup() == (0, ["make: Nothing to be done for 'setup'."])
    code, out = setup(f"PYTHON={tmp_path}/other")
    assert (code, out[1:]) == (2, [  # behind what this interpreter prints always
        f".venv was made with another Python than {tmp_path}/other. Remove .venv and run make setup again, "
        "or leave PYTHON out."
    ])  # fmt: skip


@pytest.mark.parametrize("target", ["help", "setup", "train", "test", "lint"])
def test_makefile_has_its_targets(target: str) -> None:
    result = subprocess.run(["make", "-n", "-C", str(ROOT), target], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
