# SPDX-License-Identifier: Apache-2.0
"""Mid-level similarity on NIGHTS: which of two generated images is more like a third?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from clip_align.callbacks.base import Download
from clip_align.callbacks.common.two_alternatives import Choice, TwoAlternatives
from clip_align.data.table import benchmark_columns
from clip_align.errors import UserError, option_problem
from clip_align.structure import Range

Split = Literal["test", "test_imagenet", "test_no_imagenet", "val", "train", "all"]
COLUMNS = ("ref_path", "left_path", "right_path", "right_vote", "votes", "split", "is_imagenet")
UNANIMOUS = 6  # votes from which the authors count a triplet as unanimous


class Nights(TwoAlternatives):
    """People's choices of the more similar of two images, 20,019 triplets made with Stable Diffusion.

    ``agreement``: fraction of triplets in which the model's choice is people's; chance .5, people 1 by construction,
    since the kept triplets are unanimous. Defaults are the protocol of its authors (DreamSim). That of
    Hernández-Cámara et al. 2024 is ``split=all fewest_votes=0 ties=wrong distance=normalised_euclidean``.

    Source: Fu, Tamir, Sundaram et al., NeurIPS 2023, arXiv 2306.09344; MIT licence. Download as ``download`` says.

    Args:
        root: folder with ``data.csv``, ``ref`` and ``distort``.
        split: ``test``, its two halves, ``val``, ``train`` or ``all``.
        fewest_votes: triplets with fewer votes are left out.
        base: arguments of `TwoAlternatives` (``distance``, ``ties``) and `PerceptualCallback`.
    """

    family: ClassVar[str] = "similarity"
    version: ClassVar[int] = 1
    human_data: ClassVar[str] = "choices of the more similar image, unanimous by default"
    stand_in: ClassVar[str] = "none"
    source: ClassVar[str] = "Fu et al., NeurIPS 2023, arXiv 2306.09344"
    licence: ClassVar[str] = "MIT"
    context: ClassVar[Mapping[str, float]] = {
        "OpenAI CLIP ViT-B/32": 0.8391,
        "OpenAI CLIP ViT-B/16": 0.8295,
        "OpenAI CLIP ViT-L/14": 0.8133,
        "pixels": 0.561,
        "SSIM": 0.554,
        "LPIPS": 0.681,
    }
    context_source: ClassVar[str] = (
        "Hernández-Cámara et al. 2024, printed results: all 20,019 triplets, ties wrong, "
        "normalised_euclidean of the projection"
    )
    download: ClassVar[Download] = Download(
        name="NIGHTS",
        what="20,019 triplets of generated images and people's choices of the more similar one",
        address="https://github.com/ssundaram21/dreamsim",
        size="58 GB",
        terms="MIT",
        citation="Fu, Tamir, Sundaram, Chai, Zhang, Dekel, Isola: DreamSim. NeurIPS 2023",
        needed=("data.csv", "ref", "distort"),
    )

    def __init__(
        self, root: str, split: Split = "test", fewest_votes: Annotated[int, Range(low=0)] = UNANIMOUS, **base: Any
    ) -> None:
        super().__init__(**base)
        folder = self.download.folder(root, self.key).absolute()
        ceilings = {"people, by construction": 1.0} if fewest_votes >= UNANIMOUS else {}
        self.compare(read_choices(folder / "data.csv", split, fewest_votes, self.key), folder, "split", ceilings)


def read_choices(path: Path, split: Split, fewest_votes: int, key: str) -> list[Choice]:
    """The rows of ``data.csv`` that the options keep; UserError for a damaged one.

    Args:
        path: of the csv, whose columns are found by name.
        split: of the data set.
        fewest_votes: of a row.
        key: of the benchmark, for error messages.
    """
    hint = "get data.csv again"
    rows = benchmark_columns(path, COLUMNS, key, "root", hint, if_missing=dict.fromkeys(COLUMNS, hint))
    found = []
    for line, fields in rows:
        reference, first, second, vote, votes, part, imagenet = ((field or "").strip() for field in fields)
        kind = imagenet.lower()  # written by pandas (True) or as a number
        if kind not in ("true", "false", "1", "0") or not votes.isdecimal() or vote not in ("0", "1", "0.0", "1.0"):
            what = f"{path}, line {line}: right_vote {vote!r}, votes {votes!r}, is_imagenet {imagenet!r}"
            valid = "valid are 0 or 1, a whole number, True or False"
            raise UserError(option_problem(key, "root", f"{what}; {valid}; {hint}"))
        of_test = "test_imagenet" if kind in ("true", "1") else "test_no_imagenet"
        kept = split in ("all", part) or (part == "test" and split == of_test)
        if kept and int(votes) >= fewest_votes:
            # one stratum: the authors take all triplets alike
            found.append(Choice(f"line {line}: {reference}", reference, first, second, float(vote), "all"))
    return found
