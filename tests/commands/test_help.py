# SPDX-License-Identifier: Apache-2.0
"""What the command line reports about itself: help by group, version, configuration, completion."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from clip_align import __main__ as program
from clip_align.commands import command_names, completion, train_help
from clip_align.config import Config, conf_dir
from clip_align.config_plain import from_plain
from clip_align.errors import UserError
from clip_align.settings import yaml_keys
from clip_align.settings.load_config import load


def reported(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert program.main(list(words)) == 0
    return capsys.readouterr().out.splitlines()


def test_help_of_a_group_has_every_key_of_every_option_with_its_default() -> None:
    for group in yaml_keys.groups():
        text = train_help.of_group(group)
        for option in yaml_keys.options(group):
            assert f"\n{group}={option}" in f"\n{text}", (group, option)
            for key in yaml_keys.keys(conf_dir() / group / f"{option}.yaml", group):
                assert not key.default or f"\n  {key.name}={key.default}" in text, key
        assert max(map(len, text.splitlines())) <= 120


def test_help_of_one_option_a_group_without_options_and_something_else(capsys: pytest.CaptureFixture[str]) -> None:
    lines = reported(capsys, "train", "--help", "data=world")
    assert lines[0] == "data=world"
    assert "  data.images=20000                            training images" in lines
    assert not any("data.csv" in line for line in lines)
    assert reported(capsys, "train", "--help", "paths")[0] == "paths"
    for wrong, line in (
        ("dta", "--help dta: no such group or option; did you mean data? valid: callbacks, checkpoint, data, "),
        ("data=wrld", "--help data=wrld: no such group or option; did you mean data=world? valid: data=cifar10, "),
    ):
        assert program.main(["train", "--help", wrong]) == 2
        assert capsys.readouterr().err.startswith(line)


def test_help_of_the_model_lists_the_names_that_need_no_network() -> None:
    words = train_help.of_group("model").split()
    assert {"ViT-B-32", "RN50x4", "convnext_base"} <= set(words)


def test_keys_of_nested_yaml_and_of_the_whole_configuration(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("# About it,\n# in two lines.\ndefaults:\n  - a: b\nkind: x\na: 1  # one\nb:\n  c: '2'\n  d: [3]\n")
    assert yaml_keys.about(file) == "About it, in two lines."
    assert [(k.name, k.default, k.about) for k in yaml_keys.keys(file, "g")] == [
        ("g.a", "1", "one"), ("g.b", "", ""), ("g.b.c", "'2'", ""), ("g.b.d", "[3]", ""),
    ]  # fmt: skip
    file.write_text("a: 1  # one,\n      # two,\n      # three\n# not it\nb: 2\n")
    assert [(k.name, k.about) for k in yaml_keys.keys(file, "g")] == [("g.a", "one, two, three"), ("g.b", "")]
    file.write_text("# @package _global_\nseed: 1\n")
    assert [k.name for k in yaml_keys.keys(file, "experiment")] == ["seed"]


@pytest.mark.parametrize("words", [["--version"], ["train", "--version"]])
def test_version(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = reported(capsys, *words)
    assert line.startswith("clip-align ")


@pytest.mark.parametrize("flag", [["--cfg"], ["--cfg", "job"]])
def test_cfg_prints_a_configuration_that_can_be_read_back(flag: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    printed = "\n".join(reported(capsys, "train", "seed=3", *flag, "callbacks=[]", "model=vit_b_32"))
    config: Config = from_plain(yaml.safe_load(printed))
    assert config == load(["seed=3", "callbacks=[]", "model=vit_b_32"])
    assert program.main(["train", "--cfg", "seed=x"]) == 2


def test_commands_are_what_the_folder_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(command_names.commands()) == ["train", "bench", "completion", "data", "evaluate", "report", "verify"]
    (tmp_path / "other.py").write_text('"""Not one."""\n')
    (tmp_path / "mine.py").write_text('SUMMARY = "do mine"\ndef main(arguments): return 0\n')
    monkeypatch.setattr(command_names, "FOLDER", tmp_path)
    assert command_names.commands() == {"mine": "do mine"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("clip-align tr", ["train"]),
        ("clip-align train data=w", ["data=webdataset", "data=world"]),
        ("train.py trainer.max", ["trainer.max_steps="]),
        ("./train.py checkpoint.k", ["checkpoint.keep_last=", "checkpoint.keep_per_octave="]),
        ("clip-align train --m", ["--multirun"]),
        ("clip-align completion ", ["bash", "zsh"]),
        ("clip-align train nothing=", []),
    ],
)
def test_completion(line: str, words: list[str]) -> None:
    assert completion.words(line) == words


def test_completion_of_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "config.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    assert completion.words("clip-align report m") == ["mine"]
    assert completion.words("clip-align evaluate m") == ["mine"]


def test_the_script_completes_in_bash(capsys: pytest.CaptureFixture[str]) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    script = "\n".join(reported(capsys, "completion", "bash"))
    line = "clip-align train data=wo"
    code = f'{script}\nCOMP_LINE="{line}"; COMP_POINT={len(line)}; _clip_align; echo "${{COMPREPLY[*]}}"'
    done = subprocess.run([bash, "-c", code], capture_output=True, text=True, timeout=600)
    assert (done.stdout, done.stderr) == ("world\n", "")
    assert "bashcompinit" in reported(capsys, "completion", "zsh")[0]
    with pytest.raises(UserError, match="no shell given"):
        completion.main(["fish"])
