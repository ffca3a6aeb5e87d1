# SPDX-License-Identifier: Apache-2.0
"""``data``: the data sets that benchmarks read: what they are, where to get them, and whether they are there."""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clip_align.config import PathsConfig, conf_dir
from clip_align.errors import Problem, UserError, visible
from clip_align.settings import yaml_keys
from clip_align.settings.compose import compose
from clip_align.settings.signatures import assigns
from clip_align.spelling import nearest, unknown_options

if TYPE_CHECKING:
    from clip_align.perception.download import Download

SUMMARY = "list the data sets that benchmarks read, where to get them, and whether they are there"
HELP = """python -m clip_align data [<benchmark> ...] [experiment=<name>] [paths.data=<folder>]

Prints for each benchmark that reads a download: what it is, its source, size and terms, what is expected in its
folder, and whether it is found there. paths.data (default: data) holds one sub-folder per data set; a data set
elsewhere is named with callbacks.<benchmark>.root=<folder> in train. experiment=paper lists what that experiment
reads. Nothing is downloaded."""
KEYS = ("paths.data", "experiment")
ROOT = "${paths.data}"
WIDTH = 120  # characters a line; continued lines are indented like the first one's text


def main(arguments: Sequence[str]) -> int:
    """Print the data sets; returns the exit code, 0 whether they are there or not."""
    if any(a in ("--help", "-h") for a in arguments):
        print(HELP)
        return 0
    names = [a for a in arguments if "=" not in a]
    options = dict(a.split("=", 1) for a in arguments if "=" in a)
    known = benchmarks()
    _refuse(names, options, known)
    folder = options.get("paths.data", PathsConfig().data)
    if (experiment := options.get("experiment")) is not None:
        names += _of_experiment(experiment, known)
        if not names:
            print(f"experiment={experiment} reads no download")
            return 0
    chosen = list(dict.fromkeys(names)) or known
    print("\n\n".join("\n".join(_described(name, folder)) for name in chosen))
    return 0


def _of_experiment(name: str, known: Sequence[str]) -> list[str]:
    """The benchmarks of an experiment that read a download."""
    chosen = compose([f"experiment={name}"]).plain["callbacks"]  # what else an experiment needs is typed for the run
    return [benchmark for benchmark in known if benchmark in chosen]


def benchmarks() -> list[str]:
    """Shipped benchmarks that read a download, by name; read from the sources, without importing them."""
    return [
        name for name in yaml_keys.options("callbacks") if any(assigns(target, "download") for target in _targets(name))
    ]


def _targets(name: str) -> list[str]:
    return yaml_keys.targets(conf_dir() / "callbacks" / f"{name}.yaml")


def _refuse(names: Sequence[str], options: dict[str, str], known: Sequence[str]) -> None:
    errors = unknown_options(options, KEYS)
    for key, value in options.items():
        if key == "experiment" and value not in (valid := yaml_keys.options("experiment")):
            errors.append(Problem(key, f"{value or 'empty'}: no such experiment; valid: {', '.join(valid)}"))
        elif key in KEYS and not value.strip():
            errors.append(Problem(key, "empty; give a folder: paths.data=data"))
    for name in names:
        if name in known:
            continue
        if name in yaml_keys.options("callbacks"):
            what = "reads no download;"
        else:
            guess = nearest(name, known)
            what = "no such benchmark;" + (f" did you mean {guess}?" if guess else "")
        errors.append(Problem("data", f"{name}: {what} valid: {', '.join(known)}"))
    if errors:
        raise UserError(*errors)


def _described(name: str, data: str) -> list[str]:
    """The lines about a benchmark."""
    (target,) = _targets(name)
    module, _, of = target.rpartition(".")
    benchmark = getattr(importlib.import_module(module), of)  # its constructor would read the data
    download: Download = benchmark.download
    root = _root(name).replace(ROOT, data)
    missing = download.missing(Path(root).expanduser())
    found = f"no: {_listed(missing)} not in {root}" if missing else f"yes, in {root}"
    facts = {
        "what": download.what,
        "source": download.address,
        "size": download.size,
        "terms": download.terms,
        "cite": download.citation,
        "expected": f"{root}/ with {', '.join(download.needed)}",
        "found": found,
        "use": f"callbacks=[{name}]",
    }
    lines = [f"{benchmark.family}/{name}: {download.name}"]
    for label, text in facts.items():
        start, rest = f"  {label:9}", " " * 11
        lines += textwrap.wrap(
            visible(text), WIDTH, initial_indent=start, subsequent_indent=rest, break_on_hyphens=False,
            break_long_words=False,
        )  # fmt: skip
    return lines


def _root(name: str) -> str:
    """The folder of a benchmark as its yaml has it."""
    keys = yaml_keys.keys(conf_dir() / "callbacks" / f"{name}.yaml", "callbacks")
    roots = [key.default for key in keys if key.name == f"callbacks.{name}.root"]
    return roots[0] if roots and roots[0].startswith(ROOT) else f"{ROOT}/{name}"


def _listed(missing: Sequence[str]) -> str:
    return missing[0] + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
