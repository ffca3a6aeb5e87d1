# SPDX-License-Identifier: Apache-2.0
"""``verify``: known answers, measured beside expected. The rows are declared next to the code that they check."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clip_align.config import PathsConfig
from clip_align.errors import Problem, UserError, visible
from clip_align.known_answer import KnownAnswer
from clip_align.spelling import nearest, unknown_options

SUMMARY = "compare this installation with published numbers: measured beside expected"
ALL = "all"
FUNCTION = "known_answers"
COMPANION = "_answers"  # psnr_answers.py answers for psnr
KEYS = ("root", "paths.data")
PACKAGE = Path(__file__).resolve().parents[1]
NAME_WIDTH, NUMBER_WIDTH = 66, 11
HELP = """python -m clip_align verify <name> [root=<folder>] [paths.data=<folder>]
python -m clip_align verify all

Prints known answers, measured beside expected. Exit code: 0 all within their tolerances, 1 otherwise, 2 refused.
  all             every row that needs no data
  root=           folder of the data set; default: the folder of the benchmark's name under paths.data (default: data)
Names:"""


@dataclass(frozen=True)
class Declared:
    """Known answers that a module declares.

    name: by which ``verify`` calls them. module: dotted name. needs_root: whether they are of a data set on disk.
    about: first line of the function's docstring.
    """

    name: str
    module: str
    needs_root: bool
    about: str

    def rows(self, root: Path | None = None) -> Iterable[KnownAnswer]:
        """The rows, computed as they are taken; imports the module."""
        function: Callable[..., Iterable[KnownAnswer]] = getattr(importlib.import_module(self.module), FUNCTION)
        return function(root) if self.needs_root else function()


def main(arguments: Sequence[str]) -> int:
    """Print the rows; returns the exit code."""
    known = declared()
    if any(a in ("--help", "-h") for a in arguments):
        print("\n".join([HELP, *(f"  {d.name:22} {_about(d)}" for d in known.values())]))
        return 0
    names = [a for a in arguments if "=" not in a]
    options = dict(a.split("=", 1) for a in arguments if "=" in a)
    _refuse(names, options, known)
    (name,) = names
    if name == ALL:
        chosen = [d for d in known.values() if not d.needs_root]
        return _verify([(d, None) for d in chosen], [d.name for d in known.values() if d.needs_root])
    one = known[name]
    folder = options.get("root") or f"{options.get('paths.data', PathsConfig().data)}/{name}"
    return _verify([(one, Path(folder).expanduser() if one.needs_root else None)], [])


def declared(package: Path = PACKAGE) -> dict[str, Declared]:
    """What the package's modules declare, by name, read from their source without importing them."""
    found: dict[str, Declared] = {}
    for path in sorted(package.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if f"\ndef {FUNCTION}(" not in text:  # parsing every module would take a second
            continue
        node = next(n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef) and n.name == FUNCTION)
        module = ".".join((package.name, *path.relative_to(package).with_suffix("").parts))
        name = path.stem.removesuffix(COMPANION)
        about = (ast.get_docstring(node) or "").partition("\n")[0]
        found[name] = Declared(name, module, bool(node.args.args), about)
    return dict(sorted(found.items()))


def line(row: KnownAnswer) -> str:
    """A row as it is printed: plain digits, four decimals, whole numbers without."""
    whole = isinstance(row.measured, int) and isinstance(row.expected, int | None)
    numbers = [row.measured, row.expected, row.tolerance]
    texts = ["-" if n is None else f"{n:d}" if isinstance(n, int) and whole else f"{n:z.4f}" for n in numbers]
    if row.expected is None or whole:
        texts[2] = "-"  # no tolerance applies
    verdict = "" if row.expected is None else "ok" if row.within else "DIFFERS"
    return f"{row.name:<{NAME_WIDTH}}" + "".join(f"{text:>{NUMBER_WIDTH}}" for text in texts) + f"  {verdict}".rstrip()


def _verify(chosen: Iterable[tuple[Declared, Path | None]], not_run: Sequence[str]) -> int:
    header = "".join(f"{text:>{NUMBER_WIDTH}}" for text in ("measured", "expected", "tolerance"))
    compared = wrong = 0
    for one, root in chosen:
        rows = iter(one.rows(root))
        first = next(rows, None)  # before the header: a data set that is not there is refused
        print(f"\n{one.about}\n{one.name:<{NAME_WIDTH}}{header}", flush=True)
        for row in (*(() if first is None else (first,)), *rows):
            print(visible(line(row)), flush=True)
            compared += row.expected is not None
            wrong += not row.within
    if not_run:
        print(f"\nnot run, they need data (root=…): {', '.join(not_run)}")
    print(f"\n{compared} known answers: {f'{wrong} DIFFER' if wrong else 'all within tolerance'}")
    return 1 if wrong else 0


def _about(one: Declared) -> str:
    return one.about + (" (needs root=)" if one.needs_root else "")


def _refuse(names: Sequence[str], options: Mapping[str, str], known: Mapping[str, Declared]) -> None:
    errors = unknown_options(options, KEYS)
    valid = [ALL, *known]
    if len(names) != 1:
        errors.append(Problem("verify", f"{'what?' if not names else 'one at a time;'} valid: {', '.join(valid)}"))
    elif names[0] not in valid:
        guess = nearest(names[0], valid)
        hint = f"did you mean {guess}? " if guess else ""
        errors.append(Problem(names[0], f"no known answers of that name; {hint}valid: {', '.join(valid)}"))
    elif names[0] == ALL or not known[names[0]].needs_root:
        errors += [Problem(k, f"{names[0]} needs no data; leave {k}= out") for k in KEYS if k in options]
    if options.get("root") == "" and not errors:
        errors.append(Problem("root", "empty; give the folder of the data set"))
    if errors:
        raise UserError(*errors)
