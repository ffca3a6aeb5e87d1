# SPDX-License-Identifier: Apache-2.0
"""The table of all ways a run can end, as Markdown: ``ways_to_end_table.py junit.xml``, written by pytest's --junitxml.

Rows are those of the tests that ran; a test that failed or was skipped is marked in its line.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

COLUMNS = {
    "way": "way to end", "workers": "workers", "ranks": "ranks", "exit": "exit code", "seconds": "seconds",
    "left": "processes left", "saved": "status, checkpoint of last step, report", "line": "last line printed",
}  # fmt: skip
TEST = "test_a_way_to_end"


def rows(path: Path) -> Iterator[dict[str, str]]:
    """Columns of each run of the test, in the order of the file."""
    for case in ElementTree.parse(path).iter("testcase"):
        if case.get("name", "").partition("[")[0] != TEST:
            continue
        row = {p.get("name", ""): p.get("value", "") for p in case.iter("property")}
        for outcome in ("failure", "error", "skipped"):
            found = case.find(outcome)
            if found is not None:
                reason = (found.get("message") or "").partition("\n")[0]
                row.setdefault("way", case.get("name", ""))
                row["line"] = " ".join([*filter(None, [row.get("line")]), f"({outcome}: {reason})"])
        yield row


def table(path: Path) -> Iterator[str]:
    """Lines of the table."""
    yield "| " + " | ".join(COLUMNS.values()) + " |"
    yield "|" + " --- |" * len(COLUMNS)
    for row in rows(path):
        cells = [row.get(key, "").replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ") for key in COLUMNS]
        yield "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    for line in table(Path(sys.argv[1])):
        print(line)
