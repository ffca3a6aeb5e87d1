# SPDX-License-Identifier: Apache-2.0
"""A run on two machines: two torchrun agents with nothing in common but the network, also in two network namespaces."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from agents import Agent, start
from training_runs import SMALL, code_of, lines, losses, provenance, reached, real, when

from clip_align.processes.lifeline import SILENCE
from clip_align.testing.gloo_ranks import free_port

pytestmark = pytest.mark.slow
TWO = [*SMALL, "trainer=multi_node", "trainer.max_steps=12", "data.batch_size=16", "data.workers=0"]


@pytest.fixture
def agents() -> Iterator[list[Agent]]:
    started: list[Agent] = []
    yield started
    for agent in started:
        agent.kill()


def both(agents: list[Agent]) -> str:
    return "\n".join(f"-- {agent.folder.name}\n{agent.text()}" for agent in agents)


def test_uneven_machines_that_share_nothing_train_and_resume_as_one_does(tmp_path, cache, agents):
    """2 ranks and 1, own caches and own folders of runs; the checkpoint lies on the first machine alone."""
    arguments = [*TWO, "name=m", "checkpoint.every_n_steps=6", "data.batch_size=8", "trainer.log_every_n_steps=3"]
    for steps in ("trainer.max_steps=6", "trainer.max_steps=12"):
        master = "127.0.0.1", free_port()
        more = [*arguments, steps, "optimizer.schedule=constant", "resume=auto"]
        agents[:] = [start(tmp_path / name, n, 2 - n, master, more) for n, name in enumerate(("a", "b"))]
        assert [code_of(agent.process, 600) for agent in agents] == [0, 0], both(agents)
    first, second = agents
    run = first.runs / "m"
    assert provenance(run)["ranks"] == 3
    assert not second.runs.exists()
    assert {path.name for path in (second.folder / "cache").iterdir()} >= {"world"}, "it renders its own world"
    assert "resume: sending last.ckpt to a machine that does not have it" in first.text()
    assert list((second.folder / "cache" / "resumed").iterdir()) == []
    alone = [*arguments, "trainer=cpu", "trainer.devices=3", "optimizer.schedule=constant", "name=one"]
    alone += [f"paths.cache={cache}", f"paths.runs={tmp_path}"]
    assert code_of(real(alone, tmp_path / "out"), 600) == 0
    # not bit for bit: the machine with one rank computes with more threads, which round in another order
    assert losses(run) == pytest.approx(losses(tmp_path / "one"), rel=1e-5)


@pytest.mark.parametrize("killed", ["rank 2", "agent 1"])
def test_what_is_killed_ends_the_run_everywhere_with_its_reason(tmp_path, agents, killed):
    master = "127.0.0.1", free_port()
    arguments = [*TWO, "name=k", "trainer.max_steps=99999", "trainer.log_every_n_steps=5"]
    agents[:] = [start(tmp_path / name, n, 1 + n, master, arguments) for n, name in enumerate(("a", "b"))]
    first, second = agents
    when(reached(first.runs / "k", 5), first.process, 400)
    victim = second.process.pid if killed == "agent 1" else second.ranks()[-1]
    began = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    codes = [code_of(agent.process) for agent in agents]
    assert time.monotonic() - began < 150
    assert 0 not in codes
    if killed == "agent 1":
        reason = "torchrun, which had started this rank, has ended"
        assert f": {reason}" in first.text(), both(agents)
    else:
        assert f"{killed} {SILENCE}" in first.text().splitlines(), both(agents)
    assert provenance(first.runs / "k")["status"] == "failed"
    assert lines(first.runs / "k", "event")[-1]["event"] == "stopped"


@pytest.fixture
def namespaces() -> Iterator[list[str]]:
    """Two network namespaces with a cable between them, 10.77.0.1 and 10.77.0.2."""
    ip = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if ip is None:
        pytest.skip("no ip command")
    names = [f"clip-align-{secrets.token_hex(3)}" for _ in range(2)]
    ends = [f"ca{secrets.token_hex(3)}" for _ in range(2)]

    def run(*words: str) -> None:
        subprocess.run([ip, *words], check=True, capture_output=True)

    try:
        try:
            for name in names:
                run("netns", "add", name)
            run("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
            for number, (name, end) in enumerate(zip(names, ends, strict=True), 1):
                run("link", "set", end, "netns", name)
                run("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", end)
                for device in (end, "lo"):
                    run("-n", name, "link", "set", device, "up")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespace can be made: {error.stderr.decode().strip()}")
        yield [f"{ip} netns exec {name} env GLOO_SOCKET_IFNAME={end}" for name, end in zip(names, ends, strict=True)]
    finally:
        for name in names:  # the cable goes with them
            subprocess.run([ip, "netns", "del", name], capture_output=True)


def test_two_network_namespaces_train_together(tmp_path, agents, namespaces):
    """Machines that reach each other by a network only: no loopback, no common host address."""
    master = "10.77.0.1", free_port()
    for n, name in enumerate(("a", "b")):
        agents.append(
            start(tmp_path / name, n, 1, master, [*TWO, "trainer.max_steps=4", "name=n"], namespaces[n].split())
        )
    assert [code_of(agent.process, 600) for agent in agents] == [0, 0], both(agents)
    assert provenance(agents[0].runs / "n")["ranks"] == 2
    assert "may be noticed late" not in both(agents)  # the lifeline has found its way too
