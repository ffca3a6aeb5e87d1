# SPDX-License-Identifier: Apache-2.0
"""What ranks that torchrun or srun has started have in common before training: rank 0's configuration, and a lifeline.

The command is typed once on every machine, but what a run is resumed from may lie on rank 0's alone. So rank 0 reads
its configuration and the others take it over, from the store in which all ranks meet; only the cache folder is each
machine's own.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from torch.distributed import DistNetworkError, Store  # type: ignore[attr-defined]  # documented there

from clip_align.config import Config
from clip_align.config_plain import from_plain, to_plain
from clip_align.errors import RunError, UserError
from clip_align.processes import lifeline, torchrun
from clip_align.processes.lifeline import Lifeline
from clip_align.processes.parent import when_parent_ends
from clip_align.training.launch_ranks import PATIENCE
from clip_align.training.rendezvous import REPORT_S, Patience, address_of_store, connected
from clip_align.training.run_end import RunEnd

COMMAND, LIFELINE = "command", "lifeline"  # keys of the store
MACHINES_OWN = ("paths.cache", "paths.runs")  # may be typed differently on each machine
AGENT_GONE = "torchrun, which had started this rank, has ended"
REFUSED_S = 30.0  # for the other ranks to read that rank 0 has refused


def join_machines(
    config: Config, argv: Sequence[str], run_end: RunEnd, notify: Callable[[str], None]
) -> tuple[Config, Store]:
    """Connect to the other ranks; rank 0's configuration, with this machine's cache folder.

    Args:
        config: as this rank has read it; of ranks other than the first only the paths and waiting times count.
        argv: the command as typed.
        run_end: gets the lifeline.
        notify: takes a line about the wait for rank 0.

    Raises:
        UserError: where this machine's command is another one, or rank 0 has refused it.
        RunError: where rank 0 does not come, or is lost.
    """
    rank, world = torchrun.rank(), int(os.environ["WORLD_SIZE"])
    if torchrun.under_torchrun():
        when_parent_ends(os.getppid(), lambda: run_end.lost(AGENT_GONE))
    patience = Patience(PATIENCE.total_seconds(), "", min(config.trainer.stall_warning_seconds, REPORT_S), notify)
    try:
        store = connected(rank, world, patience)
        if rank == 0:
            run_end.lifeline, address = Lifeline.listen(os.environ["MASTER_ADDR"], run_end.lost)
            store.set(LIFELINE, address.dumped())
            store.set(COMMAND, json.dumps([to_plain(config), list(_typed(argv)), []]))
            return config, store
        while not store.check([COMMAND]):
            patience.look_again(
                lambda: f"rank 0 has not read its configuration yet (its store is {address_of_store()})"
            )
        plain, typed, refused = json.loads(store.get(COMMAND))
        store.set(f"read/{rank}", "")
    except DistNetworkError as error:
        what = f"ranks: the connection to rank 0 at {address_of_store()} is lost; its own output says why"
        raise RunError(what) from error
    if refused:
        raise UserError(*(f"rank 0: {line}" for line in refused))
    run_end.lifeline = _connected_lifeline(store, rank, run_end, notify)
    if problems := list(_differences(set(_typed(argv)), set(typed))):
        raise UserError(*problems)
    shared = from_plain(plain)
    return replace(shared, paths=replace(shared.paths, cache=config.paths.cache)), store


def refuse_others(lines: Sequence[str]) -> None:
    """On rank 0 of ranks that srun has started: the others end with its reason, instead of waiting for it.

    torchrun ends them by itself.
    """
    world = int(os.environ["WORLD_SIZE"])
    store = connected(0, world, Patience(REFUSED_S, "", REFUSED_S, lambda line: None))
    store.set(COMMAND, json.dumps([{}, [], list(lines)]))
    limit = time.monotonic() + REFUSED_S
    while time.monotonic() < limit and not store.check([f"read/{rank}" for rank in range(1, world)]):
        time.sleep(0.1)


def _connected_lifeline(store: Store, rank: int, run_end: RunEnd, notify: Callable[[str], None]) -> Lifeline | None:
    address = lifeline.loaded(store.get(LIFELINE).decode())
    try:
        return Lifeline.connect(address, rank, run_end.lost)
    except OSError as error:  # training may still be possible; a dead rank is then noticed by the collectives
        reason = error.strerror or str(error) or type(error).__name__
        notify(
            f"ranks: {socket.gethostname()} does not reach rank 0 at {address.host}:{address.port} ({reason}); "
            "a rank that dies may be noticed late: let the machines reach each other at all ports"
        )
        return None


def _typed(argv: Sequence[str]) -> Iterator[str]:
    """The overrides of a command that have to be the same on every machine."""
    last = max((n for n, word in enumerate(argv) if word == "train" or word.endswith("train.py")), default=-1)
    for word in argv[last + 1 :]:
        if not word.startswith("-") and word.partition("=")[0].lstrip("+~") not in MACHINES_OWN:
            yield word


def _differences(own: set[str], first: set[str]) -> Iterator[str]:
    """A line for every override that is typed for this rank or for rank 0 alone."""
    advice = f"type the same command on every machine; only {' and '.join(MACHINES_OWN)} may differ"
    for word in sorted(own - first):
        yield f"{word}: typed on {socket.gethostname()}, and not for rank 0; {advice}"
    for word in sorted(first - own):
        yield f"{word}: typed for rank 0, and not on {socket.gethostname()}; {advice}"
