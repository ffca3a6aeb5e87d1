# SPDX-License-Identifier: Apache-2.0
"""Prompt templates that the field uses, by name."""

from __future__ import annotations

from collections.abc import Sequence

from clip_align.errors import UserError, option_problem
from clip_align.open_clip_prompts import CIFAR_TEMPLATES, TEMPLATE_SETS, templates_from

__all__ = ["CIFAR_TEMPLATES", "TEMPLATE_SETS", "templates_of"]


def templates_of(given: str | Sequence[str], benchmark: str) -> tuple[str, ...]:
    """Templates with ``{}`` for the class.

    Args:
        given: ``imagenet`` (the 80 of CLIP's authors), ``imagenet7`` (their 7), ``cifar`` (their 18), ``plain`` (``a
            photo of a {}.``), ``names`` (the bare names), a template, or several.
        benchmark: key of the benchmark, for error messages.

    UserError for a text that is none of them and has no ``{}``.
    """
    try:
        return templates_from(given)
    except ValueError as error:
        raise UserError(option_problem(benchmark, "templates", f"templates: {error}")) from None
