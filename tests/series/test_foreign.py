# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of other trainers, encoders and observers, through the command; values against the model in memory."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from series_runs import command, numbers

import clip_align as ca
from clip_align.callbacks.human.pairs_csv import PairsCsv
from clip_align.errors import RunError, UserError
from clip_align.evaluation.observers import observed
from clip_align.perception.observers import PSNR
from clip_align.record.record import Position, Record
from clip_align.runs.folder import RunFolder, lock
from clip_align.series.claims import claimed
from clip_align.series.foreign_checkpoints import ForeignCheckpoints
from clip_align.series.open_clip_models import Architecture, built

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def cache(places: list[str]) -> str:
    return places[1].partition("=")[2]


@pytest.fixture
def value(pairs: Path, cache: str) -> Callable[[Any], float]:
    """The score of a model in memory."""

    def srocc(model: Any) -> float:
        found = ca.evaluate(model, [PairsCsv(csv=str(pairs))], cache=cache).value("human/pairs_csv/srocc")
        assert found is not None
        return found

    return srocc


@pytest.fixture
def one(pairs: Path, places: list[str], tmp_path: Path) -> list[str]:
    """Arguments: the benchmark, folders, a record of this test."""
    record = f"output={tmp_path / 'record'}"
    return ["callbacks=[pairs_csv]", f"callbacks.pairs_csv.csv={pairs}", "trainer=cpu", record, *places]


def tiny(seed: int, **changes: Any) -> torch.nn.Module:
    torch.manual_seed(seed)
    return built(Architecture("tiny", {**TINY, **changes}))


def trained_elsewhere(folder: Path, models: dict[int, torch.nn.Module]) -> Path:
    """What open_clip_train 3.3 leaves: checkpoints by epochs, the newest twice, its arguments."""
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(parents=True)
    (folder / "tiny.json").write_text(json.dumps(TINY))
    (folder / "params.txt").write_text(
        "batch_size: 16\ndataset_type: webdataset\nmodel: tiny\ntrain_num_samples: 320\nworkers: 1\nworld_size: 1\n"
    )
    for epoch, model in models.items():
        state = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
        content = {"epoch": epoch, "name": "exp", "state_dict": state, "optimizer": {"state": {}}}
        torch.save(content, checkpoints / f"epoch_{epoch}.pt")
        shutil.copy(checkpoints / f"epoch_{epoch}.pt", checkpoints / "epoch_latest.pt")
    (checkpoints / "tmp.pt").write_bytes(b"half")
    return checkpoints


def test_a_folder_of_open_clip_train(tmp_path: Path, one: list[str], value: Callable[[Any], float]) -> None:
    models = {epoch: tiny(epoch) for epoch in (1, 2, 10)}
    folder = trained_elsewhere(tmp_path / "exp", models)
    config = f"model_config={tmp_path / 'exp' / 'tiny.json'}"
    done = command("evaluate", str(folder), config, *one)
    assert done.returncode == 0, done.stdout + done.stderr
    found = numbers(tmp_path / "record")
    assert [(s, line["samples_seen"], line["epoch"]) for s, line in found.items()] == [
        (20, 320, 1), (40, 640, 2), (200, 3200, 10),
    ]  # fmt: skip
    for epoch, model in models.items():
        assert abs(found[20 * epoch]["human/pairs_csv/srocc"] - value(model)) <= 1e-6
    read = ca.read(tmp_path / "record")
    assert [row["step"] for row in read.scores if row["score"] == "srocc"] == [20, 40, 200]
    assert len(read.items("human/pairs_csv")) == 3 * 18
    unknown = command("evaluate", str(folder), *one)
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("model.name: 'tiny' is no architecture of open_clip")
    assert len(unknown.stderr.splitlines()) == 1  # the same for each of the three files


def test_activation_mean_and_std_are_those_of_the_weights(
    tmp_path: Path, one: list[str], value: Callable[[Any], float]
) -> None:
    from safetensors.torch import save_file

    gelu, quick = tiny(3), tiny(3, quick_gelu=True)
    quick.load_state_dict(gelu.state_dict())
    quick.visual.image_mean, quick.visual.image_std = (0.5, 0.4, 0.3), (0.2, 0.2, 0.2)
    config = {
        "model_cfg": {**TINY, "quick_gelu": True},
        "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]},
    }
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "open_clip_config.json").write_text(json.dumps(config))
    save_file(gelu.state_dict(), tmp_path / "hub" / "open_clip_model.safetensors")
    done = command("evaluate", str(tmp_path / "hub"), *one)
    assert done.returncode == 0, done.stdout + done.stderr
    recorded = numbers(tmp_path / "record")[0]["human/pairs_csv/srocc"]
    assert abs(recorded - value(quick)) <= 1e-6
    about = json.loads((tmp_path / "record" / "provenance.json").read_text())["series"]["about"]
    assert about["model_cfg"]["quick_gelu"] is True


def test_a_checkpoint_of_lightning_and_one_that_could_run_code(
    tmp_path: Path, one: list[str], value: Callable[[Any], float]
) -> None:
    model = tiny(5)
    state = {f"net.clip.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save(
        {"state_dict": {**state, "loss.scale": torch.ones(1)}, "global_step": 7, "epoch": 1}, tmp_path / "l.ckpt"
    )
    (tmp_path / "tiny.json").write_text(json.dumps(TINY))
    config = f"model_config={tmp_path / 'tiny.json'}"
    done = command("evaluate", str(tmp_path / "l.ckpt"), config, "global_batch=4", *one)
    assert done.returncode == 0, done.stdout + done.stderr
    found = numbers(tmp_path / "record")
    assert [(s, line["samples_seen"]) for s, line in found.items()] == [(7, 28)]
    assert abs(found[7]["human/pairs_csv/srocc"] - value(model)) <= 1e-6

    class Hostile:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    torch.save({"state_dict": Hostile()}, tmp_path / "bad.pt")
    refused = command(
        "evaluate", str(tmp_path / "bad.pt"), config, *one[:-3], f"output={tmp_path / 'other'}", *one[-2:]
    )
    assert refused.returncode == 2
    assert "could run code" in refused.stderr
    assert not (tmp_path / "ran").exists()
    another = tmp_path / "other.pt"
    torch.save(tiny(5, embed_dim=8).state_dict(), another)
    refused = command("evaluate", str(another), config, *one[:-3], f"output={tmp_path / 'other'}", *one[-2:])
    assert refused.returncode == 2
    assert f"{another}: its weights are not of this architecture" in refused.stderr


@pytest.mark.parametrize("name", ["timm/test_resnet", "torchvision/shufflenet_v2_x0_5"])
def test_an_image_encoder_with_random_weights(name: str, tmp_path: Path, one: list[str]) -> None:
    done = command("evaluate", f"model={name}", "evaluation.batch_size=8", *one)
    assert done.returncode == 0, done.stdout + done.stderr
    first = numbers(tmp_path / "record")[0]["human/pairs_csv/srocc"]
    assert -1 <= first <= 1
    about = json.loads((tmp_path / "record" / "provenance.json").read_text())["series"]["about"]
    assert about == {"kind": "image encoder", "model": name, "weights": "seed 0"}


def test_what_is_not_there_is_one_line(one: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import open_clip

    def no_network(*arguments: object, **options: object) -> str:
        raise OSError("[Errno -3] Temporary failure in name resolution")

    monkeypatch.setattr(open_clip, "download_pretrained", no_network)
    expected = {
        "ViT-B-32:laion400m_e32": "evaluate: ViT-B-32:laion400m_e32: cannot be downloaded ([Errno -3] Temporary "
        "failure in name resolution); give a file: evaluate <file> model.name=ViT-B-32",
        "model=timm/resnet18x": "model=timm/resnet18x: timm has no model resnet18x; did you mean resnet18?",
        "observer=ssin": "observer: no observer 'ssin'; did you mean ssim? valid: level, type, psnr, psnr_luminance, "
        "ssim, pixels, grey, untrained",
        "nowhere.pt": "evaluate: nowhere.pt: no such file; give a checkpoint, a glob of them, or a run",
    }
    for typed, line in expected.items():
        done = command("evaluate", typed, *one)
        assert (done.returncode, done.stderr.splitlines()) == (2, [line])


def test_observers(tmp_path: Path, one: list[str], value: Callable[[Any], float], pairs: Path, cache: str) -> None:
    done = command("evaluate", "observer=psnr", *one)
    assert done.returncode == 0, done.stdout + done.stderr
    known = observed(PairsCsv(csv=str(pairs)), PSNR).estimates["srocc"]
    recorded = numbers(tmp_path / "record")[0]
    assert recorded["human/pairs_csv/srocc"] == known.value
    assert recorded["human/pairs_csv/srocc/low"] == known.low
    assert (tmp_path / "record" / "items" / "human" / "pairs_csv" / "items.csv").exists()
    pixels = command("evaluate", "observer=pixels", *one[:3], f"output={tmp_path / 'pixels'}", *one[4:])
    assert pixels.returncode == 0, pixels.stdout + pixels.stderr
    benchmark = PairsCsv(csv=str(pairs))
    plain = {"mean": (0, 0, 0), "std": (1, 1, 1)}
    same = ca.evaluate(lambda images: images.flatten(1), [benchmark], size=32, cache=cache, **plain)
    expected = same.value("human/pairs_csv/srocc")
    assert expected is not None
    assert abs(numbers(tmp_path / "pixels")[0]["human/pairs_csv/srocc"] - expected) <= 1e-6


def test_new_checkpoints_are_evaluated_as_they_appear(tmp_path: Path, one: list[str]) -> None:
    folder = trained_elsewhere(tmp_path / "exp", {1: tiny(1)})
    later = tmp_path / "later"
    trained_elsewhere(later, {2: tiny(2)})

    def reached(step: int) -> None:
        limit = time.monotonic() + 900
        while time.monotonic() < limit:
            if (tmp_path / "record" / "metrics.jsonl").exists() and step in numbers(tmp_path / "record"):
                return
            time.sleep(0.1)

    def trainer() -> None:
        reached(20)
        half = (later / "checkpoints" / "epoch_2.pt").read_bytes()
        (folder / "epoch_2.pt").write_bytes(half[: len(half) // 2])  # as it is written
        time.sleep(3)
        (folder / "epoch_2.pt").write_bytes(half)
        reached(40)
        os.kill(os.getpid(), signal.SIGINT)

    other = threading.Thread(target=trainer)
    other.start()
    config = f"model_config={tmp_path / 'exp' / 'tiny.json'}"
    done = command("evaluate", str(folder), config, "watch=true", *one)
    other.join()
    assert done.returncode == 130, done.stdout + done.stderr
    assert list(numbers(tmp_path / "record")) == [20, 40]
    assert json.loads((tmp_path / "record" / "provenance.json").read_text())["status"] == "interrupted"
    assert (tmp_path / "record" / "evaluations.csv").exists()


def test_what_another_process_evaluates_is_left_to_it(tmp_path: Path, one: list[str]) -> None:
    folder = trained_elsewhere(tmp_path / "exp", {1: tiny(1), 2: tiny(2)})
    record = tmp_path / "record"
    record.mkdir()
    begun = threading.Event()

    def other() -> None:
        with claimed(record, 40) as got:
            assert got
            with claimed(record, 40) as again:
                assert not again
            begun.set()
            limit = time.monotonic() + 900
            while time.monotonic() < limit and not ((record / "metrics.jsonl").exists() and 20 in numbers(record)):
                time.sleep(0.1)
            theirs = Record(record)
            theirs.append("evaluation", Position(40, 640, 2, 1.0), {"human/pairs_csv/srocc": 0.125})
            theirs.close("done")

    thread = threading.Thread(target=other)
    thread.start()
    begun.wait(60)
    config = f"model_config={tmp_path / 'exp' / 'tiny.json'}"
    done = command("evaluate", str(folder), config, *one)
    thread.join()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "waiting for 1 checkpoint that other processes evaluate" in done.stdout
    assert numbers(record)[40]["human/pairs_csv/srocc"] == 0.125
    assert not (record / ".claims").exists()


def test_python(pairs: Path, cache: str, tmp_path: Path) -> None:
    benchmark = PairsCsv(csv=str(pairs))
    written = ca.evaluate(tiny(1), [benchmark], cache=cache, output=tmp_path / "p", step=5, samples=50)
    row = next(r for r in written.scores if r["score"] == "srocc")
    assert (row["step"], row["samples"], row["benchmark"]) == (5, 50, "human/pairs_csv")
    assert row["low"] <= row["value"] <= row["high"]
    assert ca.report(tmp_path / "p", output=tmp_path / "drawn") == tmp_path / "drawn"
    assert (tmp_path / "drawn" / "report.html").exists()
    constant = ca.evaluate(
        lambda images: torch.ones(len(images), 4), [benchmark], size=32, mean=(0, 0, 0), std=(1, 1, 1), cache=cache
    )
    assert constant.value("human/pairs_csv/srocc") is None
    assert all(r["reason"] for r in constant.scores)
    with pytest.raises(UserError) as raised:
        ca.evaluate(lambda images: images, [benchmark], size=32, cache=cache)
    assert raised.value.lines == ("model: give mean=…, std=…: of the input in pixels, of the channels on [0, 1]",)
    with pytest.raises(UserError) as raised:
        ca.evaluate(np.ones(3), [benchmark], cache=cache)  # type: ignore[arg-type]
    assert raised.value.lines == ("model: ndarray has no encode_image and is no function of images",)


def test_each_folder_has_its_own_normalization(tmp_path: Path, one: list[str], value: Callable[[Any], float]) -> None:
    from safetensors.torch import save_file

    expected = {}
    for step, mean in ((10, 0.1), (20, 0.9)):
        model = tiny(step)
        model.visual.image_mean, model.visual.image_std = (mean, 0.4, 0.3), (0.2, 0.3, 0.4)
        folder = tmp_path / "hub" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        preprocess = {"mean": [mean, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
        (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY, "preprocess_cfg": preprocess}))
        save_file(model.state_dict(), folder / "model.safetensors")
        expected[step] = value(model)
    done = command("evaluate", f"{tmp_path}/hub/*/model.safetensors", "global_batch=2", *one)
    assert done.returncode == 0, done.stdout + done.stderr
    found = numbers(tmp_path / "record")
    assert {step: line["human/pairs_csv/srocc"] for step, line in found.items()} == pytest.approx(expected, abs=1e-6)


def test_a_record_is_of_one_model(tmp_path: Path, one: list[str]) -> None:
    record = tmp_path / "record"
    for name, config in (("gelu", TINY), ("quick", {**TINY, "quick_gelu": True})):
        (tmp_path / f"{name}.json").write_text(json.dumps(config))
    for name in ("a.pt", "b.pt"):
        torch.save(tiny(1).state_dict(), tmp_path / name)
    first = command("evaluate", str(tmp_path / "a.pt"), f"model_config={tmp_path / 'gelu.json'}", *one)
    assert first.returncode == 0, first.stdout + first.stderr
    again = command("evaluate", str(tmp_path / "a.pt"), f"model_config={tmp_path / 'quick.json'}", *one)
    other = command("evaluate", str(tmp_path / "b.pt"), f"model_config={tmp_path / 'gelu.json'}", *one)
    refused = f"name: {record} holds evaluations with {{}}; choose another name=… or output=…"
    assert [(done.returncode, done.stderr.splitlines()) for done in (again, other)] == [
        (2, [refused.format("model_cfg.quick_gelu None, not True")]),
        (2, [refused.format(f"file {tmp_path / 'a.pt'}, not {tmp_path / 'b.pt'}")]),
    ]


def test_files_of_early_torch_and_odd_keys(tmp_path: Path, one: list[str]) -> None:
    (tmp_path / "tiny.json").write_text(json.dumps(TINY))
    odd = tmp_path / "odd.pt"
    content = {"state_dict": tiny(1).state_dict(), "epoch": "best"}
    torch.save(content, odd, _use_new_zipfile_serialization=False)
    done = command("evaluate", str(odd), f"model_config={tmp_path / 'tiny.json'}", *one)
    assert done.returncode == 0, done.stdout + done.stderr
    torch.save(3, tmp_path / "number.pt")
    refused = command("evaluate", str(tmp_path / "number.pt"), *one)
    assert (refused.returncode, refused.stderr.splitlines()) == (
        2, [f"{tmp_path / 'number.pt'}: holds int, no weights by name; save the model's state_dict(); it is left out"]
    )  # fmt: skip


def test_a_checkpoint_that_is_replaced_after_its_step_was_read_is_not_taken_for_it(tmp_path: Path) -> None:
    folder = trained_elsewhere(tmp_path / "exp", {1: tiny(1)})
    (folder / "epoch_1.pt").unlink()
    latest = folder / "epoch_latest.pt"
    config = str(tmp_path / "exp" / "tiny.json")
    series = ForeignCheckpoints("exp", str(tmp_path), lambda: [latest], torch.device("cpu"), config)
    [before], _ = series.members()
    content = torch.load(latest, weights_only=True)
    torch.save({**content, "epoch": 2}, latest)
    os.utime(latest, ns=(0, 1))
    with pytest.raises(UserError) as raised:
        series.load(before)
    assert raised.value.lines == (f"{latest}: has been replaced meanwhile; evaluate once more",)
    [after], _ = series.members()
    assert (before.place.epoch, after.place.epoch) == (1, 2)
    series.load(after)


def test_one_model_cannot_be_watched(one: list[str]) -> None:
    done = command("evaluate", "ViT-B-32:laion400m_e32", "watch=true", *one)
    assert (done.returncode, done.stderr.splitlines()) == (
        2, ["watch: for checkpoints only; ViT-B-32-laion400m_e32 is one model"]
    )  # fmt: skip


def test_an_evaluation_in_python_that_fails_says_so_in_its_record(pairs: Path, cache: str, tmp_path: Path) -> None:
    def failing(images: torch.Tensor) -> torch.Tensor:
        if len(calls) > 1:
            raise ValueError("no more")
        calls.append(len(images))
        return images.flatten(1)

    calls: list[int] = []
    with pytest.raises(RunError, match="encoding: ValueError: no more"):
        ca.evaluate(
            failing, [PairsCsv(csv=str(pairs))], size=32, mean=(0, 0, 0), std=(1, 1, 1), cache=cache, batch_size=1,
            output=tmp_path / "p",
        )  # fmt: skip
    about = json.loads((tmp_path / "p" / "provenance.json").read_text())
    assert (about["status"], about["exit_code"]) == ("failed", 1)
    held = lock(RunFolder(tmp_path / "p"))  # nobody has it any more
    assert held is not None
    os.close(held)
