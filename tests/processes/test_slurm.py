# SPDX-License-Identifier: Apache-2.0
"""Tasks of srun as ranks, by the variables that its manual names (no SLURM is needed)."""

from __future__ import annotations

import pytest

from clip_align.processes import slurm, torchrun

# srun --nodes=3 --ntasks=5 --distribution=block: what its manual says that the fourth task sees
STEP = {
    "SLURM_JOB_ID": "123456", "SLURM_STEP_ID": "0", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NODEID": "1",
    "SLURM_STEP_NUM_TASKS": "5", "SLURM_STEP_NUM_NODES": "3", "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    "SLURM_STEP_NODELIST": "gpu[07-08],big1", "SLURM_NTASKS": "5", "SLURM_JOB_NAME": "train",
}  # fmt: skip


def test_a_task_has_its_place_in_torchruns_names():
    ranks = slurm.as_ranks(STEP)
    assert ranks == {
        "RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "5", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "1",
        "GROUP_WORLD_SIZE": "3", "MASTER_ADDR": "gpu07", "MASTER_PORT": "18456", "CLIP_ALIGN_RANK": "1",
    }  # fmt: skip
    both = {**STEP, **ranks}
    assert torchrun.started_outside(both)
    assert not torchrun.under_torchrun(both)
    assert (torchrun.rank(both), torchrun.machine(both), torchrun.first_on_machine(both)) == (3, 1, False)
    assert torchrun.problem(both) is None
    assert slurm.as_ranks(both) == {}  # once


def test_every_task_of_a_step_names_the_same_store():
    of = [slurm.as_ranks({**STEP, "SLURM_PROCID": str(n), "SLURM_NODEID": str(n // 2)}) for n in range(5)]
    assert len({(ranks["MASTER_ADDR"], ranks["MASTER_PORT"]) for ranks in of}) == 1
    assert [ranks["LOCAL_WORLD_SIZE"] for ranks in of] == ["2", "2", "2", "2", "1"]
    assert slurm.as_ranks({**STEP, "SLURM_STEP_ID": "1"})["MASTER_PORT"] != of[0]["MASTER_PORT"]
    typed = slurm.as_ranks({**STEP, "MASTER_ADDR": "head", "MASTER_PORT": "29500"})
    assert (typed["MASTER_ADDR"], typed["MASTER_PORT"]) == ("head", "29500")


@pytest.mark.parametrize(
    "change",
    [
        {"SLURM_STEP_NUM_TASKS": "1"},
        {"SLURM_JOB_NAME": "bash"},  # salloc, srun --pty bash
        {"SLURM_PTY_PORT": "40000"},
        {"TORCHELASTIC_RUN_ID": "x"},
        {"CLIP_ALIGN_RANK": "1"},  # a rank that one of ours has started
    ],
)
def test_what_is_no_rank(change):
    assert slurm.as_ranks({**STEP, **change}) == {}


def test_without_slurm_there_is_nothing():
    assert slurm.as_ranks({}) == {}
    assert slurm.as_ranks({"SLURM_STEP_NUM_TASKS": "8"}) == {}


@pytest.mark.parametrize(
    ("machines", "first"),
    [
        ("node1", "node1"),
        ("node1,node2", "node1"),
        ("gpu[07-09,12],big1", "gpu07"),
        ("gpu[12]", "gpu12"),
        ("rack[1-2]-gpu[003-004]", "rack1-gpu003"),
        ("a-b.example.org,c", "a-b.example.org"),
    ],
)
def test_the_first_machine_of_a_list(machines, first):
    assert slurm.first_machine(machines) == first


@pytest.mark.parametrize(("text", "tasks"), [("8", [8]), ("2(x3),1", [2, 2, 2, 1]), ("1,4(x2)", [1, 4, 4]), ("", [])])
def test_tasks_of_each_machine(text, tasks):
    assert slurm.tasks_per_machine(text) == tasks


@pytest.mark.parametrize(
    ("change", "gpus", "expected"),
    [
        ({"SLURM_GPUS_PER_TASK": "1"}, 1, True),
        ({"SLURM_GPUS_PER_TASK": "a100:1"}, 1, True),
        ({"SLURM_GPUS_ON_NODE": "2"}, 1, True),
        ({"SLURM_GPUS_ON_NODE": "1"}, 1, False),  # two tasks would share it
        ({"SLURM_GPUS_ON_NODE": "2"}, 2, False),  # each sees both
        ({}, 1, False),
    ],
)
def test_a_task_may_see_its_own_gpu_alone(change, gpus, expected):
    assert slurm.one_gpu_each({**STEP, **change}, gpus, 2) is expected
