# SPDX-License-Identifier: Apache-2.0
"""``verify`` of image-quality databases: their own lists, whole trees of small images, and damaged ones."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import quality_trees

import clip_align.__main__ as program
from clip_align.callbacks.common.rated_pairs import RatedPairs
from clip_align.callbacks.human.csiq import CSIQ
from clip_align.callbacks.human.kadid10k import KADID10k
from clip_align.callbacks.human.live import LIVE
from clip_align.callbacks.human.tid2008 import TID2008
from clip_align.callbacks.human.tid2013 import TID2013
from clip_align.commands.verify import line
from clip_align.evaluation.observers import pair_set
from clip_align.known_answer import KnownAnswer
from clip_align.metrics.correlation import krocc, srocc
from clip_align.perception.observers import EQUAL_DB, PSNR
from clip_align.perception.quality_databases import (
    csiq_answers,
    kadid10k_answers,
    live_answers,
    tid2008_answers,
    tid2013_answers,
)
from clip_align.perception.quality_databases.verification import Known, opinion_rows

KNOWN: dict[str, Known] = {
    "csiq": csiq_answers.KNOWN,
    "kadid10k": kadid10k_answers.KNOWN,
    "live": live_answers.KNOWN,
    "tid2008": tid2008_answers.KNOWN,
    "tid2013": tid2013_answers.KNOWN,
}
BENCHMARKS: dict[str, type[RatedPairs]] = {
    "csiq": CSIQ,
    "kadid10k": KADID10k,
    "live": LIVE,
    "tid2008": TID2008,
    "tid2013": TID2013,
}
SLOW = ("kadid10k", "live")  # trees of a thousand files and more, whose references are read again and again
CSIQ_WORDS = {"AWGN": "noise", "BLUR": "blur", "JPEG": "jpeg", "jpeg2000": "jpeg 2000"}
TREES: dict[str, Callable[[Path], Path]] = {
    "csiq": lambda folder: quality_trees.csiq(folder, quality_trees.CSIQ_NAMES),
    "kadid10k": lambda folder: quality_trees.kadid10k(folder, quality_trees.EVERY),
    "live": lambda folder: quality_trees.live(folder, quality_trees.LIVE_NAMES),
    "tid2008": lambda folder: quality_trees.tid(folder, 17, 4, quality_trees.EVERY),
    "tid2013": lambda folder: quality_trees.tid(folder, 24, 5, quality_trees.EVERY),
}


def published(shared_data: Path, name: str) -> list[dict[str, str]]:
    """Rows of the list that the database's authors publish."""
    with (shared_data / "opinion_scores" / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def with_own_opinions(shared_data: Path, name: str, folder: Path, empty: bool = True) -> Path:
    """The tree of a database with its own opinions and made-up images."""
    rows = published(shared_data, name)
    if name == "csiq":
        own = [(r["ref"], CSIQ_WORDS.get(r["type"], r["type"]), int(r["level"]), float(r["dmos"])) for r in rows]
        return quality_trees.csiq(folder, sorted({row[0] for row in own}), own, empty)
    if name == "live":
        scores = [(r["type"], int(r["img"]), r["ref"], float(r["dmos"]), float(r["dmos_realigned"])) for r in rows]
        return quality_trees.live(folder, sorted({row[2] for row in scores}), scores, empty)
    column = "dmos" if name == "kadid10k" else "mos"
    opinions = {(int(r["ref"]), int(r["type"]), int(r["level"])): float(r[column]) for r in rows}
    if name == "kadid10k":
        return quality_trees.kadid10k(folder, quality_trees.EVERY, opinions, empty)
    types, levels = (24, 5) if name == "tid2013" else (17, 4)
    return quality_trees.tid(folder, types, levels, quality_trees.EVERY, opinions, empty)


def verify(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str], list[str]]:
    """Exit code, lines printed, lines of errors."""
    code = program.main(["verify", *arguments])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err.splitlines()


def table(lines: list[str]) -> dict[str, list[str]]:
    return {text[:66].strip(): text[66:].split() for text in lines}


@pytest.mark.parametrize("name", KNOWN)
def test_the_authors_own_lists_have_every_known_answer(name: str, shared_data: Path, tmp_path: Path) -> None:
    of = BENCHMARKS[name](str(with_own_opinions(shared_data, name, tmp_path)))
    rows = list(opinion_rows(of.rated, KNOWN[name]))
    assert [line(row) for row in rows if not row.within] == []
    assert len(rows) >= 11
    # a list that has lost its order: the pair that is liked best and the one that is liked least
    ordered = sorted(of.rated, key=lambda pair: pair.opinion)
    swapped = {ordered[0]: ordered[-1].opinion, ordered[-1]: ordered[0].opinion}
    damaged = [replace(pair, opinion=swapped.get(pair, pair.opinion)) for pair in of.rated]
    wrong = [row.name for row in opinion_rows(damaged, KNOWN[name]) if not row.within]
    assert any(text.startswith("opinions, mean of ") for text in wrong), wrong


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in KNOWN])
def test_a_miniature_does_not_reach_the_published_correlations(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = TREES[name](tmp_path / name)
    code, lines, errors = verify(capsys, name, f"paths.data={tmp_path}")
    assert (code, errors) == (1, [])
    known, found = KNOWN[name], table(lines)
    assert found["distorted images"] == [str(known.images), str(known.images), "-", "ok"]
    assert found["references"] == [str(known.references), str(known.references), "-", "ok"]
    assert found["types of distortion"][-1] == "ok"
    assert found["pairs that are equal to the pixel"] == ["0", "-", "-"]
    if known.sides:
        (sizes,) = [cells for text, cells in found.items() if text.startswith("images of 512 x ")]
        assert sizes == ["0", str(known.images + known.references), "-", "DIFFERS"]
    # the row is what the benchmark itself gives the same observer
    pairs = pair_set(BENCHMARKS[name](str(root)))
    values, human = -PSNR.distances(pairs), pairs.labels().human
    for statistic in (srocc, krocc):
        label = statistic.__name__
        row = KnownAnswer(f"PSNR (RGB): {label.upper()}", statistic(values, human), known.psnr[label], 1e-4)
        assert line(row) in lines
        assert not row.within
    assert lines[-1].endswith("DIFFER")


def test_a_whole_database_passes(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TID2008's own opinions and small images: all but what images give, and all where that is what is expected."""
    root = with_own_opinions(shared_data, "tid2008", tmp_path / "own", empty=False)
    code, lines, _ = verify(capsys, "tid2008", f"root={root}")
    wrong = [text[:66].strip() for text in lines if text.endswith("DIFFERS")]
    assert code == 1
    assert wrong == [
        "images of 512 x 384 px, references among them", "PSNR (RGB): SROCC", "PSNR (RGB): KROCC",
    ]  # fmt: skip
    found = table(lines)
    psnr = {name: float(found[f"PSNR (RGB): {name.upper()}"][0]) for name in ("srocc", "krocc")}
    monkeypatch.setattr(tid2008_answers, "KNOWN", replace(tid2008_answers.KNOWN, psnr=psnr, sides=(24, 32)))
    code, lines, errors = verify(capsys, "tid2008", f"root={root}")
    assert (code, errors, lines[-1]) == (0, [], "14 known answers: all within tolerance")
    assert table(lines)["images of 32 x 24 px, references among them"] == ["1725", "1725", "-", "ok"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TREES["tid2008"](tmp_path_factory.mktemp("small") / "tid2008")


def test_equal_images_are_the_most_similar_ones(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """KADID-10k holds pairs that are equal to the pixel, whose PSNR is infinite."""
    path = small / "distorted_images" / "i07_05_2.bmp"
    before = path.read_bytes()
    path.write_bytes((small / "reference_images" / "I07.BMP").read_bytes())
    try:
        code, lines, _ = verify(capsys, "tid2008", f"root={small}")
        pairs = pair_set(TID2008(str(small)))
        values, human = -PSNR.distances(pairs), pairs.labels().human
    finally:
        path.write_bytes(before)
    assert code == 1
    assert table(lines)["pairs that are equal to the pixel"] == ["1", "-", "-"]
    assert values.max() == EQUAL_DB
    assert table(lines)["PSNR (RGB): SROCC"][0] == f"{srocc(values, human):.4f}"


def test_no_torch_is_needed(small: Path) -> None:
    code = (
        f"import sys; import clip_align.__main__ as m; c = m.main(['verify', 'tid2008', {f'root={small}'!r}]); "
        "sys.exit(c + 4 * ('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, done.stderr) == (1, "")


def test_images_that_cannot_be_compared_are_refused_in_one_line(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = small / "distorted_images" / "i02_01_2.bmp"
    before = path.read_bytes()
    try:
        quality_trees.image(path, height=30)
        code, _, errors = verify(capsys, "tid2008", f"root={small}")
        what = "has 32 x 30 px, its reference I02.BMP 32 x 24 px"
        assert (code, errors) == (2, [f"human/tid2008: {path} {what}; unpack the database again"])
        path.write_bytes(before[:60])
        code, _, errors = verify(capsys, "tid2008", f"root={small}")
        assert (code, len(errors)) == (2, 1)
        assert errors[0].startswith(f"human/tid2008: {path} cannot be read (")
        assert errors[0].endswith("); unpack the database again")
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize("name", KNOWN)
def test_no_database_is_refused_with_its_source(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    of = KNOWN[name].download
    code, lines, errors = verify(capsys, name, f"root={tmp_path}")
    missing = ", ".join(of.needed[:3])
    assert (code, lines) == (2, [])
    assert errors == [f"root: {tmp_path} is not the data set: it lacks {missing}, …; it is at {of.address}"]
