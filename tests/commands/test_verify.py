# SPDX-License-Identifier: Apache-2.0
"""``verify``: rows declared anywhere in the package, their table, the exit code, and what is refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import miniature_saliency
import pytest

import clip_align
import clip_align.__main__ as program
from clip_align.commands.verify import declared, line
from clip_align.known_answer import KnownAnswer, count

NEUTRAL = "style-transfer-512-nomask-experiment"
NETWORKS = f"{NEUTRAL}-trained-CNNs"
DATABASES = ("csiq", "kadid10k", "live", "tid2008", "tid2013")


def verify(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str], list[str]]:
    """Exit code, lines printed, lines of errors."""
    code = program.main(["verify", *arguments])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err.splitlines()


# --- rows


@pytest.mark.parametrize(
    ("row", "within"),
    [
        (KnownAnswer("a", 0.33105, 0.3311, 1e-4), True),
        (KnownAnswer("a", 0.3313, 0.3311, 1e-4), False),
        (KnownAnswer("a", 0.6505, 0.65, 0.0005), True),  # the edge, which no binary fraction hits
        (KnownAnswer("a", float("nan"), 0.3311, 1e-4), False),
        (KnownAnswer("a", float("nan"), None), True),
        (count("a", 162, 162), True),
        (count("a", 161, 162), False),
    ],
)
def test_within(row: KnownAnswer, within: bool) -> None:
    assert row.within is within
    assert line(row).endswith("DIFFERS") is not within


def test_lines_are_plain_digits() -> None:
    cells = [line(row).split() for row in (count("a", 9236, 9236), KnownAnswer("b", 1 / 3, 0.3333, 1e-4))]
    assert line(KnownAnswer("d", -1e-16, 0, 1e-12)).split()[1] == "0.0000"  # no -0.0000
    assert cells == [["a", "9236", "9236", "-", "ok"], ["b", "0.3333", "0.3333", "0.0001", "ok"]]
    assert line(KnownAnswer("c", 1e-9, 0, 1e-6)).split() == ["c", "0.0000", "0.0000", "0.0000", "ok"]
    assert line(KnownAnswer("mine: S", 7, None)).split() == ["mine:", "S", "7", "-", "-"]


def test_a_module_declares_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "verified_package"
    (package / "below").mkdir(parents=True)
    head = "from clip_align.known_answer import KnownAnswer\n"
    (package / "below" / "gain.py").write_text(
        f"{head}def known_answers():\n    '''Gain.\n\n    More.'''\n    yield KnownAnswer('one', 1.0, 1.0)\n"
    )
    (package / "loss_answers.py").write_text(
        f"{head}def known_answers(root):\n    '''Loss.'''\n    return [KnownAnswer(root.name, 1.0, 2.0)]\n"
    )
    (package / "other.py").write_text("class A:\n    def known_answers(self): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = declared(package)
    assert [(d.name, d.needs_root, d.about) for d in found.values()] == [
        ("gain", False, "Gain."),
        ("loss", True, "Loss."),
    ]
    assert [row.within for row in found["gain"].rows()] == [True]
    assert [(row.name, row.within) for row in found["loss"].rows(tmp_path / "x")] == [("x", False)]


def test_every_declaration_says_what_it_is() -> None:
    found = declared()
    assert {"contrast_sensitivity", "spectral_sensitivity", "chromatic_discrimination", "saliency", "corruptions"} <= (
        set(found)
    )
    assert {"distances", "psnr", "tid2013_remade", "texture", "cue_conflict_people"} <= set(found)
    assert all(one.about for one in found.values())
    assert {name for name, one in found.items() if one.needs_root} == {
        *DATABASES,
        "cifar100",
        "cue_conflict",
        "osie",
        "zsiqa",
    }
    package = Path(clip_align.__file__).parent
    declarations = [p for p in package.rglob("*.py") if "\ndef known_answers(" in p.read_text(encoding="utf-8")]
    assert len(declarations) == len(found)  # no two of one name


def test_all_known_answers_that_need_no_data(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, errors = verify(capsys, "all")
    assert code == 0, [text for text in lines if text.endswith("DIFFERS")]
    assert errors == []
    (number,) = [int(text.split()[0]) for text in lines if text.endswith("known answers: all within tolerance")]
    assert number >= 150
    assert "cue_conflict" in next(text for text in lines if text.startswith("not run, they need data"))
    level = next(text for text in lines if text.startswith("level alone: SROCC")).split()
    assert level[-4:] == ["0.7444", "0.7440", "0.0100", "ok"]
    printed = {text[:66].strip(): text[66:].split()[0] for text in lines if text.endswith("  ok")}
    for name, value in {
        "ModelFest, 256 px, pixel RMSE: PLCC, log-log": "0.4980",
        "ModelFest, 256 px, pixel RMSE: SROCC": "0.4873",
        "ModelFest, 256 px, pixel RMSE: KROCC": "0.4328",
        "-PSNR, Judd-Vos: PLCC": "0.5335",
        "RMSE, Judd-Vos: PLCC": "0.6297",
        "Oklab: SROCC of areas": "0.9175",
        "oracle: SROCC of all 25 areas": "1.0000",
        "CC, a map with itself": "1.0000",
    }.items():
        assert printed[name] == value
    assert {"ModelFest, 256 px, Watson-Ahumada: PLCC, log-log", "ColorFest, 224 px, pixel RMSE: SROCC"} <= set(printed)


def test_no_torch_is_needed() -> None:
    code = (
        "import sys; import clip_align.__main__ as m; c = m.main(['verify', 'all']); "
        "sys.exit(c or 3 * ('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr


# --- cue conflict


def test_cue_conflict_on_the_authors_files(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = verify(capsys, "cue_conflict", f"root={shared_data / 'cue_conflict'}")
    assert code == 0, [text for text in lines if text.endswith("DIFFERS")]
    table = {text.rpartition("  ")[0][:66].strip(): text[66:].split() for text in lines}
    for name, value in {
        "10 people: S, decisions for the shape": "9236",
        "10 people: T, decisions for the texture": "398",
        "10 people: shape bias S/(S + T)": "0.9587",
        "resnet50: shape bias": "0.2207",
        "alexnet (Caffe): shape bias": "0.4294",
        "people: error consistency between them, 1,280 images": "0.3311",
        "people: error consistency between them, 1,200 conflicts": "0.3347",
        "resnet50: error consistency": "0.0674",
        "resnet50: error consistency, 1,200 conflicts": "0.0544",
        "edges: error consistency between people": "0.3184",
        "silhouettes: error consistency of resnet50": "0.4462",
    }.items():
        assert table[name][0] == table[name][1] == value
        assert table[name][-1] == "ok"
    assert sum(text.endswith("  ok") for text in lines) > 100


@pytest.fixture
def copied(shared_data: Path, tmp_path: Path) -> Path:
    """The authors' folder, with trial files that can be changed."""
    (tmp_path / "stimuli").symlink_to(shared_data / "cue_conflict" / "stimuli")
    for name in (NEUTRAL, NETWORKS):
        shutil.copytree(shared_data / "cue_conflict" / "raw-data" / name, tmp_path / "raw-data" / name)
    return tmp_path


def test_one_changed_answer_is_found(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = next((copied / "raw-data" / NETWORKS).glob("*_resnet50_session*"))
    content = path.read_bytes()
    row = next(r for r in content.splitlines() if b",knife,airplane," in r)  # neither cue, or the texture
    path.write_bytes(content.replace(row, row.replace(b",knife,airplane,", b",airplane,airplane,")))
    code, lines, _ = verify(capsys, "cue_conflict", f"root={copied}")
    assert code == 1
    wrong = [text for text in lines if text.endswith("DIFFERS")]
    assert ["resnet50:", "S", "163", "162", "-", "DIFFERS"] in [text.split() for text in wrong]
    assert all(text.startswith("resnet50:") for text in wrong)
    assert lines[-1].endswith(f"known answers: {len(wrong)} DIFFER")


def test_another_trial_file_of_the_layout_is_counted_with_nothing_expected(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied / "raw-data" / "cue-conflict"
    folder.mkdir()
    source = next((copied / "raw-data" / NETWORKS).glob("*_resnet50_session*"))
    shutil.copy(source, folder / "cue-conflict_my-model_session-1.csv")
    code, lines, _ = verify(capsys, "cue_conflict", f"root={copied}")
    assert code == 0
    mine = [text.split()[1:] for text in lines if text.startswith("my-model:")]
    assert mine[0] == ["S", "162", "-", "-"]
    assert mine[-1] == ["error", "consistency", "0.0674", "-", "-"]


def test_damaged_or_absent_data_are_refused_in_one_line(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = "https://github.com/rgeirhos/texture-vs-shape (stimuli/style-transfer-preprocessed-512)"
    for arguments, folder in (
        ((), "data/cue_conflict"),
        (("paths.data=/none",), "/none/cue_conflict"),
        (("root=x",), "x"),
    ):
        code, _, errors = verify(capsys, "cue_conflict", *arguments)
        assert code == 2
        assert errors == [f"root: {folder} is not the data set: it lacks airplane, bear, bicycle, …; it is at {source}"]
    path = next((copied / "raw-data" / NEUTRAL).glob("*subject-03*"))
    path.write_text(path.read_text().replace(",bird,", ",brid,", 1))
    code, _, errors = verify(capsys, "cue_conflict", f"root={copied}")
    assert code == 2
    assert errors[0].startswith(f"root: {path}, line ")
    assert errors[0].endswith("'brid' is none of the 16 classes, nor na")


# --- OSIE, ZS-IQA


def test_the_tables_of_osie_and_zsiqa(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, rows in (("osie", 11), ("zsiqa", 45)):
        code, lines, errors = verify(capsys, name, f"root={shared_data / name}")
        assert (code, errors) == (0, []), [text for text in lines if text.endswith("DIFFERS")]
        assert lines[-1] == f"{rows} known answers: all within tolerance"
        assert all(len(text) < 110 for text in lines)


def test_osie_as_its_authors_offer_it_is_described_with_little_expected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = miniature_saliency.osie(tmp_path / "osie")
    code, lines, _ = verify(capsys, "osie", f"root={root}")
    assert code == 1
    assert [text.split() for text in lines if text.endswith("DIFFERS")] == [["images", "6", "700", "-", "DIFFERS"]]
    assert lines[-1] == "1 known answers: 1 DIFFER"


@pytest.mark.parametrize(
    ("files", "name", "what"),
    [
        ({}, "osie", "{root} holds neither data/eye/fixations.mat and data/stimuli (the authors' download) nor"),
        ({"fixations.csv": "image,x,y"}, "osie", "{root}/fixations.csv has no column viewer"),
        (
            {"fixations.csv": "image,viewer,x,y\n1.jpg,1,2,3\n1.jpg,1,2,-"},
            "osie",
            "{root}/fixations.csv, line 3: x '2', y '-'; valid are two numbers",
        ),
        ({"fixations.csv": "image,viewer,x,y\n1.jpg,1,2,3"}, "osie", "cannot read {root}/stimuli/1.jpg: "),
        ({"fixations.csv": "image,viewer,x,y\n"}, "osie", "{root}/fixations.csv has no fixations"),
        ({}, "zsiqa", "cannot read {root}/tid2013.csv: No such file or directory; the folder holds tid2013.csv and"),
        ({"tid2013.csv": "distorted,mos"}, "zsiqa", "{root}/tid2013.csv has no column psnr, fsim, "),
    ],
)
def test_damaged_tables_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], files: dict[str, str], name: str, what: str
) -> None:
    (tmp_path / "stimuli").mkdir()
    for path, text in files.items():
        (tmp_path / path).write_text(text, encoding="utf-8")
    code, _, errors = verify(capsys, name, f"root={tmp_path}")
    assert code == 2
    assert len(errors) == 1
    assert what.format(root=tmp_path) in errors[0]


def test_a_damaged_row_of_zsiqa_is_named(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("tid2013.csv", "live.csv"):
        shutil.copyfile(shared_data / "zsiqa" / name, tmp_path / name)
    path, text = tmp_path / "tid2013.csv", (tmp_path / "tid2013.csv").read_text(encoding="utf-8")
    path.write_text(text.replace("I01_01_1.bmp", "I01_01.bmp", 1), encoding="utf-8")
    code, _, errors = verify(capsys, "zsiqa", f"root={tmp_path}")
    assert (code, errors) == (
        2,
        [f"root: {path}: 'I01_01.bmp' is no file name of TID2013, such as i01_24_5.bmp"],
    )
    path.write_text(text.replace("33.07413", "nan", 1), encoding="utf-8")
    code, _, errors = verify(capsys, "zsiqa", f"root={tmp_path}")
    assert (code, errors) == (2, [f"root: {path}, line 2: psnr is 'nan'; valid is a number"])


# --- CIFAR-100


def test_noise_on_cifar100(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, errors = verify(capsys, "cifar100", f"root={shared_data / 'cifar100'}")
    assert (code, errors) == (0, []), lines
    assert [text.split() for text in lines if text.startswith("test images")] == [["test", "images", "2000", "-", "-"]]
    assert lines[-1] == "6 known answers: all within tolerance"
    code, _, errors = verify(capsys, "cifar100", f"root={tmp_path}")
    assert (code, errors) == (
        2,
        [
            f"root: {tmp_path} holds neither cifar-100-python/test nor cifar-100-python.tar.gz; "
            "python -m clip_align data cifar100 shows where it is from"
        ],
    )
    (tmp_path / "cifar-100-python").mkdir()
    for name in ("test", "meta"):
        (tmp_path / "cifar-100-python" / name).write_bytes(b"cut")
    code, _, errors = verify(capsys, "cifar100", f"root={tmp_path}")
    assert (code, len(errors)) == (2, 1)
    assert errors[0].startswith("root: meta")


# --- refusals


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["cue_conflct"], "cue_conflct: no known answers of that name; did you mean cue_conflict? valid: all, "),
        ([], "verify: what? valid: all, "),
        (["psnr", "distances"], "verify: one at a time; valid: all, "),
        (["psnr", "root=/a"], "root: psnr needs no data; leave root= out"),
        (["all", "root=/a"], "root: all needs no data; leave root= out"),
        (["psnr", "paths.data=/a"], "paths.data: psnr needs no data; leave paths.data= out"),
        (["cue_conflict", "root="], "root: empty; give the folder of the data set"),
        (["psnr", "rot=/a"], "rot: unknown key; did you mean root? valid: root, paths.data"),
    ],
)
def test_mistyped_commands(capsys: pytest.CaptureFixture[str], arguments: list[str], line: str) -> None:
    code, lines, errors = verify(capsys, *arguments)
    assert (code, lines, len(errors)) == (2, [], 1)
    assert errors[0].startswith(line)


def test_help_lists_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = verify(capsys, "--help")
    assert code == 0
    assert any(text.startswith("  cue_conflict ") and text.endswith("(needs root=)") for text in lines)
    assert any(text.startswith("  psnr ") for text in lines)
