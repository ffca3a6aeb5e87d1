# SPDX-License-Identifier: Apache-2.0
"""What has to be the same on all ranks before training: machines may see other files, or run other versions."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Mapping

import torch

from clip_align.errors import UserError
from clip_align.processes.ranks import Ranks
from clip_align.runs.provenance import version
from clip_align.training.components import RunComponents

ADVICE = "every machine needs the same files, under the same paths, and the same environment"
LONGEST = 40  # characters of a value in a message


def facts_of(components: RunComponents) -> dict[str, str]:
    """What this rank would train on and with, by what messages call it."""
    words = json.dumps(components.words)
    # not their names, in which the place of the machine's cache may be
    stimuli = {f"the number of stimuli of {key}": str(len(files)) for key, files in components.stimuli.items()}
    return {
        "the version of clip-align": version().removeprefix("clip-align "),
        "the version of torch": str(torch.__version__),
        "the training data": str(components.data_provenance["data_fingerprint"]),
        "the number of held-out samples": str(components.held_out),
        "the tokenizer's words": _digest(words),
        "the steps of evaluations": _digest(json.dumps(list(components.event_steps))),
        **stimuli,
    }


def check_same(facts: Mapping[str, str], ranks: Ranks) -> None:
    """UserError, on all ranks, where one has other facts than rank 0.

    Args:
        facts: of this rank; see `facts_of`.
        ranks: of the run.
    """
    first = ranks.broadcast((socket.gethostname(), dict(facts)))

    def compared() -> None:
        host, expected = first
        own = socket.gethostname()
        where = "here" if own == host else f"on {own}"
        problems = [
            f"{what}: {facts.get(what, 'none')[:LONGEST]} {where}, and {value[:LONGEST]} on rank 0; {ADVICE}"
            for what, value in expected.items()
            if facts.get(what) != value
        ]
        if problems:
            raise UserError(*problems)

    ranks.together(compared, UserError, "comparison of ranks")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
