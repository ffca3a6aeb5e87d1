# SPDX-License-Identifier: Apache-2.0
"""Prompt templates that the field uses, by name."""

from __future__ import annotations

from collections.abc import Sequence

from clip_align.errors import UserError, option_problem

__all__ = ["CIFAR_TEMPLATES", "TEMPLATE_SETS", "templates_of"]

# openai/CLIP, data/prompts.md (MIT), CIFAR-10 and CIFAR-100: nine forms, each with "a" and with "the"
_KINDS = ("", "blurry ", "black and white ", "low contrast ", "high contrast ", "bad ", "good ")
CIFAR_TEMPLATES: tuple[str, ...] = tuple(
    template
    for article in ("a", "the")
    for template in (
        *(f"a {kind}photo of {article} {{}}." for kind in _KINDS),
        *(f"a photo of {article} {size} {{}}." for size in ("small", "big")),
    )
)
TEMPLATE_SETS = ("imagenet", "imagenet7", "cifar", "plain", "names")


def templates_of(given: str | Sequence[str], benchmark: str) -> tuple[str, ...]:
    """Templates with ``{}`` for the class.

    Args:
        given: ``imagenet`` (the 80 of CLIP's authors), ``imagenet7`` (their 7), ``cifar`` (their 18), ``plain`` (``a
            photo of a {}.``), ``names`` (the bare names), a template, or several.
        benchmark: key of the benchmark, for error messages.

    UserError for a text that is none of them and has no ``{}``.
    """
    templates = (given,) if isinstance(given, str) else tuple(given)
    if len(templates) == 1 and templates[0] in TEMPLATE_SETS:
        return _named(templates[0])
    wrong = next((template for template in templates if template.count("{}") != 1), None)
    if wrong is not None or not templates:
        what = f"{wrong!r} has no {{}} for the class" if wrong is not None else "there are none"
        valid = f"one of {', '.join(TEMPLATE_SETS)}, or texts with one {{}} each"
        raise UserError(option_problem(benchmark, "templates", f"templates: {what}; give {valid}"))
    return templates


def _named(name: str) -> tuple[str, ...]:
    fixed = {"cifar": CIFAR_TEMPLATES, "plain": ("a photo of a {}.",), "names": ("{}",)}
    if name in fixed:
        return fixed[name]
    from open_clip import zero_shot_metadata as openai  # slow to import, and for these templates alone

    functions = openai.OPENAI_IMAGENET_TEMPLATES if name == "imagenet" else openai.SIMPLE_IMAGENET_TEMPLATES
    return tuple(function("{}") for function in functions)
