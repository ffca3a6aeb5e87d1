# SPDX-License-Identifier: Apache-2.0
"""Captions from the bytes of a ``txt`` or ``json`` member."""

from __future__ import annotations

import json

from clip_align.data.bad_samples import BAD_TEXT, NO_CAPTION, BadSample


def caption_of(raw: bytes, is_json: bool) -> str:
    """The caption: UTF-8, a byte-order mark and NULs dropped, white space and line breaks one blank.

    Of a json the string under ``caption``. BadSample when it is empty or missing, or not text.
    """
    try:
        text = raw.decode("utf-8-sig")
        value = json.loads(text) if is_json else text
    except (ValueError, RecursionError):  # not UTF-8, not json
        raise BadSample(BAD_TEXT) from None
    if is_json:
        if not isinstance(value, dict):
            raise BadSample(BAD_TEXT)
        value = value.get("caption")
    return clean(value)


def clean(value: object) -> str:
    """A caption without what no tokenizer reads; BadSample when nothing is left or it is no text."""
    if value is None:
        raise BadSample(NO_CAPTION)
    if not isinstance(value, str):
        raise BadSample(BAD_TEXT)
    caption = " ".join(value.replace("\0", " ").split())
    if not caption:
        raise BadSample(NO_CAPTION)
    return caption
