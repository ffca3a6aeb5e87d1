# SPDX-License-Identifier: Apache-2.0
"""Your own opinion scores: pairs of images from a csv, correlated with the model's distances."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from clip_align.analysis.jackknife import MOST_GROUPS
from clip_align.callbacks.base import Features, Items, PerceptualCallback, Score, Stimulus
from clip_align.callbacks.common.pair_scores import minus_distances, others, over_items
from clip_align.callbacks.common.spearman import SPEARMAN
from clip_align.data.table import benchmark_columns
from clip_align.errors import UserError, option_problem
from clip_align.metrics import correlation
from clip_align.perception.distances import DistanceName
from clip_align.perception.image_files import read_rgb, size_of
from clip_align.structure import Existing, Range

COLUMNS = ("reference", "distorted", "opinion")
FEWEST_PAIRS = 3  # a correlation of two points is 1 or -1
_NUMBER = re.compile(r"[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|nan|inf(inity)?)", re.IGNORECASE)
Meaning = Literal["better", "worse"]


@dataclass(frozen=True)
class Pair:
    """One row: its line in the file, both images, the opinion as written, and the label of its cluster."""

    line: int
    reference: Path
    distorted: Path
    opinion: float
    cluster: str


class PairsCsv(PerceptualCallback):
    """Opinions of image pairs from a csv with the columns reference, distorted, opinion. Chance 0.

    Args:
        csv: path of the file; fields are separated by commas or tabs.
        root: folder that its paths are relative to; None: the csv's folder.
        higher_opinion: ``better`` for mean opinion scores, ``worse`` for difference scores; with ``worse`` the human
            value is minus the opinion, so that a positive score means agreement either way.
        cluster: column with the clusters that intervals resample; None: the reference.
        distance, tiles: as in ``tid2013_remade``.

    UserError, before step 0, for a missing file, column, number or image, fewer than three pairs, rows that do not fit
    their header, and pairs of images of unequal size, which cannot be cut at the same positions. Transparency is laid
    on white.
    """

    family: ClassVar[str] = "human"
    # 2: transparency is laid on white; layers are compared token by token
    version: ClassVar[int] = 2
    human_data: ClassVar[str] = "opinions from the csv named in the options"
    stand_in: ClassVar[str] = "none"
    source: ClassVar[str] = "the csv named in the options"
    licence: ClassVar[str] = "the user's own"

    def __init__(
        self,
        csv: Annotated[str, Existing("file")],
        root: Annotated[str | None, Existing("folder")] = None,
        higher_opinion: Meaning = "better",
        cluster: str | None = None,
        distance: DistanceName = "normalised_euclidean",
        tiles: Annotated[int, Range(low=1)] = 4,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        self.distance, self.tiles = distance, tiles
        self.sign = 1.0 if higher_opinion == "better" else -1.0  # of the opinions: higher is better in the items
        self.rows = read_pairs(Path(csv).expanduser(), Path(root).expanduser() if root else None, cluster, self.key)
        check_images(self.rows, self.key)
        self.scores = _scores(distance, len({pair.cluster for pair in self.rows}), cluster or "reference")

    def stimuli(self) -> Iterator[Stimulus]:
        """Each image once. All have equal ``places``, so that both images of any pair are cut at the same positions."""
        for path in dict.fromkeys(path for pair in self.rows for path in (pair.reference, pair.distorted)):
            # the path as id: an image in several rows, or in two csvs, is encoded once
            yield Stimulus(str(path), partial(read_rgb, path), places="pairs_csv")

    def pairs(self) -> list[tuple[str, str]]:
        """Reference and distorted image of each row."""
        return [(str(pair.reference), str(pair.distorted)) for pair in self.rows]

    def items(self, features: Features) -> Items:
        """One item per row, with its line in the file as id."""
        model, notes = minus_distances(features, self.distance)
        return Items(
            model,
            self.sign * np.array([pair.opinion for pair in self.rows]),
            ids=[f"line {pair.line}: {pair.distorted.name}" for pair in self.rows],
            clusters={"cluster": np.array([pair.cluster for pair in self.rows])},
            notes=notes,
        )


def read_pairs(path: Path, root: Path | None, cluster: str | None, key: str) -> tuple[Pair, ...]:
    """The rows of a csv as pairs; UserError for the first invalid row, with the number of others.

    Args:
        path: of the csv.
        root: folder that image paths are relative to; None: the csv's.
        cluster: column with the clusters; None: the reference.
        key: of the benchmark, for error messages.
    """
    if not path.is_file():
        raise UserError(
            option_problem(key, "csv", f"csv: no such file {path}; give a csv with the columns {', '.join(COLUMNS)}")
        )
    if root is not None and not root.is_dir():
        raise UserError(
            option_problem(
                key, "root", f"root: no such folder {root}; give the folder that the csv's paths are relative to"
            )
        )
    names = (*COLUMNS, *([cluster] if cluster else []))
    hint = "write 3.5 for 3,5, and quote names that hold a comma"
    rows = benchmark_columns(path, names, key, "csv", hint, skip_blanks=True)
    pairs, wrong = [], []
    for line, fields in rows:
        row = {name: field or "" for name, field in zip(names, fields, strict=True)}  # None where the row is too short
        problem = _problem(row)
        if problem:
            wrong.append(f"{path}, line {line}: {problem}")
            continue
        # absolute: stimulus ids must not depend on the working directory
        reference, distorted = ((root or path.parent).absolute() / row[name] for name in COLUMNS[:2])
        pairs.append(Pair(line, reference, distorted, float(row["opinion"]), row[cluster or "reference"]))
    if wrong:
        raise UserError(option_problem(key, "csv", f"{wrong[0]}{_more(len(wrong), 'row')}"))
    if len(pairs) < FEWEST_PAIRS:
        raise UserError(
            option_problem(key, "csv", f"{path} has {len(pairs)} pairs; a correlation needs at least {FEWEST_PAIRS}")
        )
    return tuple(pairs)


def check_images(pairs: Sequence[Pair], key: str) -> None:
    """UserError unless all images exist, are readable and as large as their partner; only headers are read."""
    absent: dict[Path, int] = {}
    sizes: dict[Path, tuple[int, int]] = {}
    unreadable: dict[Path, str] = {}
    for pair in pairs:
        for path in (pair.reference, pair.distorted):
            if path in sizes or path in absent or path in unreadable:
                continue
            if not path.is_file():
                absent[path] = pair.line
                continue
            try:
                sizes[path] = size_of(path)
            except (OSError, ValueError) as error:  # damaged, or more than 8 bits a sample
                unreadable[path] = str(error).replace("\n", " ")
    if absent:
        path, line = next(iter(absent.items()))
        more = _more(len(absent), "image")
        raise UserError(
            option_problem(
                key, "root", f"no such image {path} (line {line}){more}; root= names the folder of the images"
            )
        )
    if unreadable:
        path, why = next(iter(unreadable.items()))
        raise UserError(option_problem(key, "csv", f"cannot read {path}: {why}{_more(len(unreadable), 'image')}"))
    for pair in pairs:
        (h, w), (other_h, other_w) = sizes[pair.reference], sizes[pair.distorted]
        if (h, w) != (other_h, other_w):
            raise UserError(
                option_problem(
                    key,
                    "csv",
                    f"line {pair.line}: {pair.reference.name} is {w} x {h} px, {pair.distorted.name} "
                    f"{other_w} x {other_h}; both images of a pair must have the same size",
                )
            )


def _problem(row: Mapping[str, str]) -> str | None:
    for name, field in row.items():
        if not field:
            return f"{name} is empty"
    opinion = row["opinion"].strip()
    if not _NUMBER.fullmatch(opinion):  # float() also accepts 1_500
        point = "; write a decimal point" if "," in opinion else ""
        return f"opinion {opinion!r} is not a number{point}"
    return None if math.isfinite(float(opinion)) else f"opinion {opinion!r} is not finite"


def _more(count: int, what: str) -> str:
    return f" (and {count - 1} more {what}{'s' if count > 2 else ''})" if count > 1 else ""


def _scores(distance: DistanceName, clusters: int, what: str) -> tuple[Score, ...]:
    # the jackknife leaves out bundles where there are more clusters
    bundled = f" in {MOST_GROUPS} bundles" if clusters > MOST_GROUPS else ""
    unit = f"{clusters} clusters by {what}{bundled}, jackknife, t({min(clusters, MOST_GROUPS) - 1})"
    headline = replace(SPEARMAN, unit=unit if clusters > 1 else f"one cluster by {what}, no interval")
    detail = replace(headline, role="detail", has_verdict=False)  # only the headline has a verdict
    return (
        headline,
        replace(detail, name="plcc", label="PLCC", compute=over_items(correlation.plcc)),
        replace(detail, name="krocc", label="KROCC (tau-b)", compute=over_items(correlation.krocc)),
        *(
            replace(
                detail,
                name=f"srocc_{name}",
                label=f"SROCC, {name.replace('_', ' ')}",
                compute=over_items(correlation.srocc, value=name),
            )
            for name in others(distance)
        ),
    )
