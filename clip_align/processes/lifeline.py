# SPDX-License-Identifier: Apache-2.0
"""How ranks that torchrun or srun has started learn that one of them has ended, whatever their main threads wait for.

Each rank keeps a TCP connection to rank 0. A process that ends, however it ends, closes its connection, which its
system reports to the other side at once; a machine that is switched off or cut off is noticed by TCP's own probes. A
rank that can still say why it ends sends its reason first, and rank 0 passes the first reason on. No torch here.

Ranks that rank 0 has started itself have none: their parent sees their exit codes (`launch_ranks.ChildRanks`). A rank
that is stopped keeps its connection, and is noticed by `stall_watch`.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import selectors
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

IDLE_S, INTERVAL_S, PROBES = 15, 5, 4  # so a machine that does not answer is given up after 35 s
CONNECT_S = 20.0  # for rank 0's machine to accept a connection
FAILING_S = 10.0  # for the main thread to see by itself that a rank is gone (gloo does, NCCL may wait)
SILENCE = "has ended without a reason: it was killed (is memory full?), or its machine is out of reach"


@dataclass(frozen=True)
class Address:
    """Where rank 0 listens. token: shows that a connection comes from a rank of this run."""

    host: str
    port: int
    token: str

    def dumped(self) -> str:
        """As text, for the store in which the ranks meet."""
        return json.dumps([self.host, self.port, self.token])


def loaded(text: str) -> Address:
    """The address that `Address.dumped` has written."""
    host, port, token = json.loads(text)
    return Address(str(host), int(port), str(token))


@dataclass
class _Peer:
    """One connection: who is at its other end, and what has come of the next line. who: empty until it is known."""

    connection: socket.socket
    who: str = ""
    received: bytes = b""
    ended: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, message: dict[str, object]) -> None:
        with self.lock, contextlib.suppress(OSError):  # whoever is gone is noticed by reading
            self.connection.sendall(json.dumps(message).encode() + b"\n")

    def lines(self) -> list[dict[str, object]] | None:
        """Messages that have come; None once the connection is closed."""
        try:
            data = self.connection.recv(65536)
        except OSError:
            return None
        *lines, self.received = (self.received + data).split(b"\n")
        found: list[dict[str, object]] = []
        for line in lines:
            with contextlib.suppress(ValueError):  # not a rank's
                message = json.loads(line)
                found += [message] if isinstance(message, dict) else []
        return found if data or found else None


class Lifeline:
    """This rank's end. Made by `listen` on rank 0, by `connect` on the others.

    Args:
        rank: this one.
        failed: called in a thread, with the reason, once another rank has ended and this process has not noticed for
            `FAILING_S`: it waits in a collective.
    """

    def __init__(self, rank: int, failed: Callable[[str], None]) -> None:
        self._rank, self._failed = rank, failed
        self._host = socket.gethostname()
        self._selector = selectors.DefaultSelector()
        self._peers: list[_Peer] = []
        self._listener: socket.socket | None = None
        self._token = ""
        self._reason: str | None = None
        self._known, self._over = threading.Event(), threading.Event()

    @classmethod
    def listen(cls, master: str, failed: Callable[[str], None]) -> tuple[Lifeline, Address]:
        """Rank 0's end, and the address for the other ranks.

        Args:
            master: host of the store in which the ranks meet; other machines reach this one by the address from which
                it reaches that host, or by the host's name where that is this machine.
            failed: see the class.
        """
        line = cls(0, failed)
        line._token = secrets.token_hex(8)
        line._listener = socket.create_server(("", 0), backlog=1024)
        line._listener.setblocking(False)  # else the thread would wait for one that was gone before it was accepted
        line._selector.register(line._listener, selectors.EVENT_READ, None)
        threading.Thread(target=line._run, daemon=True, name="lifeline").start()
        return line, Address(_own_address(master), line._listener.getsockname()[1], line._token)

    @classmethod
    def connect(cls, address: Address, rank: int, failed: Callable[[str], None]) -> Lifeline:
        """Another rank's end; OSError where rank 0 does not accept a connection."""
        line = cls(rank, failed)
        connection = socket.create_connection((address.host, address.port), timeout=CONNECT_S)
        peer = line._add(connection)
        peer.send({"token": address.token, "rank": rank, "host": line._host})
        threading.Thread(target=line._run, daemon=True, name="lifeline").start()
        return line

    def reason(self, wait_s: float = 0.0) -> str | None:
        """Why another rank has ended, waited for up to ``wait_s``; None while none has."""
        self._known.wait(wait_s)
        return self._reason

    def end(self, lines: Sequence[str] = ()) -> None:
        """This rank ends, or training is over: from here on the end of another one is no failure.

        Later calls do nothing.

        Args:
            lines: this rank's reason where it has failed; the first one is passed on.
        """
        if self._over.is_set():
            return
        own = f"{self._name(self._rank, self._host)}: {lines[0]}" if lines else ""
        for peer in list(self._peers):
            if peer.who:
                peer.send({"end": self._reason or own})
        self._over.set()

    def _run(self) -> None:
        while not self._over.is_set():
            self._look(0.5)
        self._look(0.0)  # closing with something unread would reset the connection, and our last line might be lost
        for peer in self._peers:
            peer.connection.close()
        if self._listener is not None:
            self._listener.close()
        self._selector.close()

    def _look(self, wait_s: float) -> None:
        for key, _ in self._selector.select(wait_s):
            if key.data is None and self._listener is not None:
                with contextlib.suppress(OSError):  # it was gone before it was accepted
                    self._add(self._listener.accept()[0])
            elif key.data is not None:
                self._read(key.data)

    def _add(self, connection: socket.socket) -> _Peer:
        connection.setblocking(True)  # systems differ in what it inherits from the listener
        _keep_alive(connection)
        peer = _Peer(connection, "" if self._rank == 0 else self._name(0, self._host))
        self._peers.append(peer)
        self._selector.register(connection, selectors.EVENT_READ, peer)
        return peer

    def _read(self, peer: _Peer) -> None:
        messages = peer.lines()
        for message in messages or ():
            if message.get("token") == self._token and self._rank == 0:
                peer.who = self._name(int(str(message["rank"])), str(message["host"]))
                peer.send({"host": self._host})
            elif "host" in message and self._rank:
                peer.who = self._name(0, str(message["host"]))
            elif "end" in message and peer.who:
                peer.ended = True
                if message["end"]:
                    self._lost(str(message["end"]))
        if messages is None:
            self._selector.unregister(peer.connection)
            self._peers.remove(peer)
            peer.connection.close()
            if peer.who and not peer.ended:
                self._lost(f"{peer.who} {SILENCE}")

    def _lost(self, reason: str) -> None:
        if self._reason is not None or self._over.is_set():
            return
        self._reason = reason
        self._known.set()
        if self._rank == 0:
            for peer in list(self._peers):
                if peer.who:
                    peer.send({"end": reason})
        threading.Thread(target=self._end_later, daemon=True).start()

    def _end_later(self) -> None:
        if not self._over.wait(FAILING_S):
            self._failed(self._reason or SILENCE)

    def _name(self, rank: int, host: str) -> str:
        """A rank as messages have it, with its machine where that is another one."""
        return f"rank {rank}" if host == self._host else f"rank {rank} on {host}"


def _own_address(master: str) -> str:
    """The address of this machine for others: the one from which it reaches ``master``, or that name itself."""
    with contextlib.suppress(OSError):
        family, _, _, _, address = socket.getaddrinfo(master, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(address)  # sends nothing
            own = str(probe.getsockname()[0])
        if own != address[0] and not own.startswith("127.") and own != "::1":
            return own
    return master


def _keep_alive(connection: socket.socket) -> None:
    """Let the system find out whether the other machine is still there."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # names that not every system has
    for name, value in (("TCP_KEEPIDLE", IDLE_S), ("TCP_KEEPINTVL", INTERVAL_S), ("TCP_KEEPCNT", PROBES)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # also where something was sent and not acknowledged
        limit_ms = 1000 * (IDLE_S + INTERVAL_S * PROBES)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit_ms)
