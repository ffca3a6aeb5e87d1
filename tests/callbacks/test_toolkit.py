# SPDX-License-Identifier: Apache-2.0
"""What outside authors import is there, and documented."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from clip_align.callbacks import toolkit
from clip_align.callbacks.base import PerceptualCallback
from clip_align.callbacks.human.pairs_csv import PairsCsv
from clip_align.callbacks.human.tid2013_remade import TID2013Remade
from clip_align.callbacks.noise.world_noise import WorldNoise
from clip_align.callbacks.texture.world_cue_conflict import WorldCueConflict
from clip_align.callbacks.zero_shot.world import World
from clip_align.settings.annotations import parameters_of
from clip_align.settings.signatures import class_text, constructor

ROOT = Path(__file__).resolve().parents[2]
DOCS = (ROOT / "docs" / "callbacks.md").read_text(encoding="utf-8")


def test_every_name_is_there_and_documented() -> None:
    for name in toolkit.__all__:
        assert getattr(toolkit, name) is not None
        assert re.search(rf"`{name}\b", DOCS), f"docs/callbacks.md does not mention {name}"


def test_a_constructor_reads_the_same_from_its_source_and_from_its_class() -> None:
    """So that a config and Python are checked by one rule."""
    for cls in (PairsCsv, TID2013Remade, WorldNoise, WorldCueConflict, World):
        target = f"{cls.__module__}.{cls.__name__}"
        from_source = constructor(target)
        assert from_source is not None
        assert dict(from_source) == dict(parameters_of(cls, PerceptualCallback)), target
        assert class_text(target, "family") == cls.family


def test_the_examples_of_the_docs_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    assert len(blocks) == 2
    module = tmp_path / "docs_example.py"
    module.write_text("\n".join(blocks))
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("docs_example").test_my_shapes(tmp_path / "battery")
