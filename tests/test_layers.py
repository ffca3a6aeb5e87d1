# SPDX-License-Identifier: Apache-2.0
"""Imports go down the levels: read from the source with ast, so that a lazy import counts too."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "clip_align"

# Lower rooms first; a module imports from rooms before its own, or from its own room.
ROOMS = (
    ("errors", "spelling", "known_answer"),
    ("structure", "source_code", "processes"),
    ("open_clip_names", "open_clip_prompts", "kinds", "runs"),
    ("record",),
    ("config",),
    ("config_plain",),
    ("settings",),
    ("metrics",),
    ("analysis",),
    ("perception",),
    ("losses",),
    ("models",),
    ("data",),
    ("evaluation",),
    ("report",),
    ("callbacks",),
    ("testing",),
    ("tracking",),
    ("training",),
    ("series",),
    ("bench",),
    ("api",),
    ("commands",),
    ("__main__",),
)
LEVEL = {name: level for level, names in enumerate(ROOMS) for name in names}

HEAVY = {"torch", "torchvision", "torchmetrics", "pytorch_lightning", "open_clip", "timm"}
WITHOUT_TORCH = {name for names in ROOMS[:6] for name in names} | {"metrics", "analysis", "perception", "report"}
MAY_IMPORT_TORCH = {"metrics/modules.py", "processes/ranks.py"}
LIGHTNING = {"callbacks", "testing", "training", "bench", "commands"}
ONLY_IN = {
    "wandb": lambda module: module == "tracking/wandb.py",
    "hydra": lambda module: (
        module in ("settings/compose.py", "settings/parse_overrides.py") or module.startswith("commands/")
    ),
    "pytorch_lightning": lambda module: (
        module.split("/")[0] in {"callbacks", "testing", "training", "bench", "commands"}
    ),
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Dotted names imported anywhere in a module, also inside functions, with their line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def type_checking_lines(path: Path) -> set[int]:
    """Lines under ``if TYPE_CHECKING``: names for the type checker, not imports of the program."""
    lines: set[int] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    here, skipped = room(path), type_checking_lines(path)
    if here == "__init__":
        return
    for name, line in imports(path):
        parts = name.split(".")
        if parts[0] == "clip_align" and len(parts) > 1 and line not in skipped and parts[1] in LEVEL:
            there = parts[1]
            assert LEVEL[there] <= LEVEL[here], f"{path}:{line}: {here} imports {name}, which is above it"


# Folders of callbacks/ that are not families: what follows a Trainer's hooks, and what several benchmarks share.
SHARED = ("trainer", "common")


@pytest.mark.parametrize("path", sorted((PACKAGE / "callbacks").rglob("*.py")), ids=lambda p: p.stem)
def test_a_benchmark_imports_no_other(path: Path) -> None:
    families = {p.name for p in (PACKAGE / "callbacks").iterdir() if p.is_dir()} - set(SHARED)
    parts = path.relative_to(PACKAGE / "callbacks").parts
    if len(parts) == 1:
        return
    above = families | set(SHARED[SHARED.index(parts[0]) + 1 :]) if parts[0] in SHARED else families
    for name, line in imports(path):
        words = name.split(".")
        if words[:2] == ["clip_align", "callbacks"] and len(words) > 3 and words[2] in above:
            own = ["clip_align", "callbacks", parts[0], path.stem]
            assert words[:4] == own, f"{path}:{line}: {parts[0]} imports {name}"


# Folders of data/ with what one way of reading needs; a source chooses its way.
WAYS_OF_READING = ("indexed", "streaming")


def test_a_way_of_reading_is_known_to_sources_and_itself() -> None:
    for path in modules():
        parts = path.relative_to(PACKAGE).parts
        if parts[:2] == ("data", "sources"):
            continue
        others = [f"clip_align.data.{way}." for way in WAYS_OF_READING if parts[:2] != ("data", way)]
        for name, line in imports(path):
            assert not f"{name}.".startswith(tuple(others)), f"{path}:{line}: imports {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_packages_stay_where_they_belong(path: Path) -> None:
    module, skipped = path.relative_to(PACKAGE).as_posix(), type_checking_lines(path)
    for name, line in imports(path):
        top = name.split(".")[0]
        if line in skipped:
            continue
        if room(path) in WITHOUT_TORCH and module not in MAY_IMPORT_TORCH:
            assert top not in HEAVY, f"{path}:{line}: imports {top}"
        if top in ONLY_IN:
            assert ONLY_IN[top](module), f"{path}:{line}: only elsewhere may {top} be imported"


def test_no_circle_of_modules() -> None:
    """Names for the type checker count: who reads one module should not have to read the other first."""
    names = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in modules()}
    below = {name: {other for other, _ in imports(path) if other in names} for name, path in names.items()}
    with_all_below_gone = dict(below)
    while free := {name for name, others in with_all_below_gone.items() if not others & with_all_below_gone.keys()}:
        with_all_below_gone = {n: o for n, o in with_all_below_gone.items() if n not in free}
    assert not with_all_below_gone, f"these import each other, or stand above those that do: {[*with_all_below_gone]}"


def test_every_room_is_known() -> None:
    assert {room(p) for p in modules()} - {"__init__"} <= set(LEVEL)


def test_package_inits_are_empty() -> None:
    for path in PACKAGE.glob("*/**/__init__.py"):
        code = [n for n in ast.parse(path.read_text(encoding="utf-8")).body if not isinstance(n, ast.Expr)]
        assert not code, f"{path} runs code: finding a callback imports its parents"


def test_the_package_itself_imports_nothing() -> None:
    code = (
        "import sys, clip_align; sys.exit(any(m.partition('.')[0] in {'torch', 'numpy', 'hydra'} for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=600).returncode == 0


def test_light_modules_do_not_pull_in_torch() -> None:
    light = (
        "settings.load_config",
        "settings.resume_config",
        "record.record",
        "report.page",
        "report.figures",
        "api",
        "__main__",
    )
    statements = "; ".join(f"import clip_align.{name}" for name in light)
    code = f"import sys; {statements}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=600).returncode == 0
