# SPDX-License-Identifier: Apache-2.0
"""A refused option is named as data too: `Problem.key`, by which problems that depend on it are left out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from clip_align import __main__ as program
from clip_align.commands import completion, report, train_help
from clip_align.errors import UserError
from clip_align.runs.folder import RunFolder, write_atomic
from clip_align.tracking.wandb_mirror import mode

COMMANDS = "train, bench, completion, data, evaluate, report, verify"


def refused(work: Callable[[], object]) -> list[tuple[str, str]]:
    """Key and line of each problem."""
    with pytest.raises(UserError) as caught:
        work()
    return [(problem.key, str(problem)) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (
            partial(report.main, ["outptu=x", "two_way=yes", "paths.runs="]),
            [
                ("outptu", "outptu: unknown key; did you mean output? valid: output, paths.runs, two_way"),
                ("paths.runs", "paths.runs: empty; give a folder"),
                ("two_way", "two_way: yes is neither true nor false"),
                ("report", "report: which run? give a name or a folder: python -m clip_align report latest"),
            ],
        ),
        (
            partial(completion.main, ["fish"]),
            [("completion", "completion: no shell given; valid: bash, zsh")],
        ),
        (
            partial(train_help.of_group, "trackre=csv"),
            [("--help", "--help trackre=csv: no such group or option; ")],
        ),
        (
            partial(mode, None, {"WANDB_MODE": "of"}),
            [
                (
                    "tracker.mode",
                    "WANDB_MODE: 'of' is not one of online, offline, disabled; unset it or set tracker.mode=…",
                )
            ],
        ),
        (
            partial(program._dispatch, ["sync", "a"]),
            [("sync", f"sync: not in this release; there are: {COMMANDS}")],
        ),
        (
            partial(program._dispatch, ["reprt"]),
            [("reprt", f"reprt: no such command; did you mean report? valid: {COMMANDS}")],
        ),
    ],
)
def test_key_and_line_of_what_is_refused(work: Callable[[], object], expected: list[tuple[str, str]]) -> None:
    found = refused(work)
    assert [key for key, _ in found] == [key for key, _ in expected]
    assert all(line.startswith(start) for (_, line), (_, start) in zip(found, expected, strict=True))


def test_options_of_a_report_that_exists(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_atomic(RunFolder(tmp_path / name).config_yaml, "{}")
    write_atomic(tmp_path / "file", "")
    runs = f"paths.runs={tmp_path}"
    assert refused(partial(report.main, ["a", "b", "two_way=true", runs])) == [
        ("two_way", "two_way: for one run only; several are compared by their headline scores")
    ]
    output = tmp_path / "file" / "x"
    assert refused(partial(report.main, ["a", f"output={output}", runs])) == [
        ("output", f"output: {output} cannot be written (Not a directory); give another folder: output=<folder>")
    ]
