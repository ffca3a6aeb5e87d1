# SPDX-License-Identifier: Apache-2.0
"""The table of all ways to end, from what pytest writes about tests that passed, failed and were skipped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
TESTS = """
import pytest
@pytest.mark.parametrize("name", ["done", "a|b", "odd", "away"])
def test_a_way_to_end(name, record_property):
    if name == "away":
        pytest.skip("needs to mount")
    for key, value in {"way": name, "workers": 2, "ranks": 1, "exit": 0, "seconds": "1.5", "left": 0}.items():
        record_property(key, value)
    record_property("saved", "done, step 20 of 20, report")
    record_property("line", "report: r/report.html")
    assert name != "odd"
def test_another():
    pass
"""


def test_a_row_for_each_run(tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text(TESTS)
    pytest = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-o",
        "junit_family=xunit1",
        "--junitxml=x.xml",
        "test_x.py",
    ]
    assert subprocess.run(pytest, cwd=tmp_path, capture_output=True, check=False).returncode == 1
    script = [sys.executable, str(HERE / "ways_to_end_table.py"), "x.xml"]
    found = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.splitlines()
    end = "| 2 | 1 | 0 | 1.5 | 0 | done, step 20 of 20, report | report: r/report.html"
    assert found == [
        "| way to end | workers | ranks | exit code | seconds | processes left | status, checkpoint of last step, "
        "report | last line printed |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        f"| done {end} |",
        f"| a\\|b {end} |",
        f"| odd {end} (failure: AssertionError: assert 'odd' != 'odd') |",
        "| test_a_way_to_end[away] |  |  |  |  |  |  | (skipped: needs to mount) |",
    ]
