# SPDX-License-Identifier: Apache-2.0
"""docs/benchmarks.md has one row for every shipped benchmark, and its facts are those of the class."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
CONF = ROOT / "conf" / "callbacks"
COLUMNS = (
    "option", "key", "measures", "human data (stand-in)", "source", "get it", "licence", "folder", "options", "chance",
    "human ceiling", "published", "32 px",
)  # fmt: skip
EVERYWHERE = {"_target_", "every_n_steps", "name"}


def table_rows() -> list[dict[str, str]]:
    """The rows of all tables of the page, by column."""
    lines = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines if line.startswith("| ")]
    heads = [row for row in cells if row[0] == "option"]
    assert all(tuple(head) == COLUMNS for head in heads)
    return [dict(zip(COLUMNS, row, strict=True)) for row in cells if row[0].startswith("`")]


def shipped() -> dict[str, dict[str, Any]]:
    """What the yaml of each benchmark says, by option; groups have no target of their own."""
    found = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) or {} for path in CONF.glob("*.yaml")}
    return {name: text[name] for name, text in found.items() if "_target_" in text.get(name, {})}


def class_of(given: Mapping[str, Any]) -> Any:
    module, _, name = given["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), name)


def values_of_others(benchmark: Any) -> dict[str, float]:
    """What the class or its module gives as published values of its headline."""
    module = importlib.import_module(benchmark.__module__)
    published = getattr(benchmark, "published", {})
    found = {**(published.get("srocc", {}) if benchmark.family == "human" else published)}
    for values in (
        *(getattr(benchmark, name, {}) for name in ("reported", "context")),
        *(getattr(module, name, {}) for name in ("PUBLISHED", "TRAINED_CLIPS")),
    ):
        found |= {label: value[0] if isinstance(value, tuple) else value for label, value in values.items()}
    return found


ROWS = {row["option"].strip("`"): row for row in table_rows()}
SHIPPED = shipped()


def test_every_shipped_benchmark_has_one_row() -> None:
    assert sorted(row["option"] for row in table_rows()) == sorted(f"`{name}`" for name in SHIPPED)


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_the_facts_of_a_row_are_those_of_the_class(name: str) -> None:
    given, row = SHIPPED[name], ROWS[name]
    benchmark = class_of(given)
    assert row["key"] == f"`{benchmark.family}/{given.get('name', name)}`"
    stand_in = "" if benchmark.stand_in == "none" else f" (stand-in: {benchmark.stand_in})"
    assert row["human data (stand-in)"] == f"{benchmark.human_data}{stand_in}"
    assert row["source"] == benchmark.source
    if benchmark.download is None:
        assert row["get it"] in ("nothing to download", "your own files")
        assert row["licence"] == benchmark.licence
    else:
        assert row["get it"] == f"{benchmark.download.address}, {benchmark.download.size}"
        assert row["licence"] in (benchmark.download.terms, benchmark.licence)


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_folder_and_options_of_a_row_are_those_of_the_yaml(name: str) -> None:
    given, row = SHIPPED[name], ROWS[name]
    root = str(given.get("root", ""))
    in_data = root.startswith("${paths.data}/")
    assert row["folder"] == (f"`{root.replace('${paths.data}', 'data')}`" if in_data else "–")
    options = [key for key in given if key not in EVERYWHERE and not (key == "root" and in_data)]
    assert row["options"] == ", ".join(f"`{key}`" for key in options)


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_published_values_of_a_row_are_those_of_the_class(name: str) -> None:
    values = values_of_others(class_of(SHIPPED[name]))
    shown = ROWS[name]["published"]
    assert (shown == "–") == (not values)
    for label, value in values.items():
        digits = f"{value:.4f}".rstrip("0").replace("0.", ".", 1)
        assert f"{label} {digits.ljust(3, '0')}" in shown


def test_the_default_run_is_marked() -> None:
    standard = yaml.safe_load((CONF / "standard.yaml").read_text(encoding="utf-8"))["defaults"]
    assert {name for name, row in ROWS.items() if "**in the default run**" in row["measures"]} == set(standard)
