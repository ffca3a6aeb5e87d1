# SPDX-License-Identifier: Apache-2.0
"""human/pairs_csv: a user's own opinions, and every mistake in one clear line before step 0."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip_align.callbacks.human.pairs_csv import PairsCsv
from clip_align.errors import UserError
from clip_align.evaluation.features import Features
from clip_align.perception.distances import differences

ROWS = [("a.png", "a1.png", "5"), ("a.png", "a2.png", "3.5"), ("b.png", "b1.png", "4"), ("b.png", "b2.png", "1e0")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in sorted({name for row in ROWS for name in row[:2]}):
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(tmp_path / name)
    write(tmp_path, ROWS)
    return tmp_path


def write(folder: Path, rows: list[tuple[str, ...]], header: str = "reference,distorted,opinion") -> None:
    (folder / "pairs.csv").write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")


def seen(callback: PairsCsv, value: dict[str, float]) -> Features:
    angle = np.array([[value.get(Path(i).name, 0.0) for i in pair] for pair in callback.pairs()])
    images = np.stack([np.cos(angle), np.sin(angle)], axis=2).astype(np.float32)[:, :, None]  # [P, 2, V, D]
    nothing = np.zeros((0, 0), np.float32)
    return Features(nothing[None], {}, nothing, differences(images[:, 0], images[:, 1]))


def refused(folder: Path, **options: object) -> str:
    with pytest.raises(UserError) as error:
        PairsCsv(csv=str(folder / "pairs.csv"), **options)  # type: ignore[arg-type]
    assert len(error.value.lines) == 1
    assert "\n" not in str(error.value)
    return str(error.value).replace(str(folder), "…")


def test_each_image_once_and_all_at_the_same_places(folder: Path) -> None:
    callback = PairsCsv(csv=str(folder / "pairs.csv"))
    stimuli = list(callback.stimuli())
    assert [Path(s.id).name for s in stimuli] == ["a.png", "a1.png", "a2.png", "b.png", "b1.png", "b2.png"]
    assert len({s.places for s in stimuli}) == 1
    assert (stimuli[0].load() == np.asarray(Image.open(folder / "a.png"))).all()


def test_opinions_either_way(folder: Path) -> None:
    near = {"a1.png": 0.1, "a2.png": 0.3, "b1.png": 0.2, "b2.png": 0.9}  # far where opinions are low
    for meaning, expected in (("better", 1.0), ("worse", -1.0)):
        callback = PairsCsv(csv=str(folder / "pairs.csv"), higher_opinion=meaning)  # type: ignore[arg-type]
        items = callback.items(seen(callback, near))
        for score in callback.scores:
            if score.name != "plcc":
                assert score.compute(items).value == pytest.approx(expected), (score.name, meaning)
    assert items.human.tolist() == [-5, -3.5, -4, -1]
    assert items.ids[0] == "line 2: a1.png"


def test_constant_model_has_no_score(folder: Path) -> None:
    callback = PairsCsv(csv=str(folder / "pairs.csv"))
    items = callback.items(seen(callback, {}))
    assert [score.compute(items).value for score in callback.scores] == [None] * len(callback.scores)


def test_clusters_are_the_reference_or_a_column(folder: Path) -> None:
    items = PairsCsv(csv=str(folder / "pairs.csv"))
    assert [p.cluster for p in items.rows] == ["a.png", "a.png", "b.png", "b.png"]
    assert items.scores[0].unit == "2 clusters by reference, jackknife, t(1)"
    write(folder, [(*row, str(i)) for i, row in enumerate(ROWS)], "reference,distorted,opinion,scene")
    items = PairsCsv(csv=str(folder / "pairs.csv"), cluster="scene")
    assert [p.cluster for p in items.rows] == ["0", "1", "2", "3"]
    assert items.scores[0].unit == "4 clusters by scene, jackknife, t(3)"


@pytest.mark.parametrize(
    ("clusters", "unit"),
    [
        (1, "one cluster by scene, no interval"),
        (64, "64 clusters by scene, jackknife, t(63)"),
        (100, "100 clusters by scene in 64 bundles, jackknife, t(63)"),
    ],
)
def test_the_unit_is_what_the_interval_leaves_out(folder: Path, clusters: int, unit: str) -> None:
    rows = [(*ROWS[i % 4][:2], str(i % 7), str(i % clusters)) for i in range(100)]
    write(folder, rows, "reference,distorted,opinion,scene")
    callback = PairsCsv(csv=str(folder / "pairs.csv"), cluster="scene")
    assert {score.unit for score in callback.scores} == {unit}
    items = callback.items(seen(callback, {"a1.png": 0.1, "a2.png": 0.3, "b1.png": 0.2, "b2.png": 0.9}))
    found = callback.scores[0].compute(items)
    assert found.value is not None
    assert (found.low is None) == ("no interval" in unit)


def test_root_extra_columns_blanks_and_a_byte_order_mark(folder: Path) -> None:
    image_list = folder / "images"
    image_list.mkdir()
    for path in folder.glob("*.png"):
        path.rename(image_list / path.name)
    text = "\ufeffnote,opinion, reference, distorted\nx,5,a.png,a1.png\n\ny,4,a.png,a2.png\nz,3,b.png,b1.png\n"
    (folder / "pairs.csv").write_text(text, encoding="utf-8")
    callback = PairsCsv(csv=str(folder / "pairs.csv"), root=str(image_list))
    assert [p.line for p in callback.rows] == [2, 4, 5]


def test_the_same_pair_may_be_rated_twice(folder: Path) -> None:
    write(folder, [*ROWS, ROWS[0]])
    callback = PairsCsv(csv=str(folder / "pairs.csv"))
    assert len(callback.items(seen(callback, {"a1.png": 0.2}))) == 5


def test_missing_file(tmp_path: Path) -> None:
    assert refused(tmp_path) == (
        "human/pairs_csv: csv: no such file …/pairs.csv; give a csv with the columns reference, distorted, opinion"
    )


def test_missing_root(folder: Path) -> None:
    assert refused(folder, root=str(folder / "nowhere")) == (
        "human/pairs_csv: root: no such folder …/nowhere; give the folder that the csv's paths are relative to"
    )


def test_missing_column(folder: Path) -> None:
    write(folder, ROWS, "reference,distorted,mos")
    assert refused(folder) == (
        "human/pairs_csv: …/pairs.csv has no column opinion; columns found: reference, distorted, mos"
    )
    write(folder, ROWS)
    assert refused(folder, cluster="scene") == (
        "human/pairs_csv: …/pairs.csv has no column scene; columns found: reference, distorted, opinion"
    )
    (folder / "pairs.csv").write_text("")
    assert refused(folder) == (
        "human/pairs_csv: …/pairs.csv has no column reference, distorted, opinion; columns found: none"
    )


def test_opinion_that_is_not_a_number(folder: Path) -> None:
    write(folder, [*ROWS, ("a.png", "a1.png", "good")])
    assert refused(folder) == "human/pairs_csv: …/pairs.csv, line 6: opinion 'good' is not a number"
    write(folder, [*ROWS, ("a.png", "a1.png", "nan")])
    assert refused(folder) == "human/pairs_csv: …/pairs.csv, line 6: opinion 'nan' is not finite"
    write(folder, [("a.png", "a1.png"), *ROWS, ("", "a1.png", "3")])
    assert refused(folder) == "human/pairs_csv: …/pairs.csv, line 2: opinion is empty (and 1 more row)"


def test_fewer_than_three_pairs(folder: Path) -> None:
    write(folder, ROWS[:2])
    assert refused(folder) == "human/pairs_csv: …/pairs.csv has 2 pairs; a correlation needs at least 3"


def test_missing_image(folder: Path) -> None:
    hint = "; root= names the folder of the images"
    (folder / "b1.png").unlink()
    assert refused(folder) == "human/pairs_csv: no such image …/b1.png (line 4)" + hint
    (folder / "b2.png").unlink()
    assert refused(folder) == "human/pairs_csv: no such image …/b1.png (line 4) (and 1 more image)" + hint


def test_unreadable_image(folder: Path) -> None:
    (folder / "b1.png").write_text("not an image")
    assert refused(folder).startswith("human/pairs_csv: cannot read …/b1.png: cannot identify image file")
    Image.fromarray(np.zeros((20, 30), dtype=np.uint16)).save(folder / "b1.png")
    assert refused(folder) == (
        "human/pairs_csv: cannot read …/b1.png: …/b1.png has mode I;16; convert it to 8 bits a sample"
    )


def test_images_of_a_pair_have_the_same_size(folder: Path) -> None:
    Image.fromarray(np.zeros((20, 31, 3), dtype=np.uint8)).save(folder / "a2.png")
    assert refused(folder) == (
        "human/pairs_csv: line 3: a.png is 30 x 20 px, a2.png 31 x 20; both images of a pair must have the same size"
    )


def test_csv_in_another_encoding(folder: Path) -> None:
    (folder / "pairs.csv").write_bytes("reference,distorted,opinion\nä.png".encode("latin-1"))
    assert refused(folder).startswith("human/pairs_csv: …/pairs.csv is not a csv in UTF-8")


def test_meaning_of_opinions_is_closed(folder: Path) -> None:
    assert refused(folder, higher_opinion="up") == "human/pairs_csv: higher_opinion is up; valid: better, worse"


def test_rows_with_a_decimal_comma(folder: Path) -> None:
    write(folder, [*ROWS, ("a.png", "a1.png", "3,43"), ("a.png", "a2.png", "2,5"), ("b.png", "b1.png", "1,5")])
    assert refused(folder) == (
        "human/pairs_csv: …/pairs.csv, line 6: 4 fields, the header has 3 (and 2 more rows); write 3.5 for 3,5, and "
        "quote names that hold a comma"
    )
    write(folder, [*ROWS, ("a.png", "a1.png", '"3,43"')])
    assert refused(folder) == (
        "human/pairs_csv: …/pairs.csv, line 6: opinion '3,43' is not a number; write a decimal point"
    )


@pytest.mark.parametrize("opinion", ["1_500", "0x10", "3.4.3", "1e", "٣", "--1", "1 000", "."])
def test_what_python_or_a_spreadsheet_may_take_for_a_number(folder: Path, opinion: str) -> None:
    write(folder, [*ROWS, ("a.png", "a1.png", opinion)])
    assert refused(folder) == f"human/pairs_csv: …/pairs.csv, line 6: opinion {opinion!r} is not a number"


@pytest.mark.parametrize(("opinion", "value"), [("+3", 3.0), (".5", 0.5), ("5.", 5.0), ("-1.5E-2", -0.015), (" 4 ", 4)])
def test_what_is_a_number(folder: Path, opinion: str, value: float) -> None:
    write(folder, [*ROWS, ("a.png", "a1.png", opinion)])
    assert PairsCsv(csv=str(folder / "pairs.csv")).rows[-1].opinion == value


def test_columns_that_are_there_twice(folder: Path) -> None:
    write(folder, [(*row, "1") for row in ROWS], "reference,distorted,opinion,opinion")
    assert refused(folder) == "human/pairs_csv: …/pairs.csv has the column 'opinion' 2 times; rename all but one"


def test_tabs(folder: Path) -> None:
    text = "reference\tdistorted\topinion\n" + "".join("\t".join(row) + "\n" for row in ROWS)
    (folder / "pairs.csv").write_text(text)
    assert len(PairsCsv(csv=str(folder / "pairs.csv")).rows) == 4


def test_an_image_that_the_decoder_fails_on_is_named(folder: Path) -> None:
    data = (folder / "b1.png").read_bytes()
    profile = b"\0\0\0\0iCCP" + zlib.crc32(b"iCCP").to_bytes(4, "big")
    (folder / "b1.png").write_bytes(data[:33] + profile + data[33:])
    assert refused(folder).startswith("human/pairs_csv: cannot read …/b1.png: ")


def test_odd_opinions(shared_data: Path) -> None:
    with pytest.raises(UserError, match=r"pairs_decimal_comma.csv, line 2: 4 fields, the header has 3 \(and "):
        PairsCsv(csv=str(shared_data / "odd_inputs/csv/pairs_decimal_comma.csv"))
    callback = PairsCsv(csv=str(shared_data / "odd_inputs/alpha/pairs.csv"))
    for stimulus in callback.stimuli():
        seen = Image.open(stimulus.id).convert("RGBA")
        on_white = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
        assert np.array_equal(stimulus.load(), np.asarray(on_white))
