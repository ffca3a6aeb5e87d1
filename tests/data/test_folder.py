# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clip_align.data.folder import folder_samples
from clip_align.data.sources.folder import FolderData
from clip_align.errors import UserError


@pytest.fixture
def folder(shards: Any, tmp_path: Path) -> Path:
    for name in ("a.png", "sub/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(shards.image())
    return tmp_path


def table(folder: Path, text: str, **changes: Any) -> FolderData:
    (folder / "table.csv").write_text(text, encoding="utf-8")
    return FolderData(**{"csv": str(folder / "table.csv"), **changes})


def test_images_relative_to_the_csv_or_to_root(folder: Path) -> None:
    text = 'image,caption,more\na.png,"one, two",1\nsub/b.png,three,2\n'
    samples, bad = folder_samples(table(folder, text))
    assert (samples.names, samples.captions, samples.blocks) == (["a.png", "sub/b.png"], ["one, two", "three"], [2])
    assert bad.total == 0
    assert samples.image(1) == (folder / "sub/b.png").read_bytes()
    assert (samples.key(1), samples.caption(0)) == ("sub/b.png", "one, two")
    samples, _ = folder_samples(table(folder, "image,caption\nb.png,x\n", root=str(folder / "sub")))
    assert samples.image(0) == (folder / "sub/b.png").read_bytes()


def test_other_columns_tabs_and_a_byte_order_mark(folder: Path) -> None:
    data = table(folder, "\ufefffile\ttitle\na.png\tone, two\n", image_column="file", caption_column="title")
    assert folder_samples(data)[0].captions == ["one, two"]


def test_rows_without_image_or_caption_are_counted_and_the_first_named(folder: Path) -> None:
    samples, bad = folder_samples(table(folder, "image,caption\nx.png,a\ny.png,b\na.png,\nsub/b.png,c\n,d\na.png\n"))
    assert samples.names == ["sub/b.png"]
    assert bad.counts == {"no image": 3, "no caption": 2}
    assert bad.first == {"no image": "x.png", "no caption": "a.png"}


def test_progress_is_told_while_images_are_looked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clip_align.data.progress.SECONDS", -1)
    lines: list[str] = []
    folder_samples(table(folder, "image,caption\na.png,a\nb.png,b\n"), lines.append)
    assert list(map(str, lines)) == ["looking for images: 1 of 2", "looking for images: 2 of 2"]


def test_what_is_no_file_is_no_image(folder: Path) -> None:
    _, bad = folder_samples(table(folder, "image,caption\na.png,a\nsub,b\n.,c\nx\0.png,d\n"))
    assert bad.counts == {"no image": 3}


def test_missing_columns_are_named_with_those_there_are(folder: Path) -> None:
    with pytest.raises(UserError) as error:
        folder_samples(table(folder, "file,title\na.png,x\n"))
    path = folder / "table.csv"
    assert error.value.lines == (
        f"data.image_column: {path} has no column 'image'; it has: file, title",
        f"data.caption_column: {path} has no column 'caption'; it has: file, title",
    )


def test_one_line_for_what_is_not_there(folder: Path) -> None:
    cases = {
        "cannot read .*No such file": FolderData(csv=str(folder / "none.csv")),
        "cannot read .*Is a directory": FolderData(csv=str(folder)),
        "no such folder": table(folder, "image,caption\n", root=str(folder / "none")),
        "it has no rows; images are looked for in": table(folder, "image,caption\n"),
    }
    for says, data in cases.items():
        with pytest.raises(UserError, match=says) as error:
            folder_samples(data)
        assert len(error.value.lines) == 1
    with pytest.raises(UserError, match="it has: none"):
        folder_samples(table(folder, ""))
    with pytest.raises(UserError, match=r"none of its 1 rows can be used: 1 no image \(first: x.png\)"):
        folder_samples(table(folder, "image,caption\nx.png,a\n"))


def test_a_csv_that_is_not_text(folder: Path) -> None:
    (folder / "table.csv").write_bytes(b"image,caption\n\xff\xfe\n")
    with pytest.raises(UserError, match="is no csv in UTF-8"):
        folder_samples(FolderData(csv=str(folder / "table.csv")))
