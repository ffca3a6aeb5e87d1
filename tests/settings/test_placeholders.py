# SPDX-License-Identifier: Apache-2.0
"""A shipped option whose callback has no loader yet is not in the way of one of the same name from elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from clip_align.errors import UserError
from clip_align.settings import yaml_keys
from clip_align.settings.compose import compose
from clip_align.settings.load_config import load
from clip_align.settings.placeholders import placeholders

YAML = "{name}:\n  _target_: elsewhere.{name}.Real\n  every_n_steps: ${{evaluation.every_n_steps}}\n"
CLASS = (
    "from clip_align.callbacks.base import PerceptualCallback\nclass Real(PerceptualCallback):\n    family = 'human'\n"
)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with a callback of the name of every shipped one."""
    package = tmp_path / "elsewhere"
    (package / "conf" / "callbacks").mkdir(parents=True)
    (package / "conf" / "experiment").mkdir()
    for name in yaml_keys.options("callbacks"):
        (package / f"{name}.py").write_text(CLASS)
        (package / "conf" / "callbacks" / f"{name}.yaml").write_text(YAML.format(name=name))
    monkeypatch.syspath_prepend(tmp_path)
    return package


def search(package: Path) -> str:
    return f"hydra.searchpath=[file://{package}/conf]"


def test_placeholders_are_what_has_no_loader() -> None:
    assert placeholders("callbacks") == {"cue_conflict", "tid2013"}
    assert placeholders("experiment") == {"paper"}
    assert placeholders("data") == set()


@pytest.mark.parametrize("name", sorted(placeholders("callbacks")))
def test_a_real_benchmark_is_found_before_a_placeholder(elsewhere: Path, name: str) -> None:
    config = load([search(elsewhere), f"callbacks=[{name},world]"])
    assert config.callbacks[name].target == f"elsewhere.{name}.Real"
    with pytest.raises(UserError) as caught:
        load([f"callbacks=[{name}]"])
    assert any("its loader is not part of clip-align" in line for line in caught.value.lines)


def test_shipped_options_that_work_stay_first(elsewhere: Path) -> None:
    config = load([search(elsewhere), "callbacks=[world,tid2013_remade]"])
    assert {c.target for c in config.callbacks.values()} == {
        "clip_align.callbacks.zero_shot.world.World",
        "clip_align.callbacks.human.tid2013_remade.TID2013Remade",
    }


def test_an_experiment_of_placeholders_takes_real_ones_or_is_replaced(elsewhere: Path) -> None:
    """As shipped it becomes usable by the benchmarks; another of its name is found before it."""
    paper = [search(elsewhere), "experiment=paper", "data.shards=/a/x.tar"]
    plain = compose(paper).plain
    real = {f"elsewhere.{name}.Real" for name in placeholders("callbacks")}
    assert real < {c["_target_"] for c in plain["callbacks"].values()}
    own = elsewhere / "conf" / "experiment" / "paper.yaml"
    own.write_text("# @package _global_\nexperiment: paper\ntrainer: {max_steps: 7}\n")
    assert compose(paper).plain["trainer"]["max_steps"] == 7


def test_without_a_loader_anywhere_the_placeholder_is_named(elsewhere: Path) -> None:
    for path in (elsewhere / "conf" / "callbacks").glob("*.yaml"):
        path.unlink()
    with pytest.raises(UserError) as caught:
        load([search(elsewhere), "callbacks=[tid2013]", "callbacks.tid2013.root=/a", "checkpoint.best=null"])
    assert [line.partition(":")[0] for line in caught.value.lines] == ["callbacks.tid2013"]
