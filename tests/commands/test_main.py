# SPDX-License-Identifier: Apache-2.0
"""The command line as users see it: exit codes, one line per error, nothing slow before a refusal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from clip_align import __main__ as program
from clip_align.config import conf_dir
from clip_align.errors import TOO_MANY_FILES, RunError, UserError
from clip_align.processes import torchrun
from clip_align.settings.yaml_keys import options

ROOT = Path(__file__).resolve().parents[2]


Quick = Callable[..., tuple[int, list[str], list[str]]]
SLOW_PACKAGES = ("torch", "open_clip", "pytorch_lightning", "lightning_fabric", "torchvision", "matplotlib", "scipy")


def type_in(
    *words: str, cwd: Path, command: Sequence[str] = (str(ROOT / "train.py"),), **environment: str
) -> tuple[int, list[str], list[str]]:
    """Exit code, and lines on stdout and stderr, of ``python train.py …``."""
    done = subprocess.run(
        [sys.executable, *command, *words],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()


@pytest.fixture
def quick(tmp_path_factory: pytest.TempPathFactory) -> Quick:
    """`type_in` where nothing that takes seconds can be imported: a command that does so ends with another code."""
    folder = tmp_path_factory.mktemp("slow")
    for name in SLOW_PACKAGES:
        (folder / f"{name}.py").write_text(f"import os; print('{name} was imported', flush=True); os._exit(99)\n")
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
    return partial(type_in, PYTHONPATH=path)


def test_a_refusal_is_quick_and_leaves_nothing_behind(tmp_path: Path, quick: Quick) -> None:
    code, out, err = quick(
        "trainer.max_stepz=3", "data.batch_size=x", "callbacks.tid2013_remade.every_n_steps=0", cwd=tmp_path
    )
    assert (code, out) == (2, [])
    assert err == [
        "trainer.max_stepz: unknown key; did you mean trainer.max_steps?",
        "data.batch_size: 'x' is not a whole number",
        "callbacks.tid2013_remade.every_n_steps: 0 is out of range; it must be at least 1",
    ]
    assert list(tmp_path.iterdir()) == []


def test_what_is_slow_would_be_noticed(tmp_path: Path, quick: Quick) -> None:
    code, out, _ = quick("trainer.max_steps=1", "callbacks=[]", cwd=tmp_path)
    assert code == 99
    assert out[-1].endswith(" was imported")


def test_help_is_quick_and_shows_groups_and_common_keys(tmp_path: Path, quick: Quick) -> None:
    code, out, err = quick("--help", cwd=tmp_path)
    assert (code, err) == (0, [])
    text = "\n".join(out)
    for expected in (
        "world*",
        "vit_b_32",
        "standard*",
        "wandb*",
        "trainer.max_steps=1300",
        "resume=mine",
        "--multirun",
    ):
        assert expected in text
    assert max(map(len, out)) <= 120
    for group in (p.name for p in conf_dir().iterdir() if p.is_dir() and p.name != "hydra"):
        assert any(line.startswith(f"  {group} ") for line in out), group


def test_the_whole_error_on_request(tmp_path: Path) -> None:
    code, _, err = type_in("seed=-1", cwd=tmp_path, HYDRA_FULL_ERROR="1")
    assert code == 2
    assert err[0].startswith("Traceback")
    assert err[-1] == "seed: -1 is out of range; it must be at least 0 and at most 4294967295"


def test_a_used_name_and_an_unusable_cache_are_refused_before_torch(tmp_path: Path, quick: Quick) -> None:
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "metrics.jsonl").write_text("{}\n")
    (tmp_path / "file").write_text("")
    code, _, err = quick("name=a", "paths.cache=file/cache", cwd=tmp_path)
    assert code == 2
    assert err == [
        "name: runs/a already holds a run; continue with it by resume=a, or choose another name=…",
        f"paths.cache: {tmp_path}/file/cache cannot be used (Not a directory); give a folder that can be written",
    ]


def test_data_that_are_not_there_are_refused_before_torch(tmp_path: Path, quick: Quick) -> None:
    code, _, err = quick("data=webdataset", "data.shards=/nope.tar", "callbacks=[]", cwd=tmp_path)
    assert (code, err) == (2, [
        "data.shards: no such shard: /nope.tar; name tars that exist, like '/folder/{000..003}.tar' or '/folder/*.tar'"
    ])  # fmt: skip
    for more in ([], ["--multirun", "seed=1,2"]):
        code, _, err = quick("data=folder", "data.csv=/nope.csv", "callbacks=[]", *more, cwd=tmp_path)
        assert (code, err) == (2, ["data.csv: no such file: /nope.csv; name a csv with data.csv=…"])


def test_a_place_where_no_run_can_be_made_is_refused_before_torch(tmp_path: Path, quick: Quick) -> None:
    (tmp_path / "file").write_text("")
    for more in ([], ["--multirun", "seed=1,2"], ["name=a"]):
        code, _, err = quick("paths.runs=file", *more, cwd=tmp_path)
        assert (code, err) == (2, [f"paths.runs: {tmp_path}/file is not a folder; set paths.runs=…"])


def test_under_torchrun_an_error_is_printed_once(tmp_path: Path) -> None:
    code, _, err = type_in("seed=-1", cwd=tmp_path, RANK="1", WORLD_SIZE="2", TORCHELASTIC_RUN_ID="x")
    assert (code, err) == (2, [])


def test_a_rank_that_torchrun_has_not_set_is_none(tmp_path: Path) -> None:
    code, _, err = type_in("seed=-1", cwd=tmp_path, RANK="1")
    assert (code, err) == (2, ["seed: -1 is out of range; it must be at least 0 and at most 4294967295"])
    code, _, err = type_in("trainer.max_steps=1", cwd=tmp_path, RANK="1", WORLD_SIZE="2")
    assert code == 2
    assert err == [
        "WORLD_SIZE: 2 without torchrun; start the ranks by torchrun --nproc-per-node=<n> train.py …, "
        "or unset WORLD_SIZE and let trainer=ddp start them"
    ]


SLURM = (
    "SLURM: 2 tasks, and this process was not started by srun, so that it would train alone; type "
    "srun python train.py …, or ask for one task"
)


@pytest.mark.parametrize(
    "more", [[], ["trainer=ddp", "trainer.devices=2"], ["dry_run=true"], ["--multirun", "seed=1,2"]]
)
@pytest.mark.parametrize("task", ["0", "1"])
def test_a_job_of_several_tasks_needs_srun(tmp_path: Path, quick: Quick, more: list[str], task: str) -> None:
    code, out, err = quick(*more, cwd=tmp_path, SLURM_NTASKS="2", SLURM_PROCID=task)
    assert (code, out, err) == (2, [], [SLURM])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "environment",
    [
        {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"},
        {"SLURM_NTASKS": "8"},  # a shell of salloc: one process
        {"SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"},  # srun --ntasks=1 inside a larger job
        {"SLURM_NTASKS": "8", "SLURM_PROCID": "3", "TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "8"},
        {"SLURM_NTASKS": "8", "SLURM_PROCID": "3", "CLIP_ALIGN_RANK": "1", "WORLD_SIZE": "8"},  # a task of srun
    ],
)
def test_one_task_or_torchrun_is_no_problem_under_slurm(environment: dict[str, str]) -> None:
    assert torchrun.problem(environment) is None


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "module://no.such", "nonsense"])
def test_a_notebooks_backend_ends_no_command(tmp_path: Path, backend: str) -> None:
    code, _, err = type_in(cwd=tmp_path, MPLBACKEND=backend, command=("-c", DRAWS))
    assert (code, err) == (0, [])


DRAWS = """
import sys
from clip_align import __main__ as program
program._dispatch = lambda given: __import__("matplotlib.pyplot").pyplot.figure() and 0
sys.exit(program.main(["report"]))
"""


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_a_terminal_that_cannot_show_a_character_ends_no_command(tmp_path: Path, environment: dict[str, str]) -> None:
    code, out, err = type_in("--help", cwd=tmp_path, **environment)
    assert (code, err) == (0, [])
    assert len(out) > 20
    code, _, err = type_in("seed=·", cwd=tmp_path, **environment)
    assert (code, len(err)) == (2, 1)
    assert err[0].startswith("seed: '")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("a: wrong"), 2, "a: wrong"),
        (RunError("b: failed"), 1, "b: failed"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (PermissionError(13, "Permission denied", "/a\nb"), 2, "/a\\nb: Permission denied"),
        (OSError(24, "Too many open files", "/a"), 2, TOO_MANY_FILES),  # the file is not at fault
        (
            OSError(28, "No space left on device"),
            1,
            "OSError: [Errno 28] No space left on device (a defect; HYDRA_FULL_ERROR=1 shows where)",
        ),
        (ValueError("odd\nthing"), 1, "ValueError: odd thing (a defect; HYDRA_FULL_ERROR=1 shows where)"),
    ],
)
def test_every_failure_ends_with_a_line_and_its_code(
    error: BaseException, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(given: list[str]) -> int:
        raise error

    monkeypatch.setattr(program, "_dispatch", fail)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    assert program.main(["train"]) == code
    assert capsys.readouterr().err == f"{line}\n"


def test_a_reader_who_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    words = [sys.executable, str(ROOT / "train.py"), "--help"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(120) == 1


def test_commands(capsys: pytest.CaptureFixture[str]) -> None:
    valid = "train, bench, completion, data, evaluate, report, verify"
    assert program.main(["trian"]) == 2
    assert capsys.readouterr().err == f"trian: no such command; did you mean train? valid: {valid}\n"
    assert program.main(["sync", "a"]) == 2
    assert capsys.readouterr().err == f"sync: not in this release; there are: {valid}\n"
    assert program.main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("python -m clip_align <command>")
    assert err.endswith(f"\nno command given; valid: {valid}\n")
    assert program.main(["--help"]) == 0
    assert "train" in capsys.readouterr().out


OUTSIDE = {
    "outside_pkg/__init__.py": "",
    "outside_pkg/conf/__init__.py": "",
    "outside_pkg/conf/callbacks/my_pairs.yaml": "my_pairs:\n  _target_: outside_pkg.my_pairs.MyPairs\n  root: ???\n"
    "  every_n_steps: ${evaluation.every_n_steps}\n",
    "outside_pkg/my_pairs.py": "from clip_align.callbacks.base import PerceptualCallback\n"
    "class MyPairs(PerceptualCallback):\n    def __init__(self, root: str, **base): ...\n",
    "hydra_plugins/outside/__init__.py": "",
    "hydra_plugins/outside/plugin.py": "from hydra.plugins.search_path_plugin import SearchPathPlugin\n"
    "class Outside(SearchPathPlugin):\n    def manipulate_search_path(self, search_path):\n"
    "        search_path.append(provider='outside', path='pkg://outside_pkg.conf')\n",
}


def test_an_option_that_clip_align_has_too_is_hidden_with_a_line(tmp_path: Path) -> None:
    for name, text in OUTSIDE.items():
        path = tmp_path / name.replace("my_pairs.yaml", "levels.yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    hidden = "callbacks=levels: that of clip-align is used, which hides pkg://outside_pkg.conf/callbacks/levels.yaml; "
    hidden += "give the file another name to choose it"
    code, _, err = type_in(
        "callbacks=[levels]", "paths.data=none", "data.images=512", cwd=tmp_path, PYTHONPATH=str(tmp_path)
    )
    assert (code, err[0]) == (2, hidden)
    assert len(err) == 2
    assert "Levels" in err[1]  # the class of clip-align misses its data
    *_, err = type_in("callbacks=[world]", "seed=-1", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert [line for line in err if "hides" in line] == []


def test_an_outside_package_brings_a_callback(tmp_path: Path) -> None:
    for name, text in OUTSIDE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    code, _, err = type_in(
        "callbacks=[standard,my_pairs]", "callbacks.my_pairs.every_n_steps=0", cwd=tmp_path, PYTHONPATH=str(tmp_path)
    )
    assert code == 2
    assert err == [
        "callbacks.my_pairs.root: not given; this key has no default: callbacks.my_pairs.root=…",
        "callbacks.my_pairs.every_n_steps: 0 is out of range; it must be at least 1",
    ]
    code, _, err = type_in("callbacks=[standard,my_pairs]", cwd=tmp_path)
    assert code == 2
    assert err == [
        f"callbacks=my_pairs: no such option; valid: {', '.join(options('callbacks'))}; one of a package of your own "
        "is there once the package, with its search-path plugin, is installed: pip install -e <its folder>"
    ]
