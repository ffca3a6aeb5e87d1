# SPDX-License-Identifier: Apache-2.0
"""``bench loss_memory`` in a miniature setting; what it measures with is tested in ``tests/losses``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clip_align.__main__ import main
from clip_align.bench.loss_memory import exponent
from clip_align.losses.infonce import InfoNCE
from clip_align.losses.peak_memory import peak_memory
from clip_align.losses.siglip import SigLIP


def test_the_exponent_is_of_the_largest_two() -> None:
    assert exponent([2, 4, 8], [10, 10, 40]) == pytest.approx(2.0)
    assert exponent([2, 4], [10, 20]) == pytest.approx(1.0)
    assert exponent([4], [10]) is None


def test_losses_are_measured_each_with_the_options_that_it_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "loss_memory", "loss=infonce,siglip", "batch=256,512", "dim=16", "threads=1"]
    assert main([*words, "loss.chunk=8", "require=1.1", f"output={tmp_path}/r.json"]) == 0
    cases = json.loads((tmp_path / "r.json").read_text())["cases"]
    assert [(c["name"], c["options"], c["batch"], c["dim"]) for c in cases] == [
        ("infonce", {"chunk": 8}, [256, 512], 16),
        ("siglip", {"chunk": 8}, [256, 512], 16),
    ]
    if cases[0]["device"] == "cpu":
        expected = [[peak_memory(loss(chunk=8), n, 16) for n in (256, 512)] for loss in (InfoNCE, SigLIP)]
        assert [c["peak"] for c in cases] == expected
    assert "infonce, chunk=8, 16 dimensions, forward and backward beyond the embeddings:\n" in capsys.readouterr().out


def test_several_values_of_an_option_are_measured_one_after_the_other_and_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "memory.png"
    words = ["loss=infonce,siglip", "loss.chunk=null,4", "batch=16,32", "dim=8", "threads=1", f"figure={file}"]
    assert main(["bench", "loss_memory", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    chosen = [line.removesuffix(", 8 dimensions, forward and backward beyond the embeddings:") for line in lines]
    cases = ["infonce, chunk=null", "infonce, chunk=4", "siglip, chunk=null", "siglip, chunk=4"]
    assert [new for new, old in zip(chosen, lines, strict=True) if new != old] == cases
    assert [line.split(":")[0] for line in lines if "MiB" in line] == ["  batch      16", "  batch      32"] * 4
    assert file.read_bytes().startswith(b"\x89PNG")


def test_an_option_that_a_loss_does_not_take_does_not_repeat_it(tmp_path: Path) -> None:
    words = ["loss=infonce,siglip", "loss.initial_bias=-5,-10", "batch=16", "dim=8", f"output={tmp_path}/r.json"]
    assert main(["bench", "loss_memory", *words, "threads=1"]) == 0
    cases = json.loads((tmp_path / "r.json").read_text())["cases"]
    assert [(case["name"], case["options"]) for case in cases] == [
        ("infonce", {}), ("siglip", {"initial_bias": -5.0}), ("siglip", {"initial_bias": -10.0})
    ]  # fmt: skip


def test_a_loss_that_grows_faster_than_required_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "loss_memory", "batch=256,512", "dim=16", "threads=1", "require=1.5"]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("infonce: grows as batch^1.9")
    assert line.endswith(", more than require=1.5")


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("loss=nope", "loss.kind: 'nope' is not one of infonce, siglip; choose with loss=…"),
        ("loss.chnk=2", "loss.chnk: unknown key; did you mean loss.chunk?"),
        ("loss.chunk=0", "loss.chunk: 0 is out of range; it must be at least 1"),
        ("loss.chunk=0,8", "loss.chunk: 0 is out of range; it must be at least 1"),
        ("loss.chunk=[]", "loss.chunk: [] measures nothing; give at least one"),
        ("figure=x.txt", "figure: 'x.txt' is no file that ends in .png or .svg; give figure=loss_memory.png"),
        ("options={chunk: 2}", "options: unknown key; an option of a loss is written loss.<name>=…"),
        ("batch=64,32", "batch: [64, 32] is not ascending; give batch=512,1024,2048"),
        ("batch=64 require=1", "require: growth needs two batches; give batch=512,1024"),
    ],
)
def test_what_is_refused(word: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "loss_memory", *(word.split() if "{" not in word else [word])]) == 2
    assert capsys.readouterr().err.splitlines() == [line]
