# SPDX-License-Identifier: Apache-2.0
"""``python -m clip_align data``: what is listed, what is found, what is refused."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import quality_trees

from clip_align import __main__ as program
from clip_align.commands import completion, data
from clip_align.config import conf_dir
from clip_align.settings import yaml_keys


def lines(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert program.main(["data", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_a_data_set_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert lines(capsys, "tid2008", f"paths.data={tmp_path}") == [
        "human/tid2008: TID2008",
        "  what     1,700 distorted versions of 25 images (17 types, 4 levels) with mean opinions of 838 observers",
        "  source   http://www.ponomarenko.info/tid2008.htm (tid2008.rar)",
        "  size     550 MB",
        "  terms    free for education and research, with its notice; no modified copies without permission",
        "  cite     Ponomarenko et al., Adv. Modern Radioelectronics 10 (2009) 30-45",
        *wrapped("expected", f"{tmp_path}/tid2008/ with reference_images/i01.bmp, reference_images/i25.bmp, "
        "distorted_images/i01_01_1.bmp, distorted_images/i25_01_1.bmp, mos_with_names.txt"),
        *wrapped("found", f"no: reference_images/i01.bmp and 4 more not in {tmp_path}/tid2008"),
        "  use      callbacks=[tid2008]",
    ]  # fmt: skip


def wrapped(label: str, text: str) -> list[str]:
    return textwrap.wrap(
        text, 120, initial_indent=f"  {label:9}", subsequent_indent=" " * 11, break_on_hyphens=False,
        break_long_words=False,
    )  # fmt: skip


def test_a_data_set_that_is_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    quality_trees.tid(tmp_path / "tid2013", types=24, levels=5)
    found = [line for line in lines(capsys, "tid2013", "tid2013", f"paths.data={tmp_path}") if "found" in line]
    assert found == [f"  found    yes, in {tmp_path}/tid2013"]


def test_every_download_is_listed_with_all_its_facts(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = "\n".join(lines(capsys)).split("\n\n")
    assert [block.partition(":")[0].partition("/")[2] for block in blocks] == data.benchmarks()
    for block in blocks:
        labels = [line.split()[0] for line in block.splitlines()[1:] if line[2] != " "]
        assert labels == ["what", "source", "size", "terms", "cite", "expected", "found", "use"]
        assert all(len(line) <= data.WIDTH or " " not in line.strip() for line in block.splitlines())
    assert (
        {"csiq", "kadid10k", "live", "tid2008", "tid2013"}
        <= set(data.benchmarks())
        <= set(yaml_keys.options("callbacks"))
    )
    assert not {"world", "pairs_csv", "tid2013_remade", "standard"} & set(data.benchmarks())


def test_what_is_unknown_is_refused_in_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    valid = f"valid: {', '.join(data.benchmarks())}"
    assert program.main(["data", "tid2012", "world", "root=x", "paths.data="]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "root: unknown key; valid: paths.data, experiment",
        "paths.data: empty; give a folder: paths.data=data",
        f"data: tid2012: no such benchmark; did you mean tid2013? {valid}",
        f"data: world: reads no download; {valid}",
    ]


def test_names_are_completed_without_importing_them() -> None:
    assert completion.words("clip-align data ti") == ["tid2008", "tid2013", "tiny_imagenet"]
    check = "import sys; from clip_align.commands import data; data.benchmarks(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert lines(capsys, "--help") == data.HELP.splitlines()


def test_what_an_experiment_reads_is_listed_by_its_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    heads = [x for x in lines(capsys, "experiment=paper", f"paths.data={tmp_path}") if x[:1].strip()]
    assert heads == ["noise/cifar100: CIFAR-100", "texture/cue_conflict: Cue conflict", "human/tid2013: TID2013"]
    assert lines(capsys, "experiment=main") == ["experiment=main reads no download"]
    assert program.main(["data", "experiment=papers"]) == 2
    names = sorted(path.stem for path in (conf_dir() / "experiment").glob("*.yaml"))
    valid = f"experiment: papers: no such experiment; valid: {', '.join(names)}"
    assert capsys.readouterr().err.splitlines() == [valid]
