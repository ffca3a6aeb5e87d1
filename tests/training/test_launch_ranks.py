# SPDX-License-Identifier: Apache-2.0
"""Where ranks stand, and what becomes of those that we start when one of them, or their parent, goes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from clip_align.config import TrainerConfig
from clip_align.errors import UserError
from clip_align.processes import torchrun
from clip_align.training import launch_ranks as launch
from clip_align.training.launch_ranks import ChildRanks, RankLayout, rank_layout
from clip_align.training.layout_environment import LayoutEnvironment

WAIT_S = 120.0  # for what another process is about to do; only a failing test waits as long
TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "1", "RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4",
    "GROUP_RANK": "1", "GROUP_WORLD_SIZE": "2",
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "devices", "gpus", "expected"),
    [
        ("auto", None, 0, RankLayout(0, 0, 1, 1, False)),
        ("auto", None, 1, RankLayout(0, 0, 1, 1, True)),
        ("auto", None, 4, RankLayout(0, 0, 4, 4, True, children=True)),
        ("auto", 2, 4, RankLayout(0, 0, 2, 2, True, children=True)),
        ("cpu", None, 4, RankLayout(0, 0, 1, 1, False)),
        ("cpu", 3, 0, RankLayout(0, 0, 3, 3, False, children=True)),
        ("gpu", 1, 4, RankLayout(0, 0, 1, 1, True)),
        ("ddp", 2, 0, RankLayout(0, 0, 2, 2, False, children=True)),
        ("ddp", None, 2, RankLayout(0, 0, 2, 2, True, children=True)),
        ("fsdp", None, 2, RankLayout(0, 0, 2, 2, True, children=True)),
        ("fsdp", 3, 0, RankLayout(0, 0, 3, 3, False, children=True)),
    ],
)
def test_place(kind, devices, gpus, expected):
    assert rank_layout(TrainerConfig(kind=kind, devices=devices), gpus, {}) == expected


def test_place_under_torchrun_is_torchruns():
    layout = rank_layout(TrainerConfig(kind="ddp"), 4, TORCHRUN)
    assert layout == RankLayout(5, 1, 8, 4, True, node=1, nodes=2)
    assert rank_layout(TrainerConfig(kind="multi_node"), 4, TORCHRUN) == layout
    assert not rank_layout(TrainerConfig(kind="cpu"), 4, TORCHRUN).gpu


def test_machines_may_have_different_numbers_of_ranks():
    """Lightning's product of devices and machines is another number then."""
    uneven = {**TORCHRUN, "RANK": "2", "LOCAL_RANK": "0", "WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "1"}
    layout = rank_layout(TrainerConfig(kind="ddp"), 0, uneven)
    assert (layout.rank, layout.local_rank, layout.node, layout.nodes) == (2, 0, 1, 2)
    environment = LayoutEnvironment(layout)
    environment.validate_settings(1, 2)
    environment.set_world_size(2)
    environment.set_global_rank(1)
    assert (environment.world_size(), environment.global_rank(), environment.node_rank()) == (3, 2, 1)


def test_a_task_that_sees_one_gpu_trains_on_it():
    """As with srun --gpus-per-task=1, where the second task of a machine would look for a second GPU."""
    task = {**TORCHRUN, torchrun.OURS: "1", "SLURM_PROCID": "5", "SLURM_GPUS_PER_TASK": "1"}
    layout = rank_layout(TrainerConfig(kind="ddp"), 1, task)
    assert (layout.local_rank, layout.gpu_number, str(layout.device)) == (1, 0, "cuda:0")
    assert LayoutEnvironment(layout).local_rank() == 0


@pytest.mark.parametrize(
    ("kind", "devices", "gpus", "environment", "message"),
    [
        ("gpu", None, 0, {}, "trainer: gpu was asked for and torch finds none"),
        ("multi_node", None, 4, {}, "trainer: multi_node trains on ranks that torchrun or srun has started"),
        ("auto", 3, 2, {}, "trainer.devices: 3 were asked for and torch finds 2 GPUs"),
        ("ddp", None, 2, TORCHRUN, "trainer: 4 ranks on this machine and 2 GPUs"),
        (
            "fsdp",
            None,
            0,
            {},
            "trainer: fsdp divides a model over several ranks and there is one; give trainer.devices=2",
        ),
        ("fsdp", None, 1, {}, "trainer: fsdp divides a model over several ranks and there is one"),
    ],
)
def test_what_cannot_be_had_is_refused(kind, devices, gpus, environment, message):
    with pytest.raises(UserError, match=message):
        rank_layout(TrainerConfig(kind=kind, devices=devices), gpus, environment)


def children(monkeypatch: pytest.MonkeyPatch, script: str, **given: Any) -> ChildRanks:
    """Two children that run ``script`` instead of a training."""
    real = subprocess.Popen
    monkeypatch.setattr(
        launch.subprocess, "Popen", lambda command, **how: real([sys.executable, "-c", script, command[-1]], **how)
    )
    return ChildRanks({"a": "x" * 200_000}, 3, 1234, given.get("failed", lambda reason: None))


def test_the_last_output_of_a_failed_child_is_reported(monkeypatch):
    script = """
import os, sys, time
sys.stdin.read()  # else this process would wait until the child that sleeps has ended
print("warning: never mind")
if os.environ["RANK"] == "2":
    sys.exit("data: no such shard")
time.sleep(600)
"""
    ranks = children(monkeypatch, script)
    try:
        assert ranks.reason(WAIT_S) == "rank 2: data: no such shard"
    finally:
        ranks.end(0)


def test_threads_that_ask_at_once_all_get_the_reason(monkeypatch):
    """The watching one and the main one share a file, whose position is that of both."""
    ranks = children(monkeypatch, "import sys; print('line\\n' * 2000); sys.exit('data: no such shard')")
    try:
        assert ranks.reason(10)
        found: list[str | None] = []
        threads = [threading.Thread(target=lambda: found.extend(ranks.reason() for _ in range(40))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        ranks.end(0)
    assert len(found) == 160
    assert {str(reason).partition(": ")[2] for reason in found} == {"data: no such shard"}


def test_children_have_their_place_and_job(monkeypatch):
    script = """
import os, json, sys
assert json.load(sys.stdin) == {"a": "x" * 200_000}  # more than an environment variable holds
assert os.environ["WORLD_SIZE"] == os.environ["LOCAL_WORLD_SIZE"] == "3"
assert os.environ["RANK"] == os.environ["LOCAL_RANK"]
assert (os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]) == ("127.0.0.1", "1234")
"""
    ranks = children(monkeypatch, script)
    ranks.end(WAIT_S)
    assert ranks.reason() is None


def test_a_parent_that_waits_is_reported_after_a_while(monkeypatch):
    reported: list[str] = []
    monkeypatch.setattr(launch, "FAILING_S", 0.1)
    ranks = children(monkeypatch, "import sys; sys.exit('gone')", failed=reported.append)
    limit = time.monotonic() + WAIT_S
    while not reported and time.monotonic() < limit:
        time.sleep(0.05)
    ranks.end(0)
    assert reported[0].endswith(": gone")


def test_once_training_is_over_a_childs_code_is_no_failure(monkeypatch, tmp_path):
    script = f"""
import pathlib, sys, time
sys.stdin.read()
while not pathlib.Path({str(tmp_path / "over")!r}).exists():
    time.sleep(0.01)
sys.exit(143)
"""
    reported: list[str] = []
    monkeypatch.setattr(launch, "FAILING_S", 0.1)
    ranks = children(monkeypatch, script, failed=reported.append)
    ranks.may_end()
    (tmp_path / "over").touch()
    assert [process.wait(WAIT_S) for process in ranks._processes] == [143, 143]
    time.sleep(1.0)  # a failure is looked for every half second
    ranks.end(0)
    assert reported == []


def test_half_precision_needs_a_gpu():
    with pytest.raises(UserError, match=r"trainer.precision: 16-mixed needs a GPU; on the CPU take bf16-mixed or 32"):
        rank_layout(TrainerConfig(kind="auto", precision="16-mixed"), 0, {})
    assert rank_layout(TrainerConfig(kind="auto", precision="16-mixed"), 1, {}).gpu


def test_a_child_ends_with_its_parent(tmp_path):
    inner = (
        "import sys, time; from clip_align.processes.parent import end_with_parent\n"
        "end_with_parent(int(sys.argv[1])); time.sleep(600)"
    )
    outer = (
        "import os, subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {inner!r}, str(os.getpid())])\n"
        "print(child.pid, flush=True)\n"
        "sys.stdin.read(1)\n"
        "os._exit(0)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", outer], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    time.sleep(0.5)
    os.kill(pid, 0)
    parent.communicate("x")
    limit = time.monotonic() + WAIT_S
    while time.monotonic() < limit:
        try:
            if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":  # ended; its code has not been read yet
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.1)
    os.kill(pid, 9)
    pytest.fail("the child outlived its parent")
