# SPDX-License-Identifier: Apache-2.0
"""``bench``: what is refused, help, completion; the benchmarks themselves are tested in ``tests/bench``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clip_align.__main__ import main
from clip_align.bench.options import KINDS, keys_of
from clip_align.commands import completion

NAMES = ", ".join(KINDS)


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        ([], [f"bench: which benchmark? valid: {NAMES}"]),
        (["throughput", "loader"], [f"bench: one at a time; valid: {NAMES}"]),
        (["throughput", "pairs"], ["bench: pairs: give key=value; --help lists the keys"]),
        (["throughput", "pairs", "--", "bare"], ["bench: pairs: give key=value; --help lists the keys"]),
        (["thruput"], [f"bench: thruput: no such benchmark; did you mean throughput? valid: {NAMES}"]),
        (["throughput", "pair=3"], ["pair: unknown key; did you mean pairs?"]),
        (["throughput", "pairs=1"], ["pairs: 1 is out of range; it must be at least 2"]),
        (["throughput", "pairs=many"], ["pairs: 'many' is not a whole number"]),
        (["loader", "side=48,{"], ["side[1]: '{' is not a whole number"]),
        (["throughput", "data=disk"], ["data[0]: 'disk' is not one of memory, shards"]),
        (
            ["throughput", "precision=16-mixed"],
            ["precision: '16-mixed' is not one of 32, bf16-mixed; did you mean bf16-mixed?"],
        ),
        (["scaling", "ranks=1,3"], ["ranks: 3 ranks cannot share a global batch of 128 equally"]),
        (["scaling", "model=tiny,rn50"], ["model: one at a time; give model=tiny"]),
        (["throughput", "model=[]"], ["model: [] measures nothing; give at least one"]),
        (["evaluation", "callbacks=[]"], ["callbacks: [] measures nothing; give at least one"]),
        (["throughput", "output="], ["output: '' is no file; give output=result.json"]),
        (
            ["throughput", "pairs=x", "steps=0"],
            ["pairs: 'x' is not a whole number", "steps: 0 is out of range; it must be at least 1"],
        ),
    ],
)  # fmt: skip
def test_what_is_refused(words: list[str], lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *words]) == 2
    assert capsys.readouterr().err.splitlines() == lines


def test_a_model_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "throughput", "model=tiny,vit_b_23"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("model: 'vit_b_23' is no option; did you mean vit_b_32? valid: rn101, rn50, tiny, ")
    assert main(["bench", "throughput", "model=nope", "pairs=0", "data=disk"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["pairs", "data[0]", "model"]


def test_an_output_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["bench", "throughput", f"output={tmp_path}/file/x/result.json"]) == 2
    assert capsys.readouterr().err == f"output: {tmp_path}/file/x/result.json cannot be written (Not a directory)\n"


def test_help_has_every_key_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--help"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 120
    for name, kind in KINDS.items():
        assert f"\n{name}: {kind.about}\n" in text
        assert all(f"\n  {key}" in text for key in keys_of(kind.options))
    assert "\n  require=0.97 " in text
    assert "\n  model=tiny,vit_b_32 " in text
    assert main(["bench", "throughput", "--help"]) == 0
    assert "throughput: " in capsys.readouterr().out


def test_completion_of_benchmarks_and_their_keys() -> None:
    assert completion.words("clip-align bench thr") == ["throughput"]
    assert completion.words("clip-align bench throughput pa") == ["pairs="]


def test_what_is_refused_needs_no_torch() -> None:
    code = (
        "import sys; from clip_align.__main__ import main; "
        "sys.exit(9 if main(['bench', 'throughput', 'pairs=1']) != 2 or 'torch' in sys.modules else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=600).returncode == 0
