# SPDX-License-Identifier: Apache-2.0
"""Trial files of observers, human and network, in the layout of texture-vs-shape and model-vs-human.

One csv an observer, ``<experiment>_<observer>_session_1.csv`` (``session-1`` for networks), with the columns
``object_response``, ``category`` and ``imagename``; others (subj, session, trial, rt, condition) are not needed.
``imagename`` is ``0001_s5n_s01_0_bird_00_bird3-bird2.png`` or the bare name of the file: its last field between
underscores, without extension, names the image. Rows are in the order of presentation, which differs between human
observers, so trials are joined by image. ``na`` is no answer, which counts as a wrong one. Line ends may be either
kind.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clip_align.metrics.accuracy import NO_CHOICE
from clip_align.perception.sixteen_classes import CATEGORIES

__all__ = ["Trials", "TrialsError", "is_human", "read_folder", "read_trials"]

COLUMNS = ("object_response", "category", "imagename")
NO_ANSWER = "na"
NUMBERS = {name: number for number, name in enumerate(CATEGORIES)} | {NO_ANSWER: NO_CHOICE}
SESSION = re.compile(r"_session[-_]\d+$")
HUMAN = re.compile(r"subject-\d+")


class TrialsError(ValueError):
    """A trial file cannot be used: which, which line, what would be valid."""


@dataclass(frozen=True)
class Trials:
    """One observer's answers.

    observer: as in the file's name (``subject-01``, ``resnet50``), since the column ``subj`` is not unique.
    answers: number of the class answered by image (``bird3-bird2``); -1: no answer.
    categories: number of the class counted as right by image: that of the shape.
    """

    observer: str
    answers: Mapping[str, int]
    categories: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.answers)

    def of(self, images: Sequence[str]) -> NDArray[np.int8]:
        """Answers [N] about these images; TrialsError naming the first one that was not shown."""
        missing = [image for image in images if image not in self.answers]
        if missing:
            raise TrialsError(
                f"{self.observer}: no trial of {missing[0]} and {len(missing) - 1} more of {len(images)} images"
                if len(missing) > 1
                else f"{self.observer}: no trial of {missing[0]}"
            )
        return np.array([self.answers[image] for image in images], dtype=np.int8)


def is_human(observer: str) -> bool:
    """Whether an observer is a person, by the authors' names (``subject-01``)."""
    return HUMAN.fullmatch(observer) is not None


def read_folder(folder: Path) -> list[Trials]:
    """The trial files of one experiment, in the order of their names; TrialsError where there is none.

    Subfolders are not read: the authors' hold files of other experiments under the same names.
    """
    paths = sorted(path for path in folder.glob("*.csv") if not path.name.startswith("."))
    if not paths:
        raise TrialsError(f"no trial files in {folder}; expected <experiment>_subject-01_session_1.csv and so on")
    found = [read_trials(path) for path in paths]
    names = [one.observer for one in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise TrialsError(f"{folder} holds two files of the observer {twice}; one folder is one experiment")
    return found


def read_trials(path: Path) -> Trials:
    """The trials of one file.

    TrialsError, with the line, for a missing column, an unknown class or answer, an image that occurs twice, a file
    without trials, or one that is not UTF-8 or cannot be read.
    """
    answers: dict[str, int] = {}
    categories: dict[str, int] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # newline="": csv takes either kind of line end
            rows = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
            if missing:
                raise TrialsError(f"{path} has no column {', '.join(missing)}; needed: {', '.join(COLUMNS)}")
            for row in rows:
                image, category, answer = _parsed(row, f"{path}, line {rows.line_num}")
                if image in answers:
                    raise TrialsError(f"{path}, line {rows.line_num}: a second trial of {image}")
                answers[image], categories[image] = answer, category
    except OSError as error:
        raise TrialsError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TrialsError(f"{path} is not a csv in UTF-8 ({error})") from error
    if not answers:
        raise TrialsError(f"{path} has no trials")
    return Trials(_observer(path), answers, categories)


def _parsed(row: Mapping[str, str | None], where: str) -> tuple[str, int, int]:
    response, category, name = ((row[column] or "").strip() for column in COLUMNS)
    if category not in CATEGORIES:
        raise TrialsError(f"{where}: category {category!r} is none of {', '.join(CATEGORIES)}")
    if response not in NUMBERS:
        raise TrialsError(f"{where}: object_response {response!r} is none of the 16 classes, nor {NO_ANSWER}")
    image = name.rpartition("_")[2].rpartition(".")[0]
    if not image:
        raise TrialsError(f"{where}: imagename {name!r} names no image file, such as bird3-bird2.png")
    return image, NUMBERS[category], NUMBERS[response]


def _observer(path: Path) -> str:
    """``resnet50_train_60_epochs`` of ``edge-experiment_resnet50_train_60_epochs_session-1.csv``."""
    stem = SESSION.sub("", path.stem)
    return stem.partition("_")[2] or stem  # names of experiments have no underscore
