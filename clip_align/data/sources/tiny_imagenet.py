# SPDX-License-Identifier: Apache-2.0
"""Tiny ImageNet's 100,000 training images, in the folders of the original download, with class names as captions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clip_align.data.indexed.labelled_options import LabelledOptions
from clip_align.data.sources.base import DataSource
from clip_align.errors import Problem, UserError
from clip_align.open_clip_prompts import templates_from

if TYPE_CHECKING:
    from clip_align.data.indexed.inventory import Inventory
    from clip_align.data.progress import Notify


@dataclass(frozen=True)
class TinyImageNetData(LabelledOptions, DataSource):
    """``class_names``: in captions, ``clip``: as CLIP's authors cleaned them, or ``words``: the first of words.txt."""

    class_names: Literal["clip", "words"] = "clip"

    def absent(self) -> Iterator[Problem]:
        """A problem if the folder is not there, or not the data set."""
        from clip_align.perception.tiny_imagenet import ADDRESS, FOLDER, tiny_imagenet_folder

        if tiny_imagenet_folder(self.folder, "train") is None:
            what = (
                f"{self.root} is not Tiny ImageNet: neither it nor {FOLDER}/ below it holds train/<class>/images; "
                f"download {ADDRESS} (0.25 GB) into it and unzip it, or name its folder: data.root=…"
            )
            yield Problem("data.root", what, missing=True)

    def find(self, cache: Path, notify: Notify) -> Inventory:
        """Find the training images; those of ``val`` and ``test`` are never among them."""
        from clip_align.data.indexed.class_captions import with_class_captions
        from clip_align.data.indexed.folder import class_samples
        from clip_align.data.indexed.inventory import in_folder
        from clip_align.perception.tiny_imagenet import (
            TinyImageNetError,
            class_texts,
            tiny_imagenet_folder,
            training_images,
        )

        if problems := list(self.absent()):
            raise UserError(*problems)
        folder = tiny_imagenet_folder(self.folder, "train")
        assert folder is not None  # or it is absent
        try:
            images, notes = training_images(folder)
            texts = class_texts(folder, dict.fromkeys(label for _, label in images), self.class_names)
        except TinyImageNetError as error:
            raise UserError(Problem("data.root", str(error))) from None
        pairs = [(name, texts[label]) for name, label in images]
        found = in_folder(*class_samples(folder, pairs, self.max_image_mb, notify))
        return with_class_captions(found, templates_from(self.templates), notes)

    def place(self, shards: int) -> str:
        """Where the samples are."""
        return "a folder"
