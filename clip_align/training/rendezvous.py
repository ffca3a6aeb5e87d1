# SPDX-License-Identifier: Apache-2.0
"""All ranks meet in a store before training: what is waited for is reported, and the wait has an end.

A rank on another machine may never come: its machine is down, a firewall is between, the command was not started there.
torch's own rendezvous would wait without a word until its time-out.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from datetime import timedelta

from torch.distributed import (  # type: ignore[attr-defined]  # documented there
    DistNetworkError,
    PrefixStore,
    Store,
    TCPStore,
)
from torch.distributed.rendezvous import rendezvous

from clip_align.data.progress import rounded
from clip_align.errors import RunError, some_of

REPORT_S = 60.0  # between two lines, at most
LOOK_S = 1.0  # between two looks, at most
LIMIT = timedelta(hours=3)  # for single operations of the store, some of which wait for rank 0's preparation
NAMED = 8  # missing ranks named in a line


class Patience:
    """Reports a wait at intervals; RunError when it has taken too long.

    Args:
        limit_s: seconds until it is given up.
        limit: the option with that limit, empty if it is none.
        report_s: seconds between two lines.
        notify: takes a line.
    """

    def __init__(self, limit_s: float, limit: str, report_s: float, notify: Callable[[str], None]) -> None:
        self._limit_s, self._limit = limit_s, f" ({limit} is the limit)" if limit else ""
        self._report_s, self._notify = report_s, notify
        self._began = time.monotonic()
        self._reports = 0
        self._pause_s = 0.02

    def look_again(self, what: Callable[[], str]) -> None:
        """Sleep a little before the next look.

        Args:
            what: describes what is waited for; only called for a line.
        """
        waited = time.monotonic() - self._began
        if waited >= self._limit_s:
            raise RunError(
                f"ranks: {what()}; gave up after {waited:.0f} s: start every rank, and let their machines reach that "
                f"address{self._limit}"
            )
        if waited >= (self._reports + 1) * self._report_s:
            self._reports = int(waited // self._report_s)
            self._notify(f"ranks: {what()}; waited {waited:.0f} s, giving up in {rounded(self._limit_s - waited)}")
        time.sleep(self._pause_s)
        self._pause_s = min(LOOK_S, 2 * self._pause_s)


def meet(
    rank: int,
    world: int,
    first_limit_s: float,
    limit_s: float,
    report_s: float,
    notify: Callable[[str], None],
    store: Store | None = None,
) -> Store:
    """The store in which all ranks of the run have met; RunError where some do not come in time, or rank 0 is lost.

    ``MASTER_ADDR`` and ``MASTER_PORT`` hold its address.

    Args:
        rank, world: this process's number, and how many there are.
        first_limit_s: seconds to wait for rank 0, which comes last: it makes what is made once.
        limit_s: seconds to wait for the others after that.
        report_s: seconds between two lines; `REPORT_S` if that is less.
        notify: takes a line.
        store: the connection that `connected` has made; None makes one.
    """
    address, report_s = address_of_store(), min(report_s, REPORT_S)
    first = Patience(first_limit_s, "", report_s, notify)
    try:
        store = store or connected(rank, world, first)
        store.set(f"met/{rank}", "")
        while not store.check(["met/0"]):
            first.look_again(lambda: f"rank 0 has not joined at {address} yet")
        others = Patience(limit_s, "trainer.stall_limit_seconds", report_s, notify)
        while not store.check([f"met/{number}" for number in range(world)]):
            others.look_again(lambda: _missing(store, world, address))
    except DistNetworkError as error:
        raise RunError(f"ranks: the connection to rank 0 at {address} is lost; its own output says why") from error
    return store


def address_of_store() -> str:
    """Host and port of the run's store, for messages."""
    return f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"


def connected(rank: int, world: int, patience: Patience) -> Store:
    """A connection to the run's store; the first rank opens it where torchrun has not.

    Args:
        rank, world: this process's number, and how many there are.
        patience: for the store to answer.

    Raises:
        RunError: where it does not in time, or where rank 0 cannot open it.
    """
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    of_torchrun = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # it serves the store before it starts us
    if rank == 0 and not of_torchrun:
        try:
            own = TCPStore(host, port, world, is_master=True, timeout=LIMIT, multi_tenant=True, wait_for_workers=False)
        except DistNetworkError as error:
            raise RunError(
                f"ranks: rank 0 cannot listen at {address_of_store()} ({_reason(error)}); set MASTER_PORT to a port "
                "that nobody uses, and MASTER_ADDR to an address of rank 0's machine"
            ) from error
        return PrefixStore(_attempt(), own)
    while not _answers(host, port):  # torch would wait inside, without a word
        patience.look_again(lambda: f"rank 0 does not answer at {address_of_store()} yet")
    return PrefixStore(_attempt(), next(iter(rendezvous("env://", rank, world, timeout=LIMIT)))[0])


def own_store(world: int) -> tuple[Store, int]:
    """The store for ``world`` ranks of this machine, open from now on, and its port, which the system has chosen."""
    store = TCPStore("127.0.0.1", 0, world, is_master=True, timeout=LIMIT, wait_for_workers=False)
    return PrefixStore(_attempt(), store), store.port


def _attempt() -> str:
    """What keys of this start begin with: torchrun may keep its store when it starts the ranks again."""
    return f"attempt/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"


def _reason(error: DistNetworkError) -> str:
    """The system's words in torch's message."""
    return str(error).rpartition("message: ")[2].splitlines()[0]


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=5):
            return True
    except OSError:  # nobody listens there yet, or no machine has that name
        return False


def _missing(store: Store, world: int, address: str) -> str:
    missing = [number for number in range(world) if not store.check([f"met/{number}"])]
    named = f"rank{'s' if len(missing) > 1 else ''} {some_of(list(map(str, missing)), NAMED)}"
    return f"{world - len(missing)} of {world} ranks have joined at {address}, {named} not yet"
