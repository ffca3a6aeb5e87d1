# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import pickle
from pathlib import Path

from clip_align.data.file_reader import OPEN_AT_ONCE, Files


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_few_files_are_open_at_a_time_however_many_are_read(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}" for number in range(OPEN_AT_ONCE + 10)]
    for number, path in enumerate(paths):
        path.write_text(f"file {number}")
    files, before = Files(), handles()
    for _ in range(2):  # those that were closed are opened again
        for number, path in enumerate(paths):
            assert files.read(str(path), 5, 100) == f"{number}".encode()
            files.read(str(paths[0]), 0, 1)
            assert handles() - before <= OPEN_AT_ONCE
    assert str(paths[0]) in files._open  # the last used ones stay open
    assert pickle.loads(pickle.dumps(files))._open == {}
