# SPDX-License-Identifier: Apache-2.0
"""Captions from the bytes of a ``txt`` or ``json`` member, or of both."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from clip_align.data.bad_samples import BAD_TEXT, NO_CAPTION, BadSample
from clip_align.data.sample_rules import TXT
from clip_align.errors import some_of

# of a txt or json: a longer one is no caption, and parsing it takes many times its size in memory
MOST_TEXT_BYTES = 2**20
MOST_CAPTIONS = 64  # of one image
_KEYS_SHOWN = 12  # of a json without a caption, in its message


class Captions(list[str]):
    """The captions of one image. weights: with which each is drawn, None: equal ones."""

    def __init__(self, texts: Iterable[str], weights: Iterable[float] | None = None) -> None:
        super().__init__(texts)
        self.weights = None if weights is None else tuple(weights)

    def chosen(self, draw: float) -> str:
        """One of them. ``draw``: a uniform number in [0, 1)."""
        if self.weights is None:
            return self[int(draw * len(self))]
        rest = draw * sum(self.weights)
        for text, weight in zip(self, self.weights, strict=True):
            if (rest := rest - weight) < 0:
                return text
        return self[-1]  # by rounding


def captions_of(raw: bytes, is_json: bool, lines: bool = False) -> Captions:
    """The captions of one image, at least one: the text of a txt, the string or list under ``caption`` of a json.

    Args:
        raw: of the member. Text is UTF-8; a byte-order mark and NULs are dropped, and runs of white space become one
            blank.
        is_json: whether it is a json. Unusable entries of a list are ignored.
        lines: each line of a txt is a caption; empty ones are ignored.

    BadSample if there is no caption (with the keys that the json has) or if it is not text.
    """
    if not is_json:
        text = _text(raw)
        return Captions(_usable(text.splitlines())) if lines else Captions([clean(text)])
    value = _fields(raw)
    if "caption" not in value and value:  # its keys show under which name the caption may be
        raise BadSample(NO_CAPTION, f"its json has: {_shown(list(value))}")
    found = value.get("caption")
    return Captions(_usable(found) if isinstance(found, list) else [clean(found)])


def captions_in(fields: Mapping[str, float], lines: bool, txt: bytes | None, facts: bytes | None) -> Captions:
    """The captions of one image in several places, at least one.

    Args:
        fields: names of the json's fields, or ``txt``, in order, with the weight of each: all captions of a field
            together are drawn with it, among the fields that this image has.
        lines: as of `captions_of`.
        txt: bytes of the txt; None: it has none.
        facts: bytes of the json; None: it has none.

    Unusable captions and absent fields are ignored. BadSample if none is left.
    """
    values: dict[str, Any] = {}
    reasons: list[BadSample] = []
    try:
        values = _fields(facts) if facts is not None else {}
    except BadSample as error:
        reasons.append(error)
    texts, weights = list[str](), list[float]()
    for name, weight in fields.items():
        try:
            if name == TXT:
                found = captions_of(txt, False, lines) if txt is not None else []
            else:
                value = values.get(name)
                found = [] if value is None else _usable(value) if isinstance(value, list) else [clean(value)]
        except BadSample as error:
            reasons.append(error)
        else:
            texts += found
            weights += [weight / len(found) for _ in found]
    if not texts:
        detail = f"its json has: {_shown(list(values))}" if values else ""
        raise reasons[0] if reasons else BadSample(NO_CAPTION, detail)
    return Captions(texts, weights)


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")  # drops a byte-order mark
    except ValueError:
        raise BadSample(BAD_TEXT) from None


def _fields(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(_text(raw))
    except (ValueError, RecursionError):  # not json, a number of thousands of digits
        raise BadSample(BAD_TEXT) from None
    if not isinstance(value, dict):
        raise BadSample(BAD_TEXT)
    return value


def _usable(entries: list[Any]) -> list[str]:
    """The usable captions of a list; BadSample if there is none."""
    good, reasons = list[str](), list[BadSample]()
    for entry in entries[:MOST_CAPTIONS]:
        try:
            good.append(clean(entry))
        except BadSample as error:
            reasons.append(error)
    if not good:  # the cause of the first entry stands for all
        raise reasons[0] if reasons else BadSample(NO_CAPTION)
    return good


def clean(value: object) -> str:
    """A caption without NULs and repeated white space; BadSample if it is empty or not text."""
    if value is None:
        raise BadSample(NO_CAPTION)
    if not isinstance(value, str):
        raise BadSample(BAD_TEXT)
    try:
        value.encode()  # tokenizers and records need text that can be encoded
    except UnicodeEncodeError:  # a lone surrogate, which only json can encode
        raise BadSample(BAD_TEXT) from None
    caption = " ".join(value.replace("\0", " ").split())  # split() knows all of Unicode's white space
    if not caption:
        raise BadSample(NO_CAPTION)
    return caption


def _shown(keys: list[str]) -> str:
    return some_of([key[:40] for key in keys], _KEYS_SHOWN)
