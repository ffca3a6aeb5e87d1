# SPDX-License-Identifier: Apache-2.0
"""The lifeline between ranks: a rank that ends is noticed by all others, with its reason where it had one."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from clip_align.processes import lifeline
from clip_align.processes.lifeline import Address, Lifeline, loaded

WAIT_S = 120.0  # for what another process is about to do; only a failing test waits as long
OTHER = """
import json, os, sys, time
from clip_align.processes.lifeline import Lifeline, loaded
line = Lifeline.connect(loaded(sys.argv[1]), int(sys.argv[2]), lambda reason: print("lost:", reason, flush=True))
print("connected", flush=True)
word = sys.stdin.readline().strip()
if word == "fails":
    line.end(["data: x is gone", "never shown"])
elif word == "done":
    line.end()
elif word == "waits":
    print(line.reason(120), flush=True)
os._exit(0)
"""


@pytest.fixture
def start() -> Iterator[Callable[[Address, int], subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []

    def started(address: Address, rank: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", OTHER, address.dumped(), str(rank)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout.readline() == "connected\n"
        return process

    yield started
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def first() -> Iterator[tuple[Lifeline, Address, list[str]]]:
    lost: list[str] = []
    line, address = Lifeline.listen("127.0.0.1", lost.append)
    yield line, address, lost
    line.end()


def joined(line: Lifeline, *ranks: int) -> None:
    """Wait until the first rank knows these: a connection counts before it has been accepted."""
    limit = time.monotonic() + WAIT_S
    while {peer.who for peer in list(line._peers)} != {f"rank {rank}" for rank in ranks}:
        assert time.monotonic() < limit
        time.sleep(0.01)


def write(process: subprocess.Popen[str], word: str) -> None:
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


def test_a_killed_rank_is_named_to_all_others(start, first):
    line, address, _ = first
    one, two = start(address, 1), start(address, 2)
    write(two, "waits")
    joined(line, 1, 2)
    one.send_signal(signal.SIGKILL)
    reason = f"rank 1 {lifeline.SILENCE}"
    assert line.reason(WAIT_S) == reason
    assert two.stdout.readline() == f"{reason}\n"


def test_a_rank_that_fails_hands_its_reason_on(start, first):
    line, address, _ = first
    one, two = start(address, 1), start(address, 2)
    write(two, "waits")
    joined(line, 1, 2)
    write(one, "fails")
    assert line.reason(WAIT_S) == "rank 1: data: x is gone"
    assert two.stdout.readline() == "rank 1: data: x is gone\n"


def test_the_first_ranks_own_reason_reaches_the_others(start, first):
    line, address, _ = first
    other = start(address, 1)
    write(other, "waits")
    joined(line, 1)
    line.end(["loss: not finite"])
    assert other.stdout.readline() == "rank 0: loss: not finite\n"


def test_a_rank_that_is_done_is_no_loss(start, first):
    line, address, lost = first
    other = start(address, 1)
    write(other, "done")
    other.wait(WAIT_S)
    assert line.reason(1.5) is None
    assert lost == []


def test_what_the_main_thread_does_not_notice_is_reported_after_a_while(start, first, monkeypatch):
    monkeypatch.setattr(lifeline, "FAILING_S", 0.1)
    _, address, lost = first
    start(address, 3).kill()
    limit = time.monotonic() + WAIT_S
    while not lost and time.monotonic() < limit:
        time.sleep(0.02)
    assert lost == [f"rank 3 {lifeline.SILENCE}"]


def test_after_training_nobody_is_missed(start, first, monkeypatch):
    monkeypatch.setattr(lifeline, "FAILING_S", 0.1)
    line, address, lost = first
    other = start(address, 1)
    line.end()
    other.kill()
    assert line.reason(1.5) is None
    assert lost == []


def test_a_rank_whose_training_is_over_first_is_no_loss_and_leaves_nothing_open(first):
    """Its program may live on, and the other rank may still be inside its last step."""
    line, address, lost = first
    other = Lifeline.connect(address, 1, lost.append)
    limit = time.monotonic() + 10
    while not all(peer.who for peer in (*line._peers, *other._peers)) or not line._peers:
        assert time.monotonic() < limit
        time.sleep(0.01)
    listener, connection = line._listener, line._peers[0].connection
    line.end()
    while listener.fileno() >= 0 or connection.fileno() >= 0 or other._peers:
        assert time.monotonic() < limit
        time.sleep(0.01)
    assert (line.reason(), other.reason(), lost) == (None, None, [])
    line.end(["a failure after training"])  # nobody waits for this rank any more
    other.end()
    assert other.reason() is None


def test_a_connection_that_is_gone_before_it_is_accepted_stops_nothing(first, monkeypatch):
    line, address, _ = first
    other = Lifeline.connect(address, 1, lambda reason: None)
    limit = time.monotonic() + 10
    while not line._peers or not line._peers[0].who:
        assert time.monotonic() < limit
        time.sleep(0.01)
    real, calls = line._selector.select, iter(range(1))
    listener = next(key for key in line._selector.get_map().values() if key.data is None)
    # what select reports where a connection has been reset between it and accept
    monkeypatch.setattr(line._selector, "select", lambda wait_s: real(wait_s) + [(listener, 1)] * len(list(calls)))
    time.sleep(0.6)  # the look that was under way is over
    other.end(["data: x is gone"])
    assert line.reason(2) == "rank 1: data: x is gone"


def test_strangers_are_no_ranks(first):
    """Something on the network that tries all ports."""
    line, address, lost = first
    for text in (b"GET / HTTP/1.1\r\n\r\n", b'{"token": "guessed", "rank": 1, "host": "x"}\n', b"\xff\xfe\n[]\n", b""):
        with socket.create_connection(("127.0.0.1", address.port)) as stranger:
            stranger.sendall(text)
        assert line.reason(0.7) is None
    assert lost == []


def test_a_machine_that_is_switched_off_is_probed_for(first):
    """By the system; here is seen that the options are set."""
    other = Lifeline.connect(first[1], 1, lambda reason: None)
    connection = other._peers[0].connection
    assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    if hasattr(socket, "TCP_KEEPIDLE"):
        names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
        idle, interval, probes = (connection.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names)
        assert idle + interval * probes + lifeline.FAILING_S < 60
    other.end()


def test_an_address_is_handed_on_as_text():
    address = Address("10.0.0.1", 4711, "abc")
    assert loaded(address.dumped()) == address
    assert lifeline._own_address("127.0.0.1") == "127.0.0.1"
    assert lifeline._own_address("no.such.host.invalid") == "no.such.host.invalid"
