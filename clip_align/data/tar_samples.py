# SPDX-License-Identifier: Apache-2.0
"""The samples of a tar, from its members: the usable ones, the bad ones, and those that a condition filters out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from clip_align.data.bad_samples import DAMAGED, NO_CAPTION, NO_IMAGE, NOT_AN_IMAGE, TOO_LARGE, BadSample, Causes
from clip_align.data.captions import MOST_TEXT_BYTES, captions_in, captions_of
from clip_align.data.sample_rules import TXT, SampleRules
from clip_align.data.tar_members import Member
from clip_align.data.where import NO_JSON, Condition, NotSelectedError, condition, facts_of

__all__ = ["ABSENT", "IMAGES", "SortedSamples", "UsableSample", "sorted_samples"]

IMAGES = ("jpg", "jpeg", "png", "webp")
MOST_FIELDS = 64  # names of fields that are remembered, for messages
ABSENT = Member(b"", 0, 0)
_USED = (*IMAGES, "txt", "json")


class _Sample(NamedTuple):
    key: bytes
    parts: dict[str, Member]  # extension -> member


class UsableSample(NamedTuple):
    """A sample's key, and its members.

    text: of no bytes, where captions are in ``json`` alone. is_json: whether ``text`` is a json. json: where captions
    may be in both, else None.
    """

    key: bytes
    image: Member
    text: Member
    is_json: bool
    json: Member | None


@dataclass
class SortedSamples:
    """The samples of a tar. fields: of their json, as far as it was read."""

    usable: list[UsableSample] = field(default_factory=list)
    bad: Causes = field(default_factory=Causes)
    filtered: Causes = field(default_factory=Causes)
    fields: dict[str, None] = field(default_factory=dict)


def _samples(members: Iterable[Member]) -> Iterator[_Sample]:
    """Samples in the order of their first members."""
    latest: dict[bytes, _Sample] = {}
    ordered: list[_Sample] = []
    for member in members:
        key, _, extension = member.name.rpartition(b".")
        kind = extension.decode("ascii", "replace").lower()
        base = key.rpartition(b"/")[2]
        if kind not in _USED or not base or base.startswith(b"."):
            continue
        sample = latest.get(key)
        if sample is None or kind in sample.parts:
            sample = latest[key] = _Sample(key, {})
            ordered.append(sample)
        sample.parts[kind] = member
    return iter(ordered)


def sorted_samples(handle: int, members: Iterable[Member], dropping_last: bool, rules: SampleRules) -> SortedSamples:
    """The usable samples in the order of their first members, and the others by cause.

    Args:
        handle: of the tar.
        members: of the tar, in order.
        dropping_last: whether the tar is truncated: its last, incomplete sample is not counted.
        rules: which samples are used, and where their captions are.
    """
    samples = list(_samples(members))
    found = SortedSamples()
    wanted = condition(rules.where) if rules.where is not None else None
    for number, sample in enumerate(samples):
        key = sample.key.decode("utf-8", "replace")
        counted = not (dropping_last and number == len(samples) - 1) or _has_all(sample)
        try:
            if wanted is not None:  # first: nothing else matters of samples that are not wanted
                _check_wanted(handle, sample, wanted, found.fields)
            found.usable.append(_checked(handle, sample, rules))
        except NotSelectedError as error:
            if counted:
                found.filtered.add(error.cause, key)
        except BadSample as error:
            if counted:
                found.bad.add(error.cause, f"{key}, {error.detail}" if error.detail else key)
    return found


def _check_wanted(handle: int, sample: _Sample, wanted: Condition, fields: dict[str, None]) -> None:
    """NotSelectedError for a sample that is not wanted. ``fields``: receives names of its fields."""
    member = sample.parts.get("json")
    if member is None or member.problem:
        raise NotSelectedError(NO_JSON)
    facts = facts_of(os.pread(handle, min(member.size, MOST_TEXT_BYTES + 1), member.at))
    for name in facts:
        if len(fields) < MOST_FIELDS or name in wanted.fields:
            fields[name] = None
    wanted.check(facts)


def _has_all(sample: _Sample) -> bool:
    return "txt" in sample.parts and any(kind in sample.parts for kind in IMAGES)


def _checked(handle: int, sample: _Sample, rules: SampleRules) -> UsableSample:
    image = next((sample.parts[kind] for kind in IMAGES if kind in sample.parts), None)
    if image is None:
        raise BadSample(NO_IMAGE)
    text, is_json, facts = _texts(handle, sample, rules) if rules.fields else (*_text(handle, sample), None)
    if image.problem:
        raise BadSample(image.problem)
    if image.size == 0:
        raise BadSample(DAMAGED)
    if not _looks_like_an_image(os.pread(handle, 12, image.at)):
        raise BadSample(NOT_AN_IMAGE)
    return UsableSample(sample.key, image, text, is_json, facts)


def _texts(handle: int, sample: _Sample, rules: SampleRules) -> tuple[Member, bool, Member | None]:
    """The txt, False, and the json, as far as captions are looked for in them; BadSample if there is none."""
    of_json = any(name != TXT for name, _ in rules.fields)
    wanted = {"txt": TXT in rules.weights, "json": of_json}
    members = {kind: sample.parts[kind] for kind, used in wanted.items() if used and kind in sample.parts}
    for kind, member in [*members.items()]:
        if member.problem or member.size > MOST_TEXT_BYTES:
            if len(members) == 1:
                raise BadSample(member.problem or TOO_LARGE)
            del members[kind]
    raw = {kind: os.pread(handle, member.size, member.at) for kind, member in members.items()}
    captions_in(rules.weights, rules.lines, raw.get("txt"), raw.get("json"))
    return members.get("txt", ABSENT), False, members.get("json")


def _text(handle: int, sample: _Sample) -> tuple[Member, bool]:
    """The member with the caption, and whether it is a json; BadSample with the cause of the txt, else the json."""
    reasons = []
    for kind in ("txt", "json"):
        member = sample.parts.get(kind)
        if member is not None:
            try:
                _check_text(handle, member, kind == "json")
            except BadSample as error:
                reasons.append(error)
            else:
                return member, kind == "json"
    raise reasons[0] if reasons else BadSample(NO_CAPTION)


def _check_text(handle: int, member: Member, is_json: bool) -> None:
    if member.problem:
        raise BadSample(member.problem)
    if member.size > MOST_TEXT_BYTES:
        raise BadSample(TOO_LARGE)
    captions_of(os.pread(handle, member.size, member.at), is_json)


def _looks_like_an_image(head: bytes) -> bool:
    return head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
