# SPDX-License-Identifier: Apache-2.0
"""Run the checks of `battery` on a callback, for example one of an outside package.

    python -m clip_align.testing my_package.my_pairs.MyPairs root=/data/pairs

Arguments of the constructor are written as in a config. --size=64, --words=100, --context_length=77 and
--unknown=[boat,oven] choose another stub model: the side of its input in px, its vocabulary, the tokens of a text, the
words that it does not know. Exit code 0 if all checks pass, 1 if one fails, 2 if the
callback cannot be built.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from clip_align.callbacks.base import PerceptualCallback
from clip_align.callbacks.build import build_callbacks
from clip_align.config import CallbackConfig
from clip_align.errors import Problem, UserError, both
from clip_align.settings.callback_check import checked
from clip_align.structure import build
from clip_align.testing import battery
from clip_align.testing.stubs import Stub


def main(arguments: Sequence[str]) -> int:
    """Check one callback and print a line per check; returns the exit code."""
    if not arguments or arguments[0] in ("--help", "-h"):
        print(str(__doc__).partition("\n\n")[2].strip())
        return 0 if arguments else 2  # without arguments the help is an error message
    # Lightning's about its own Trainer (no logger, few workers)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    try:
        config, stub = both(
            lambda: _config(arguments[0], [text for text in arguments[1:] if not text.startswith("--")]),
            lambda: _stub([text for text in arguments[1:] if text.startswith("--")]),
        )
        key = _built(config).key
    except UserError as error:
        print(*error.lines, sep="\n", file=sys.stderr)
        return error.exit_code
    failed = 0
    with tempfile.TemporaryDirectory(prefix="clip-align-") as folder:
        checks: tuple[battery.Check, ...] = (battery.same_on_two_ranks, *battery.CHECKS)
        for check in checks:  # the first one forks: before torch computes
            try:
                check(lambda: _built(config), Path(folder) / check.__name__, stub)
                print(f"passed   {check.__name__}", flush=True)
            except Exception as error:  # of a check, or whatever the callback raises: the others still run
                failed += 1
                what = str(error) if isinstance(error, battery.CheckFailedError) else f"{type(error).__name__}: {error}"
                print(f"FAILED   {check.__name__}: {' '.join(what.split())}", flush=True)
    print(f"{key}: {f'{failed} of {len(checks)} checks failed' if failed else 'all checks passed'}")
    return 1 if failed else 0


def _config(target: str, typed: Sequence[str]) -> CallbackConfig:
    wrong = [text for text in typed if "=" not in text]
    if wrong:
        raise UserError(*(f"{text}: not of the form argument=value" for text in wrong))
    # values as YAML reads them: numbers, lists, null
    arguments = {name: yaml.safe_load(value) for name, _, value in (text.partition("=") for text in typed)}
    errors: list[Problem] = []
    name = target.rpartition(".")[0].rpartition(".")[2].lower()  # of the module: a default key, as in Python
    found = checked({name: CallbackConfig(target, arguments)}, errors)
    if errors:
        raise UserError(*errors)
    return found[name]


def _stub(typed: Sequence[str]) -> Stub:
    given = {name: yaml.safe_load(value) for name, _, value in (text[2:].partition("=") for text in typed)}
    errors: list[Problem] = []
    stub = build(Stub, given, "", errors)
    if errors or stub is None:
        raise UserError(*(replace(problem, shown=f"--{problem.key}") for problem in errors))
    return stub


def _built(config: CallbackConfig) -> PerceptualCallback:
    return build_callbacks({config.target.rpartition(".")[0].rpartition(".")[2].lower(): config})[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
