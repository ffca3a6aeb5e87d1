# SPDX-License-Identifier: Apache-2.0
"""``evaluate`` on a run of clip-align."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import sys
import threading
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from series_runs import TRAINING, command, lines, numbers

import clip_align as ca
from clip_align.record.record import Position, Record, read
from clip_align.record.tidy import Tidy


@pytest.fixture(scope="module")
def evaluated(trained: Path, places: list[str]) -> Path:
    done = command("evaluate", "mine", "trainer=cpu", *places)
    assert done.returncode == 0, done.stdout + done.stderr
    return trained.with_name("mine-evaluated")


def test_every_kept_checkpoint_gives_the_live_values(trained: Path, evaluated: Path) -> None:
    live, again = numbers(trained), numbers(evaluated)
    # step 0 is there as the best checkpoint, or it is not: its weights are kept only while nothing beats them
    assert {4, 8} <= set(again) <= set(live)
    for step, values in again.items():
        assert values.keys() == live[step].keys()
        for key, value in values.items():
            expected = live[step][key]
            same = value == expected if isinstance(value, str) or value is None else abs(value - expected) <= 1e-6
            # the fraction is counted from the last event: without the one at step 0 from the beginning of training
            assert same or key.endswith("carried_fraction"), f"{key} at step {step}: {value}, live {expected}"
    assert "human/pairs_csv/srocc@raw" in again[8]
    for name in ("items.csv", "step-000000008.npz"):
        path = Path("items") / "human" / "pairs_csv" / name
        assert (evaluated / path).exists()
    csvs = [run / "items" / "human" / "pairs_csv" / "items.csv" for run in (trained, evaluated)]
    assert csvs[0].read_bytes() == csvs[1].read_bytes()


def test_its_folder_is_that_of_a_run(evaluated: Path) -> None:
    about = json.loads((evaluated / "provenance.json").read_text())
    assert (about["status"], about["exit_code"]) == ("done", 0)
    assert about["series"]["weights"] == ["ema", "raw"]
    events = [(line["event"], line["message"]) for line in lines(evaluated, "event")]
    assert events[0][0] == "started"
    assert events[-1] == ("finished", "done at step 8")
    assert (evaluated / "report.html").stat().st_size > 1000
    assert (evaluated / "curves.png").stat().st_size > 1000
    with (evaluated / "evaluations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["global_step"]) for row in rows] == sorted(numbers(evaluated))
    assert float(rows[-1]["human/pairs_csv/srocc"]) == numbers(evaluated)[8]["human/pairs_csv/srocc"]
    assert not list(evaluated.glob(".claims/*"))


def test_what_is_done_is_not_done_again(evaluated: Path, places: list[str]) -> None:
    before = lines(evaluated, "evaluation")
    done = command("evaluate", "mine", "trainer=cpu", *places)
    assert done.returncode == 0, done.stdout + done.stderr
    assert lines(evaluated, "evaluation") == before
    assert "human/pairs_csv/srocc" in done.stdout  # the table, nevertheless
    # and a training cannot go on in it
    refused = command("train", "resume=mine-evaluated", *places)
    assert refused.returncode == 2
    assert "No such file" in refused.stderr


def test_one_checkpoint_one_benchmark_then_the_other(trained: Path, pairs: Path, places: list[str]) -> None:
    file = str(trained / "checkpoints" / "step-000000008.ckpt")
    common = ["evaluate", file, "trainer=cpu", "name=one", "evaluation.weights=raw", *places]
    one = ["callbacks=[pairs_csv]", f"callbacks.pairs_csv.csv={pairs}"]
    run = trained.with_name("one")
    first = command(*common, *one)
    assert first.returncode == 0, first.stdout + first.stderr
    live = numbers(trained)[8]
    assert numbers(run).keys() == {8}
    assert abs(numbers(run)[8]["human/pairs_csv/srocc"] - live["human/pairs_csv/srocc@raw"]) <= 1e-6
    record = Record(run)  # as another benchmark, evaluated there by another command, would be
    line = next(e for e in read(run).evaluations if e["global_step"] == 8)
    record.append("evaluation", Position(8, 64, 0, 1.0), {**numbers(run)[8], "human/other/srocc": 0.5})
    record.close("done")
    second = command(*common, *one, "+callbacks.pairs_csv.name=again")
    assert second.returncode == 0, second.stdout + second.stderr
    both = numbers(run)[8]
    assert both["human/again/srocc"] == both["human/pairs_csv/srocc"] == line["human/pairs_csv/srocc"]
    assert both["human/other/srocc"] == 0.5
    third = command(*common, *one, "callbacks.pairs_csv.distance=cosine")
    assert third.returncode == 2
    assert third.stderr.splitlines() == [
        f"human/pairs_csv: distance: 'cosine', and the record in {run} has 'normalised_euclidean'; choose another "
        "name=…"
    ]


def test_a_damaged_checkpoint_costs_that_one(trained: Path, places: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "other" / "checkpoints"
    folder.mkdir(parents=True)
    for step in (4, 8):
        shutil.copy(trained / "checkpoints" / f"step-{step:09d}.ckpt", folder)
    whole = folder / "step-000000008.ckpt"
    content = bytearray(whole.read_bytes())
    content[len(content) // 2] ^= 0xFF  # one bit of a tensor, most likely: only its checksum knows
    (folder / "step-000000006.ckpt").write_bytes(b"not a checkpoint")
    done = command("evaluate", f"{folder}/*.ckpt", "trainer=cpu", "name=damaged", *places)
    assert done.returncode == 1, done.stdout + done.stderr
    assert set(numbers(trained.with_name("damaged"))) == {4, 8}
    warnings = [line["message"] for line in lines(trained.with_name("damaged"), "event") if line["event"] == "warning"]
    assert len(warnings) == 1
    assert "step-000000006.ckpt: cannot be read" in warnings[0]
    last = lines(trained.with_name("damaged"), "event")[-1]
    assert (last["message"], last["exit_code"]) == ("done, but for 1 checkpoint that could not be evaluated", 1)
    whole.write_bytes(bytes(content))
    again = command("evaluate", f"{folder}/*8.ckpt", "trainer=cpu", "name=bits", *places)
    assert again.returncode == 2
    assert "step-000000008.ckpt: damaged" in again.stderr


def test_mistakes_are_one_line_each(trained: Path, places: list[str]) -> None:
    done = command("evaluate", "optimizer.lr=1", "watch=maybe", "output=", *places)
    assert done.returncode == 2
    valid = (
        "output, watch, observer, weights, model_config, samples_per_epoch, global_batch, callbacks, data, evaluation, "
        "model, name, paths, seed, tracker, trainer"
    )
    assert done.stderr.splitlines()[0] == f"optimizer.lr: no key of evaluate; valid: {valid}"
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == [
        "optimizer.lr", "watch", "output", "evaluate",
    ]  # fmt: skip
    misspelt = command("evaluate", "mine", "wacth=true", *places)
    assert misspelt.stderr.splitlines() == [f"wacth: no key of evaluate; did you mean watch? valid: {valid}"]
    taken = command("evaluate", "mine", "name=mine", *places)
    assert taken.returncode == 2
    assert taken.stderr.splitlines() == [
        f"name: {trained} holds a run, and no record of a series; choose another name=… or output=…"
    ]


def test_training_from_python_in_a_thread(pairs: Path, places: list[str]) -> None:
    data = [f"data.csv={pairs.with_name('captions.csv')}", f"callbacks.pairs_csv.csv={pairs}"]
    given = [word for word in TRAINING if not word.startswith("name=")]
    found: list[Tidy] = []
    before = signal.getsignal(signal.SIGTERM)
    # a notebook's cell may run in any thread: handlers of signals belong to the main one
    thread = threading.Thread(target=lambda: found.append(ca.train([*given, *data, *places], name="python")))
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before
    assert [row["step"] for row in found[0].scores if row["key"] == "human/pairs_csv/srocc"] == [0, 4, 8]
    assert found[0].training[-1]["train/loss"] > 0
    assert {row["key"] for row in found[0].benchmarks} == {"human/pairs_csv"}
    again = ca.read("python", places[0].partition("=")[2])
    assert again.scores == found[0].scores
    assert {row["weights"] for row in again.scores} == {"ema", "raw"}


def test_no_code_in_a_checkpoint_runs(tmp_path: Path, places: list[str]) -> None:
    class Hostile:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    torch.save({"state_dict": {}, "clip_align": Hostile()}, tmp_path / "bad.ckpt")
    done = command("evaluate", str(tmp_path / "bad.ckpt"), "callbacks=[world]", *places)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "ran").exists()
