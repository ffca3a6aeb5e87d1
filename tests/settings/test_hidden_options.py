# SPDX-License-Identifier: Apache-2.0
"""Options of a name that several places have."""

from __future__ import annotations

from pathlib import Path

import pytest

from clip_align.settings.hidden_options import hidden_options, report_hidden


@pytest.fixture
def places(tmp_path: Path) -> list[Path]:
    """Two folders with options of the same names, one of which clip-align has as well."""
    for folder in ("a", "b"):
        for name in ("world", "mine"):
            path = tmp_path / folder / "callbacks" / f"{name}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{name}:\n  _target_: my.Own\n")
    return [tmp_path / "a", tmp_path / "b"]


def search(*folders: Path) -> str:
    return f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in folders)}]"


def test_what_is_used_and_what_it_hides(places: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    a, b = places
    again = "give the file another name to choose it"
    hidden = f"file://{a}/callbacks/world.yaml and file://{b}/callbacks/world.yaml"
    lines = [
        f"callbacks=world: that of clip-align is used, which hides {hidden}; {again}",
        f"callbacks=mine: that of file://{a} is used, which hides file://{b}/callbacks/mine.yaml; {again}",
    ]
    assert hidden_options([search(a, b), "callbacks=[world,mine,things]", "model=tiny"]) == lines
    report_hidden([search(a, b), "callbacks='mine'"])
    assert capsys.readouterr().err == f"{lines[1]}\n"


def test_nothing_is_hidden_where_names_differ_or_are_not_chosen(places: list[Path]) -> None:
    assert hidden_options([search(places[0]), "callbacks=[mine,things]"]) == []
    assert hidden_options([search(*places), "model=tiny", "seed=1", "~callbacks.world"]) == []
    assert hidden_options(["callbacks=[world]", "experiment=main"]) == []
