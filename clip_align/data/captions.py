# SPDX-License-Identifier: Apache-2.0
"""Captions from the bytes of a ``txt`` or ``json`` member."""

from __future__ import annotations

import json

from clip_align.data.bad_samples import BAD_TEXT, NO_CAPTION, BadSample
from clip_align.errors import some_of

# of a txt or json: a longer one is no caption, and parsing it takes many times its size in memory
MOST_TEXT_BYTES = 2**20
MOST_CAPTIONS = 64  # of one image
_KEYS_SHOWN = 12  # of a json without a caption, in its message


def captions_of(raw: bytes, is_json: bool) -> list[str]:
    """The captions of one image, at least one: the text of a txt, the string or list under ``caption`` of a json.

    Text is UTF-8; a byte-order mark and NULs are dropped, and runs of white space become one blank. Unusable entries of
    a list are ignored. BadSample if there is no caption (with the keys that the json has) or if it is not text.
    """
    try:
        text = raw.decode("utf-8-sig")  # drops a byte-order mark
        value = json.loads(text) if is_json else text
    except (ValueError, RecursionError):  # not UTF-8, not json, a number of thousands of digits
        raise BadSample(BAD_TEXT) from None
    if not is_json:
        return [clean(value)]
    if not isinstance(value, dict):
        raise BadSample(BAD_TEXT)
    if "caption" not in value and value:  # its keys show under which name the caption may be
        raise BadSample(NO_CAPTION, f"its json has: {_shown(list(value))}")
    value = value.get("caption")
    if not isinstance(value, list):
        return [clean(value)]
    good, reasons = list[str](), list[BadSample]()
    for entry in value[:MOST_CAPTIONS]:
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
