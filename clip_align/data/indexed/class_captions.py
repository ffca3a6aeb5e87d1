# SPDX-License-Identifier: Apache-2.0
"""Captions of labelled images: the name of the class in each of several templates, of which a sample draws one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from clip_align.data.captions import Captions
from clip_align.data.indexed.inventory import Inventory
from clip_align.data.samples import Samples


class ClassCaptions:
    """Samples whose captions are their classes' names in all templates. Picklable.

    Which of them a sample has in an epoch is drawn by seed, epoch and its number, as for every image with several.

    Args:
        samples: of which each has one caption, the name of its class.
        templates: texts with ``{}`` for the name.
        blank: what stands for the underscores of a name.
    """

    def __init__(self, samples: Samples, templates: Sequence[str], blank: str = "_") -> None:
        self._samples, self.templates, self.blank = samples, tuple(templates), blank
        self.blocks: Sequence[int] = list(samples.blocks)

    def __len__(self) -> int:
        return len(self._samples)

    def image(self, number: int) -> bytes:
        """Bytes of the image file."""
        return self._samples.image(number)

    def captions(self, number: int) -> Captions:
        """The name of the class in each template."""
        (name,) = self._samples.captions(number)
        return Captions(template.replace("{}", name.replace("_", self.blank)) for template in self.templates)

    def key(self, number: int) -> str:
        """The key."""
        return self._samples.key(number)

    def place(self, number: int) -> tuple[str, int, int | None]:
        """Where the image's bytes are."""
        return self._samples.place(number)


def with_class_captions(
    found: Inventory,
    templates: Sequence[str],
    notes: Sequence[str] = (),
    content: str | None = None,
    blank: str = "_",
) -> Inventory:
    """An inventory of labelled images with captions made from their classes' names.

    Args:
        found: of which each sample has one caption, the name of its class.
        templates: texts with ``{}`` for the name.
        notes: further lines for the user.
        content: what identifies the images, if not the inventory's own fingerprint.
        blank: what stands for the underscores of a name.
    """
    parts = "\n".join((content or found.fingerprint, blank, *templates))
    fingerprint = hashlib.sha256(parts.encode("utf-8", "replace")).hexdigest()[:16]
    samples = ClassCaptions(found.samples, templates, blank)
    return replace(found, samples=samples, fingerprint=fingerprint, notes=(*found.notes, *notes))
