# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from clip_align.data.indexed.folder import folder_samples
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
    assert (samples.names, samples.texts, samples.blocks) == (["a.png", "sub/b.png"], ["one, two", "three"], [2])
    assert bad.total == 0
    assert samples.image(1) == (folder / "sub/b.png").read_bytes()
    assert (samples.key(1), samples.captions(0)) == ("sub/b.png", ["one, two"])
    samples, _ = folder_samples(table(folder, "image,caption\nb.png,x\n", root=str(folder / "sub")))
    assert samples.image(0) == (folder / "sub/b.png").read_bytes()


def test_other_columns_tabs_and_a_byte_order_mark(folder: Path) -> None:
    data = table(folder, "\ufefffile\ttitle\na.png\tone, two\n", image_column="file", caption_column="title")
    assert folder_samples(data)[0].texts == ["one, two"]


def test_rows_without_image_or_caption_are_counted_and_the_first_named(folder: Path) -> None:
    samples, bad = folder_samples(table(folder, "image,caption\nx.png,a\ny.png,b\na.png,\nsub/b.png,c\n,d\na.png\n"))
    assert samples.names == ["sub/b.png"]
    assert bad.counts == {"no image": 3, "no caption": 2}
    assert bad.first == {"no image": "x.png", "no caption": "a.png"}


def test_progress_is_reported_while_images_are_looked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        "cannot read .*it is a folder, not a file": FolderData(csv=str(folder)),
        "no such folder": table(folder, "image,caption\n", root=str(folder / "none")),
        "it has no rows; images are looked for in": table(folder, "image,caption\n"),
    }
    for what, data in cases.items():
        with pytest.raises(UserError, match=what) as error:
            folder_samples(data)
        assert len(error.value.lines) == 1
    with pytest.raises(UserError, match="it has: none"):
        folder_samples(table(folder, ""))
    with pytest.raises(UserError, match=r"none of its 1 rows can be used: 1 no image \(first: x.png\)"):
        folder_samples(table(folder, "image,caption\nx.png,a\n"))


def test_a_csv_that_is_not_text(folder: Path) -> None:
    (folder / "table.csv").write_bytes(b"image,caption\n\xff\xfe\n")
    with pytest.raises(UserError, match="is not a csv in UTF-8"):
        folder_samples(FolderData(csv=str(folder / "table.csv")))


HINT = 'quote captions that hold commas ("one, two"), or separate the fields with tabs'


def test_rows_with_more_fields_than_the_header_are_refused(folder: Path) -> None:
    text = "image,caption\na.png,a red disc\nsub/b.png,a disc, on stripes, from above\na.png,x\na.png,one, two\n"
    with pytest.raises(UserError) as error:
        folder_samples(table(folder, text))
    assert str(error.value) == (
        f"data.csv: {folder / 'table.csv'}, line 3: 4 fields, the header has 2 (and 1 more row); {HINT}"
    )


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ('image,caption\na.png,x\na.png,"one\nsub/b.png,two\n', 3, "unexpected end of data"),
        ('image,caption\na.png,"one\nsub/b.png,"two"\n', 2, "',' expected after '\"'"),
        ('image,caption\na.png,"one" disc\n', 2, "',' expected after '\"'"),
    ],
)
def test_quotes_that_do_not_pair_are_refused(folder: Path, text: str, line: int, what: str) -> None:
    """They would make one row of several."""
    with pytest.raises(UserError) as error:
        folder_samples(table(folder, text))
    assert str(error.value) == (
        f"data.csv: {folder / 'table.csv'}, line {line}: {what}; a quoted field ends with its quote and doubles those "
        'inside: "a ""red"" disc, large"; between tabs quotes are plain characters'
    )


def test_between_tabs_quotes_are_plain(folder: Path) -> None:
    text = 'image\tcaption\na.png\t"one" said\nsub/b.png\t"two, three\na.png\t5" disc\na.png\t"all"\n'
    samples, bad = folder_samples(table(folder, text))
    assert samples.texts == ['"one" said', '"two, three', '5" disc', '"all"']
    assert bad.total == 0
    with pytest.raises(UserError, match="line 2: 3 fields, the header has 2; "):
        folder_samples(table(folder, "image\tcaption\na.png\tone\ttwo\n"))


def test_quoted_fields_may_hold_anything(folder: Path) -> None:
    text = 'image,caption\r\na.png,"one, ""two""\nthree"\r\n\r\nsub/b.png,\'four\r\n'
    assert folder_samples(table(folder, text))[0].texts == ['one, "two" three', "'four"]


def test_a_column_that_is_there_twice_is_refused(folder: Path) -> None:
    with pytest.raises(UserError) as error:
        folder_samples(table(folder, "image,caption,caption\na.png,one,two\n"))
    assert str(error.value) == (
        f"data.csv: {folder / 'table.csv'} has the column 'caption' 2 times; rename all but one"
    )
    samples, _ = folder_samples(table(folder, "image,x,caption,x\na.png,1,one,2\n"))  # these are not requested
    assert samples.texts == ["one"]


def test_a_named_pipe_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe.csv")
    with pytest.raises(UserError, match="it is a named pipe, not a file"):
        folder_samples(FolderData(csv=str(folder / "pipe.csv")))


def test_odd_tables(shared_data: Path) -> None:
    odd = shared_data / "odd_inputs/csv"
    samples, bad = folder_samples(FolderData(csv=str(odd / "quotes.tsv")))
    assert (len(samples), bad.total) == (24, 0)
    assert any(text.startswith('"') for text in samples.texts)
    with pytest.raises(UserError, match=r"commas.csv, line 2: 4 fields, the header has 2 \(and "):
        folder_samples(FolderData(csv=str(odd / "commas.csv")))
