# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from clip_align.report.run_labels import conditions, run_labels, seed_groups


def labels(folder: Path, *configs: dict[str, Any] | None) -> list[str]:
    folders = [folder / "sweep" / str(number) for number in range(len(configs))]
    for path, config in zip(folders, configs, strict=True):
        path.mkdir(parents=True)
        if config is not None:
            (path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return run_labels(folders)


def config(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "seed": 1, "paths": {"runs": f"/data/{name}"}, "optimizer": {"lr": 0.001}, **more}


def test_members_of_a_sweep_are_called_by_what_differs(tmp_path: Path) -> None:
    assert labels(tmp_path, config("s/0"), config("s/1", seed=2), config("s/2", seed=10)) == [
        "seed=1",
        "seed=2",
        "seed=10",
    ]


def test_several_keys_are_all_named_in_full(tmp_path: Path) -> None:
    first = config("s/0", model={"width": 32, "name": "tiny"}, data={"name": "world"})
    second = config("s/1", seed=2, model={"width": 64, "name": "tiny"}, data={"name": "world"})
    assert labels(tmp_path / "a", first, second) == ["seed=1, model.width=32", "seed=2, model.width=64"]
    other = config("s/1", model={"width": 32, "name": "vit"}, data={"name": "folder"})
    assert labels(tmp_path / "b", first, other) == [
        "model.name=tiny, data.name=world",
        "model.name=vit, data.name=folder",
    ]


def test_a_key_that_only_one_run_has_and_lists_and_null(tmp_path: Path) -> None:
    found = labels(tmp_path, config("a"), config("b", layers=[1, 2]), config("c", layers=None))
    assert found == ["layers=null (sweep/0)", "layers=[1,2]", "layers=null (sweep/2)"]


@pytest.mark.parametrize(
    "configs",
    [
        (config("a"), config("b")),  # nothing differs but names
        (config("a"), None),  # no configuration
    ],
)
def test_runs_are_called_by_their_names_where_labels_would_not_help(
    tmp_path: Path, configs: tuple[dict[str, Any] | None, ...]
) -> None:
    assert labels(tmp_path, *configs) == ["sweep/0", "sweep/1"]


def test_runs_that_differ_in_many_keys_are_called_by_the_names_they_were_given(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("small", "large")]
    for folder, size in zip(folders, (1, 2), strict=True):
        folder.mkdir()
        (folder / "config.yaml").write_text("".join(f"{key}: {size}\n" for key in "abcd"))
    assert run_labels(folders) == ["small", "large"]


def test_members_of_a_sweep_are_never_called_by_their_number_alone(tmp_path: Path) -> None:
    members = [config(str(n), seed=n, a=n % 2, b=n % 2, c=1 + n % 2, d=n // 2) for n in range(4)]
    assert labels(tmp_path, *members) == [f"seed={n}" for n in range(4)]  # one key tells all apart
    same_seed = [{**member, "seed": 1} for member in members]
    assert labels(tmp_path / "b", *same_seed) == [f"a={n % 2}, d={n // 2}" for n in range(4)]


def test_runs_of_equal_options_are_distinguished_by_their_names(tmp_path: Path) -> None:
    assert labels(tmp_path, config("a"), config("b"), config("c", seed=2)) == [
        "seed=1 (sweep/0)",
        "seed=1 (sweep/1)",
        "seed=2",
    ]


def groups(folder: Path, *configs: dict[str, Any]) -> list[str]:
    labels(folder, *configs)
    return seed_groups([folder / "sweep" / str(number) for number in range(len(configs))])


def test_runs_that_differ_in_the_seed_alone_are_a_group(tmp_path: Path) -> None:
    seeds = [config("s", seed=n) for n in range(3)]
    assert groups(tmp_path / "a", *seeds) == ["mean of 3 seeds"] * 3
    constant = [{**c, "optimizer": {"schedule": "constant"}} for c in seeds[:2]]
    cosine = [{**c, "optimizer": {"schedule": "cosine"}} for c in seeds]
    assert groups(tmp_path / "b", *constant, *cosine) == [
        *["optimizer.schedule=constant, mean of 2 seeds"] * 2,
        *["optimizer.schedule=cosine, mean of 3 seeds"] * 3,
    ]


def test_a_run_without_another_seed_is_in_no_group(tmp_path: Path) -> None:
    alone = config("s", seed=5, data={"name": "folder"})
    data = {"name": "world"}
    found = groups(tmp_path / "a", config("s", data=data), config("s", seed=2, data=data), alone)
    assert found == ["data.name=world, mean of 2 seeds"] * 2 + [""]
    assert groups(tmp_path / "b", config("s"), config("s")) == ["", ""]  # the same seed twice


def test_conditions_are_what_differs_beside_the_seed(tmp_path: Path) -> None:
    def run(name: str, text: str) -> Path:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(text)
        return tmp_path / name

    schedules = [
        run(f"{schedule}-{seed}", f"seed: {seed}\nname: {schedule}-{seed}\noptimizer:\n  schedule: {schedule}\n")
        for schedule in ("cosine", "constant")
        for seed in (0, 1)
    ]
    assert conditions(schedules) == [
        ("optimizer.schedule=cosine", "0"),
        ("optimizer.schedule=cosine", "1"),
        ("optimizer.schedule=constant", "0"),
        ("optimizer.schedule=constant", "1"),
    ]
    assert conditions(schedules[:2]) == [("all runs", "0"), ("all runs", "1")]
    other = run("other", "seed: 3\na: 1\nb: 2\nc: 3\nd: 4\n")
    assert conditions([schedules[0], schedules[1], other]) == [
        ("as cosine-0", "0"),
        ("as cosine-0", "1"),
        ("as other", "3"),
    ]
    assert conditions([schedules[0], run("none", "a: 1\n")])[1] is None
