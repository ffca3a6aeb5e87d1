#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""sbatch, srun, scontrol and sacct on one machine, as far as their manuals say what this project relies on.

The name by which it is called chooses: links to this file with those names go to the front of PATH. ``STANDIN`` is the
folder of its state. "Machines" are processes that differ in their variables only. A test sends the signal ahead of
a time limit itself (`signal_tasks`).
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

STATE = Path(os.environ.get("STANDIN", "."))
OPTION = re.compile(r"#SBATCH --([\w-]+)(?:=(.*))?")
NAMES = ("sbatch", "srun", "scontrol", "sacct")


def sbatch(arguments: list[str]) -> int:
    """Queue a script; each of its array's jobs begins at once."""
    script = Path(arguments[-1])
    options = {k: shlex.split(v or "")[0] if v else "" for k, v in OPTION.findall(script.read_text())}
    number = 1001 + len(list(STATE.glob("*.sh")))
    kept = STATE / f"{number}.sh"  # the script is copied when it is submitted
    kept.write_text(script.read_text())
    last = int(options["array"].split("%")[0].split("-")[1]) if "array" in options else None
    for index in range(last + 1) if last is not None else [None]:
        job = f"{number}" if index is None else f"{number}_{index}"
        command = [sys.executable, __file__, "_job", job, str(kept), options.get("output", "slurm-%j.out")]
        command += [options.get("nodes", "1"), options.get("ntasks-per-node", "1")]
        null = subprocess.DEVNULL  # who asks reads to the end of our output
        subprocess.Popen(command, start_new_session=True, stdin=null, stdout=null, stderr=null)
    print(f"Submitted batch job {number}")
    return 0


def _job(job: str, script: str, output: str, nodes: str, per_node: str) -> int:
    """What slurmctld and slurmstepd do with one job: run its script, again when it is requeued."""
    number, _, index = job.partition("_")
    own = str(int(number) + 10 * (int(index) + 1)) if index else number
    for name, value in (("%j", own), ("%A", number), ("%a", index), ("%t", "0")):
        output = output.replace(name, value)
    environment = {
        **os.environ, "SLURM_JOB_ID": own, "SLURM_NNODES": nodes, "SLURM_JOB_NUM_NODES": nodes,
        "SLURM_NTASKS_PER_NODE": per_node, "SLURM_NTASKS": str(int(nodes) * int(per_node)), "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_JOB_NAME": "standin", "STANDIN_JOB": job,
    }  # fmt: skip
    if index:
        environment |= {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": index}
    requeued, restarts = STATE / f"{job}.requeue", 0
    while True:
        (STATE / f"{job}.state").write_text("RUNNING")
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        with open(output, "ab") as file:
            now = {**environment, "SLURM_RESTART_COUNT": str(restarts)}
            batch = subprocess.Popen(["bash", script], env=now, stdout=file, stderr=file)
        (STATE / f"{job}.batch").write_text(str(batch.pid))
        code = batch.wait()
        if not requeued.exists():
            (STATE / f"{job}.state").write_text("FAILED" if code else "COMPLETED")
            return 0
        requeued.unlink()
        restarts += 1


def srun(arguments: list[str]) -> int:
    """Start the tasks, wait for all; the highest exit code. Options that are not known are passed over."""
    words = list(arguments)
    options: dict[str, str] = {}
    while words and words[0].startswith("-"):
        name, equals, value = words.pop(0).lstrip("-").partition("=")
        if not equals and name in ("output", "error", "nodes", "ntasks-per-node"):
            value = words.pop(0)
        options[name] = value
    nodes = int(options.get("nodes", os.environ.get("SLURM_NNODES", "1")))
    per_node = int(options.get("ntasks-per-node", os.environ.get("SLURM_NTASKS_PER_NODE", "1")))
    job = os.environ.get("SLURM_JOB_ID", "7")
    tasks = []
    for number in range(nodes * per_node):
        step = {
            "SLURM_JOB_ID": job, "SLURM_STEP_ID": "0", "SLURM_PROCID": number, "SLURM_LOCALID": number % per_node,
            "SLURM_NODEID": number // per_node, "SLURM_STEP_NUM_TASKS": nodes * per_node,
            "SLURM_STEP_NUM_NODES": nodes, "SLURM_STEP_NODELIST": "localhost",
            "SLURM_STEP_TASKS_PER_NODE": f"{per_node}(x{nodes})",
        }  # fmt: skip
        environment = {**os.environ, **{name: str(value) for name, value in step.items()}}
        target = options.get("output")
        files = []
        for name in ("output", "error") if target else ():
            path = options.get(name, target or "").replace("%t", str(number)).replace("%j", job)
            for pattern, variable in (("%A", "SLURM_ARRAY_JOB_ID"), ("%a", "SLURM_ARRAY_TASK_ID")):
                path = path.replace(pattern, os.environ.get(variable, ""))
            files.append(open(path, "ab"))  # noqa: SIM115  # open as long as the task
        streams = dict(zip(("stdout", "stderr"), files, strict=False))
        tasks.append(subprocess.Popen(words, env=environment, start_new_session=True, **streams))
    (STATE / f"{os.environ.get('STANDIN_JOB', job)}.tasks").write_text(" ".join(str(task.pid) for task in tasks))

    def forward(number: int, frame: object) -> None:
        for task in tasks:
            task.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT):
        signal.signal(number, forward)
    return max(task.wait() if task.wait() >= 0 else 128 - task.returncode for task in tasks)


def scontrol(arguments: list[str]) -> int:
    """``requeue <job>``: its tasks are ended, at last by SIGKILL, and its script begins again."""
    if arguments[0] != "requeue":
        return 1
    job = arguments[1]
    (STATE / f"{job}.requeue").touch()
    command = [sys.executable, __file__, "_end", job]
    subprocess.Popen(command, start_new_session=True)  # the one that asks is among those that are ended
    return 0


def _end(job: str) -> int:
    tasks = (STATE / f"{job}.tasks").read_text()  # before the job begins again
    for number, wait_s in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 0.0)):
        _signal(tasks, number)
        time.sleep(wait_s)
    return 0


def sacct(arguments: list[str]) -> int:
    """States of jobs, as submitit asks for them."""
    print("JobID|State|NodeList")
    for path in STATE.glob("*.state"):
        print(f"{path.stem}|{path.read_text()}|localhost")
    return 0


def signal_tasks(state: Path, job: str, number: int) -> None:
    """Send a signal to all processes of a job's tasks, as slurmstepd does."""
    _signal((state / f"{job}.tasks").read_text(), number)


def _signal(tasks: str, number: int) -> None:
    for pid in tasks.split():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(pid), number)


def install(folder: Path) -> None:
    """Make the commands, in a folder for PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        command = folder / name
        command.write_text(f'#!/bin/bash\nexec {shlex.quote(sys.executable)} {shlex.quote(__file__)} {name} "$@"\n')
        command.chmod(0o755)


if __name__ == "__main__":
    sys.exit(
        {"sbatch": sbatch, "srun": srun, "scontrol": scontrol, "sacct": sacct}[sys.argv[1]](sys.argv[2:])
        if sys.argv[1] in NAMES
        else {"_job": _job, "_end": _end}[sys.argv[1]](*sys.argv[2:])
    )
