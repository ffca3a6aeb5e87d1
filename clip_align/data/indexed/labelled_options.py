# SPDX-License-Identifier: Apache-2.0
"""The options of labelled data sets that are trained on with class names as captions; below their sources."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from clip_align.config import DataConfig
from clip_align.errors import Finding, Problem, UserError
from clip_align.open_clip_prompts import templates_from

if TYPE_CHECKING:
    from clip_align.data.indexed.inventory import Inventory
    from clip_align.data.progress import Notify
    from clip_align.perception.cifar import ArchiveLayout


@dataclass(frozen=True)
class LabelledOptions(DataConfig):
    """``root``: folder of the data set as its authors distribute it. ``templates``: of the captions, texts with ``{}``
    for the class or the name of a set of them; a sample draws one in each epoch.
    """

    root: str = ""
    templates: str | tuple[str, ...] = "cifar"

    @property
    def folder(self) -> Path:
        """``root`` as a path."""
        return Path(self.root).expanduser()

    def combinations(self, batches: int) -> Iterator[Finding]:
        """Problems of a root that is not given, and of templates."""
        yield from super().combinations(batches)
        if not self.root.strip():
            what = f"not given; type data.root=/path/of/{self.kind}, the folder with the download"
            yield Finding(Problem("data.root", what, missing=True))
        try:
            templates_from(self.templates)
        except ValueError as error:
            yield Finding(Problem("data.templates", str(error)))


@dataclass(frozen=True)
class CifarOptions(LabelledOptions):
    """``class_names``: in captions, as in CLIP's list or as in the archive. ``subset``: accept files whose checksum is
    not the author's. A subclass sets ``archive``, the name of the archive's layout.
    """

    class_names: Literal["blanks", "underscores"] = "blanks"
    subset: bool = False
    archive: ClassVar[str]

    @property
    def layout(self) -> ArchiveLayout:
        """Names in the archive."""
        from clip_align.perception.cifar import LAYOUTS

        return LAYOUTS[self.archive]

    def absent(self) -> Iterator[Problem]:
        """A problem if there is no such archive."""
        from clip_align.perception.cifar import find_archive

        layout = self.layout
        if find_archive(self.folder, layout, training=True) is None:
            files = f"{layout.tar}, or {layout.folder}/ with {', '.join((*layout.train, layout.meta))}"
            what = (
                f"{self.root} holds no training images: neither {files}; download "
                f"https://www.cs.toronto.edu/~kriz/{layout.tar} (0.2 GB) into it, or name its folder: data.root=…"
            )
            yield Problem("data.root", what, missing=True)

    def find(self, cache: Path, notify: Notify) -> Inventory:
        """Find the training images, as shards in the cache; the test images are never among them."""
        from clip_align.config import Source
        from clip_align.data.indexed.archive_shards import archive_shards
        from clip_align.data.indexed.class_captions import with_class_captions
        from clip_align.data.indexed.inventory import tars
        from clip_align.perception.cifar import ArchiveError, find_archive, training_files

        layout = self.layout
        if problems := list(self.absent()):
            raise UserError(*problems)
        archive = find_archive(self.folder, layout, training=True)
        assert archive is not None  # or it is absent
        try:
            files, checksum = training_files(archive, layout)
            shards, original = archive_shards(files, checksum, layout, cache, notify)
        except ArchiveError as error:
            text = str(error) if str(archive) in str(error) else f"{archive}: {error}; get {layout.tar} again"
            raise UserError(Problem("data.root", text)) from None
        if not original and not self.subset:
            what = (
                f"{archive}: its training images are not the original ones (their checksums differ); "
                "type data.subset=true for a subset or another copy"
            )
            raise UserError(Problem("data.subset", what))
        found = tars(
            [[str(path) for path in shards]], [Source(str(shards[0].parent))], cache, notify, self.max_image_mb
        )
        blank = " " if self.class_names == "blanks" else "_"
        # the archive's checksum, not the shards': another Pillow writes other bytes for the same pixels
        return with_class_captions(found, templates_from(self.templates), content=checksum, blank=blank)
