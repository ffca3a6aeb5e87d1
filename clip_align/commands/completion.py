# SPDX-License-Identifier: Apache-2.0
"""``completion``: a script that completes commands, keys and options in bash and zsh."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from clip_align.bench.options import KINDS, keys_of
from clip_align.commands import data
from clip_align.commands.command_names import commands
from clip_align.commands.verify import ALL, declared
from clip_align.config import PathsConfig, conf_dir
from clip_align.errors import Problem, UserError
from clip_align.runs.folder import is_run
from clip_align.settings import yaml_keys

SUMMARY = "print a script that completes commands, keys and options in bash or zsh"
HELP = """python -m clip_align completion bash|zsh

  bash  source <(clip-align completion bash)     # in ~/.bashrc
  zsh   source <(clip-align completion zsh)      # in ~/.zshrc
It completes clip-align, and train.py where that is called by its name (./train.py)."""
# bash splits words at "=": the part before it is on the line already, so it is removed from completions
SCRIPT = """_clip_align() {{
  local line="${{COMP_LINE:0:COMP_POINT}}" word
  word="${{line##* }}"
  COMPREPLY=( $({program} completion words "$line") )
  [[ $word == *=* && $COMP_WORDBREAKS == *=* ]] && COMPREPLY=( "${{COMPREPLY[@]#"${{word%%=*}}="}}" )
  [[ ${{COMPREPLY[*]}} == *= ]] && compopt -o nospace 2> /dev/null
  return 0
}}
complete -F _clip_align clip-align train.py ./train.py"""
ZSH = "autoload -U +X bashcompinit && bashcompinit"  # zsh runs the script for bash


def main(arguments: Sequence[str]) -> int:
    """Print the script of a shell, or the completions of a line (``words <line>``); returns the exit code."""
    program = f"{shlex.quote(sys.executable)} -m clip_align"
    match list(arguments):
        case ["bash"]:
            print(SCRIPT.format(program=program))
        case ["zsh"]:
            print(f"{ZSH}\n{SCRIPT.format(program=program)}")
        case ["words", line]:
            print("\n".join(words(line)))
        case ["--help" | "-h"]:
            print(HELP)
        case _:
            raise UserError(Problem("completion", "no shell given; valid: bash, zsh"))
    return 0


def words(line: str) -> list[str]:
    """Completions of the last word of a command line, which may be empty."""
    before = line.split(" ")  # not as a shell does: a quote may still be open
    program, last = Path(before[0]).name, before[-1]
    # train.py is the command train
    given = ["train", *before[1:]] if program == "train.py" else before[1:]
    if len(given) <= 1:
        found = list(commands())
    elif given[0] == "train":
        found = _of_train(last)
    elif given[0] in ("evaluate", "report"):
        runs = Path(PathsConfig().runs)
        found = sorted(path.name for path in runs.glob("*") if is_run(path) or any(map(is_run, path.glob("*"))))
    elif given[0] == "data":
        found = [*data.benchmarks(), "paths.data="]
    elif given[0] == "bench":
        chosen = next((word for word in given[1:-1] if word in KINDS), None)
        found = keys_of(KINDS[chosen].options) if chosen else list(KINDS)
    elif given[0] == "verify":
        found = [ALL, *declared()]
    else:
        found = ["bash", "zsh"] if given[0] == "completion" else []
    return [word for word in found if word.startswith(last)]


def _of_train(last: str) -> list[str]:
    """Groups, keys and flags; after ``=`` the options of a group."""
    group, equals, _ = last.partition("=")
    if equals:
        return [f"{group}={option}" for option in yaml_keys.options(group)] if group in yaml_keys.groups() else []
    # without default: a group, whose keys follow
    keys = {key.name for key in yaml_keys.keys(conf_dir() / "config.yaml") if key.default}
    for name in yaml_keys.groups():
        for option in yaml_keys.options(name):
            found = yaml_keys.keys(conf_dir() / name / f"{option}.yaml", name)
            keys.update(key.name for key in found if key.default and name != "experiment")
    chosen = [f"{key}=" for key in sorted(keys | set(yaml_keys.groups()))]
    return [*chosen, "--multirun", "--help", "--cfg", "--version"]
