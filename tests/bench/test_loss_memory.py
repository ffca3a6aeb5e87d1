# SPDX-License-Identifier: Apache-2.0
"""``bench loss_memory`` in a miniature setting, and the peak of work whose memory is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from clip_align.__main__ import main
from clip_align.bench.loss_memory import exponent
from clip_align.bench.memory import in_own_process, peak_bytes

MIB = 2**20


def known_peak() -> int:
    """Of 64 MiB and, before the first of them is gone, 32 MiB more."""

    def work() -> None:
        first = torch.ones(16 * MIB)
        torch.ones(8 * MIB)
        del first

    torch.ones(40 * MIB)  # a peak from before does not count
    return peak_bytes(work)


def test_the_peak_is_that_of_the_work() -> None:
    assert in_own_process(known_peak) == pytest.approx(96 * MIB, abs=2 * MIB)


def test_the_exponent_is_of_the_largest_two() -> None:
    assert exponent([2, 4, 8], [10, 10, 40]) == pytest.approx(2.0)
    assert exponent([2, 4], [10, 20]) == pytest.approx(1.0)
    assert exponent([4], [10]) is None
    assert exponent([2, 4], [0, 20]) is None


def test_the_plain_loss_grows_with_the_square(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "loss_memory", "batch=512,1024,2048", "dim=32", "threads=1", f"output={tmp_path}/r.json"]
    assert main([*words, "require=1.2"]) == 1
    (case,) = json.loads((tmp_path / "r.json").read_text())["cases"]
    assert (case["name"], case["batch"], case["dim"]) == ("infonce", [512, 1024, 2048], 32)
    assert case["peak"][-1] > 2 * 2048**2 * 4  # at least both matrices of logits, float32
    assert 1.5 < case["exponent"] < 2.3
    assert capsys.readouterr().err.splitlines()[-1].startswith("infonce: grows as batch^1.")


def test_options_are_those_of_the_losses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "loss_memory", "loss=infonse"]) == 2
    assert capsys.readouterr().err.startswith("loss.kind: 'infonse' is not one of ")
    assert main(["bench", "loss_memory", "loss.tau=2"]) == 2
    assert capsys.readouterr().err.startswith("loss.tau: ")
