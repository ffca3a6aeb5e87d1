# SPDX-License-Identifier: Apache-2.0
"""The hooks in a real Trainer: when they evaluate, what they leave behind, what they never disturb."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import stubs
import torch
from torch.utils.data import DataLoader, TensorDataset

from clip_align.callbacks.base import EvaluationSettings, PerceptualCallback, attach, perceptual_callbacks
from clip_align.callbacks.best_checkpoint import BestCheckpoint
from clip_align.errors import UserError
from clip_align.record.record import read

warnings.filterwarnings("ignore", module="pytorch_lightning")
SAMPLES, BATCH = 48, 4


class Module(pl.LightningModule):
    """Somebody's training: dropout and shuffling draw random numbers at every step."""

    def __init__(self, breaks_at: int | None = None) -> None:
        super().__init__()
        self.clip, self.losses, self.breaks_at = stubs.StubModel(), [], breaks_at

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        if self.global_step == self.breaks_at:
            raise ValueError("training broke")
        loss = self.clip.encode_image(batch[0]).pow(2).mean()
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(
    folder: Path,
    callbacks: Sequence[pl.Callback],
    module: pl.LightningModule | None = None,
    settings: dict[str, Any] | None = None,
    ckpt_path: Path | None = None,
    **trainer: Any,
) -> tuple[pl.Trainer, Any, Any]:
    """Train; returns the trainer, the module and what was recorded (settings None: a foreign Trainer)."""
    record = stubs.Memory()
    if settings is not None:
        mine = [c for c in callbacks if isinstance(c, PerceptualCallback)]
        attach(mine, EvaluationSettings(folder / "cache", record=record, notify=lambda line: None, **settings))  # type: ignore[arg-type]
    torch.manual_seed(1)
    module = module or Module()
    images = torch.randn(SAMPLES, 3, stubs.SIZE, stubs.SIZE, generator=torch.Generator().manual_seed(0))
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, **trainer}
    made = pl.Trainer(
        accelerator="cpu",
        callbacks=list(callbacks),
        default_root_dir=folder,
        enable_model_summary=False,
        **options,
    )
    made.fit(module, DataLoader(TensorDataset(images), BATCH, shuffle=True), ckpt_path=ckpt_path, weights_only=True)
    return made, module, record


def steps(record: Any, key: str = "human/pairs/srocc") -> list[int]:
    return [line["global_step"] for line in record.lines if line["kind"] == "evaluation" and key in line]


def test_step_0_early_regular_and_last_steps_are_evaluated_once(tmp_path: Path) -> None:
    callbacks = [stubs.Pairs(every_n_steps=4), stubs.Named(every_n_steps=5)]
    _, _, record = fit(tmp_path, callbacks, settings={"early_steps": (2,)}, max_steps=11)
    assert steps(record) == [0, 2, 4, 8, 11]
    assert steps(record, "zero_shot/named/srocc") == [0, 2, 5, 10, 11]
    assert all(c.last_step == 11 for c in callbacks)


def test_under_accumulation_a_step_is_evaluated_once(tmp_path: Path) -> None:
    _, _, record = fit(tmp_path, [stubs.Pairs(every_n_steps=2)], settings={}, max_steps=5, accumulate_grad_batches=2)
    assert steps(record) == [0, 2, 4, 5]


def test_a_last_step_that_nobody_knew_is_evaluated_by_all(tmp_path: Path) -> None:
    callbacks = [stubs.Pairs(every_n_steps=12), stubs.Named(every_n_steps=100)]
    _, _, record = fit(tmp_path, callbacks, settings={"early_steps": ()}, max_epochs=1)
    assert steps(record) == [0, 12, 12]  # the second line has both benchmarks; a reader takes the last of a step
    assert steps(record, "zero_shot/named/srocc") == [0, 12]
    assert len({"human/pairs/srocc", "zero_shot/named/srocc"} & set(record.lines[-1])) == 2


def test_nothing_is_evaluated_after_an_exception(tmp_path: Path) -> None:
    callback = stubs.Pairs(every_n_steps=100)
    with pytest.raises(ValueError, match="training broke"):
        fit(tmp_path, [callback], Module(breaks_at=3), settings={"early_steps": ()}, max_steps=9)
    assert callback.last_step == 0


def test_an_interrupted_event_records_nothing_and_counts_as_not_evaluated(tmp_path: Path) -> None:
    callback = stubs.Pairs(every_n_steps=2)
    _, _, record = fit(tmp_path, [callback], settings={"interrupted": lambda: True}, max_steps=3)
    assert record.lines == []
    assert callback.last_step is None


def test_a_resumed_run_does_not_repeat_the_evaluated_step(tmp_path: Path) -> None:
    keep = pl.callbacks.ModelCheckpoint(tmp_path, filename="kept", every_n_train_steps=4)
    options = {"settings": {"early_steps": ()}}
    fit(tmp_path, [stubs.Pairs(every_n_steps=2), keep], max_steps=4, enable_checkpointing=True, **options)
    callback = stubs.Pairs(every_n_steps=2)
    _, _, record = fit(tmp_path, [callback], max_steps=7, ckpt_path=tmp_path / "kept.ckpt", **options)
    assert steps(record) == [6, 7]


def test_an_event_that_was_cut_off_is_made_up_for_on_resume(tmp_path: Path) -> None:
    keep = pl.callbacks.ModelCheckpoint(tmp_path, filename="kept", every_n_train_steps=4)
    options: dict[str, Any] = {"settings": {"early_steps": ()}}
    fit(tmp_path, [stubs.Pairs(every_n_steps=100), keep], max_steps=6, enable_checkpointing=True, **options)
    _, _, record = fit(
        tmp_path, [stubs.Pairs(every_n_steps=4)], max_steps=7, ckpt_path=tmp_path / "kept.ckpt", **options
    )
    assert steps(record) == [4, 7]


def test_training_is_bit_identical_with_callbacks_on_or_off(tmp_path: Path) -> None:
    _, off, _ = fit(tmp_path, [], max_steps=14)
    _, on, record = fit(
        tmp_path, [stubs.Pairs(every_n_steps=3), stubs.Named(every_n_steps=2)], settings={}, max_steps=14
    )
    assert len(steps(record)) > 4
    assert on.losses == off.losses
    assert all(torch.equal(a, b) for a, b in zip(on.parameters(), off.parameters(), strict=True))


def test_in_a_foreign_trainer_scores_reach_metrics_and_a_record_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    module = Module()
    trainer, _, _ = fit(
        tmp_path,
        [stubs.Pairs(every_n_steps=5), stubs.Named(every_n_steps=5, tokenizer=stubs.Words())],
        module,
        max_steps=6,
    )
    lines = [json.loads(line) for line in (tmp_path / "clip-align" / "metrics.jsonl").read_text().splitlines()]
    evaluations = [line for line in lines if line["kind"] == "evaluation"]
    assert [line["global_step"] for line in evaluations] == [0, 2, 5, 6]
    assert [line["samples_seen"] for line in evaluations] == [0, 2 * BATCH, 5 * BATCH, 6 * BATCH]
    shown = trainer.callback_metrics
    assert shown["human/pairs/srocc"].item() == pytest.approx(evaluations[-1]["human/pairs/srocc"])
    warning = next(line["message"] for line in lines if line.get("event") == "warning")
    assert warning == "the model does not define how its images are normalized: OpenAI's mean and std are used"
    assert capsys.readouterr().err.count(warning) == 1
    assert (tmp_path / "clip-align" / "items" / "human" / "pairs" / "items.csv").is_file()
    assert lines[0]["event"] == "started"
    assert lines[-1]["event"] == "finished"


def kept_at(folder: Path, step: int) -> pl.Callback:
    return pl.callbacks.ModelCheckpoint(folder, filename=f"at-{step}", every_n_train_steps=step)


def curve(folder: Path) -> list[tuple[int, int]]:
    return [(line["global_step"], line["samples_seen"]) for line in read(folder).evaluations]


def test_a_resumed_foreign_training_goes_on_in_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    kept = [stubs.Pairs(every_n_steps=2), kept_at(tmp_path, 4)]
    fit(tmp_path, kept, max_steps=6, enable_checkpointing=True)
    fit(tmp_path, [stubs.Pairs(every_n_steps=2)], max_steps=9, ckpt_path=tmp_path / "at-4.ckpt")
    assert curve(tmp_path / "clip-align") == [(s, s * BATCH) for s in (0, 2, 4, 6, 8, 9)]
    history = read(tmp_path / "clip-align")
    assert [e["event"] for e in history.events if e["event"] != "warning"][:3] == ["started", "finished", "resumed"]
    assert next(e["global_step"] for e in history.events if e["event"] == "resumed") == 4
    seconds = [line["wall_seconds"] for line in history.evaluations]
    assert seconds == sorted(seconds)
    assert not (tmp_path / "clip-align-2").exists()


def test_a_training_that_branches_off_elsewhere_leaves_the_record_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    kept = [stubs.Pairs(every_n_steps=2), kept_at(tmp_path, 4)]
    fit(tmp_path / "one", kept, max_steps=6, enable_checkpointing=True)
    before = (tmp_path / "one" / "clip-align" / "metrics.jsonl").read_bytes()
    fit(tmp_path / "two", [stubs.Pairs(every_n_steps=2)], max_steps=7, ckpt_path=tmp_path / "at-4.ckpt")
    assert (tmp_path / "one" / "clip-align" / "metrics.jsonl").read_bytes() == before
    assert curve(tmp_path / "two" / "clip-align") == [(6, 6 * BATCH), (7, 7 * BATCH)]


def test_one_trainer_that_fits_twice_goes_on_in_its_own_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    fit(tmp_path, [stubs.Pairs(every_n_steps=2)], max_steps=8)
    others = (tmp_path / "clip-align" / "metrics.jsonl").read_bytes()
    trainer, module, _ = fit(tmp_path, [stubs.Pairs(every_n_steps=2)], max_steps=4)
    trainer.fit_loop.epoch_loop.max_steps = 6
    images = torch.randn(SAMPLES, 3, stubs.SIZE, stubs.SIZE)
    trainer.fit(module, DataLoader(TensorDataset(images), BATCH))
    assert (tmp_path / "clip-align" / "metrics.jsonl").read_bytes() == others
    assert curve(tmp_path / "clip-align-2") == [(0, 0), (2, 2 * BATCH), (4, 4 * BATCH), (6, 6 * BATCH)]


def test_a_last_event_that_was_cut_off_is_made_up_for_on_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning finds nothing left to train and calls no hook of training."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    cut_off = stubs.Pairs(every_n_steps=2)
    options: dict[str, Any] = {"early_steps": (), "interrupted": lambda: cut_off.last_step == 2}
    fit(tmp_path, [cut_off, kept_at(tmp_path, 4)], settings=options, max_steps=4, enable_checkpointing=True)
    for _ in range(2):
        callback = stubs.Pairs(every_n_steps=2)
        keep = pl.callbacks.ModelCheckpoint(tmp_path, filename="again")
        settings: dict[str, Any] = {"early_steps": ()}
        trainer, _, record = fit(
            tmp_path, [callback, keep], settings=settings, max_steps=4, ckpt_path=tmp_path / "at-4.ckpt",
            enable_checkpointing=True,
        )  # fmt: skip
        assert steps(record) == [4]
        assert callback.last_step == 4
    trainer.save_checkpoint(tmp_path / "done.ckpt")
    _, _, record = fit(
        tmp_path, [stubs.Pairs(every_n_steps=2)], settings=settings, max_steps=4, ckpt_path=tmp_path / "done.ckpt"
    )
    assert steps(record) == []


def test_a_callback_in_a_second_trainer_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    callback = stubs.Pairs(every_n_steps=2)
    for name in ("one", "two"):
        fit(tmp_path / name, [callback], max_steps=2)
        assert curve(tmp_path / name / "clip-align") == [(0, 0), (2, 2 * BATCH)]


def test_what_a_checkpoint_carries_is_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the best checkpoint the event that made it is done, and one saved after training knows all samples."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    best = BestCheckpoint("human/pairs/srocc", tmp_path / "kept", lower_is_better=True)
    trainer, _, _ = fit(tmp_path, [stubs.Pairs(every_n_steps=1), best], max_steps=4)
    kept = torch.load(best.path, weights_only=True)
    assert kept["callbacks"]["clip_align/human/pairs"]["last_step"] == kept["global_step"]
    trainer.save_checkpoint(tmp_path / "after.ckpt")
    after = torch.load(tmp_path / "after.ckpt", weights_only=True)["callbacks"]["clip_align/human/pairs"]
    assert (after["last_step"], after["samples_seen"]) == (4, 4 * BATCH)


def test_a_log_folder_that_cannot_be_written_is_one_line_before_step_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    (tmp_path / "file").touch()
    with pytest.raises(
        UserError, match=r"callbacks: no record can be written to .*file/clip-align \(Not a directory\)"
    ):
        fit(tmp_path / "file", [stubs.Pairs()], max_steps=2)


@pytest.mark.parametrize(("max_steps", "few"), [(24, False), (6, True)])
def test_a_foreign_record_gets_its_verdicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_steps: int, few: bool
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    fit(tmp_path, [stubs.Pairs(every_n_steps=1)], max_steps=max_steps)
    (verdict,) = read(tmp_path / "clip-align").verdicts
    assert verdict["score"] == "human/pairs/srocc"
    assert verdict["global_step"] == max_steps
    assert (verdict["word"] is None) == few
    assert ("needs at least 12" in str(verdict.get("reason"))) == few, verdict


def test_a_foreign_training_that_broke_gets_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    with pytest.raises(ValueError, match="training broke"):
        fit(tmp_path, [stubs.Pairs(every_n_steps=1)], Module(breaks_at=3), max_steps=9)
    history = read(tmp_path / "clip-align")
    assert history.verdicts == []
    assert history.events[-1]["message"] == "training ended: failed"


def test_a_second_run_in_the_same_folder_has_a_record_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    for _ in range(2):
        fit(tmp_path, [stubs.Pairs()], max_steps=1)
    assert (tmp_path / "clip-align-2" / "metrics.jsonl").is_file()


def test_undefined_scores_are_nan_in_callback_metrics(tmp_path: Path) -> None:
    module = Module()
    constant = stubs.ConstantModel()
    trainer, _, record = fit(tmp_path, [stubs.Pairs(model=constant)], module, settings={}, max_steps=1)
    assert math.isnan(trainer.callback_metrics["human/pairs/srocc"])
    assert record.scores(1)["human/pairs/srocc"] is None


@pytest.mark.parametrize("lower_is_better", [None, True])
def test_the_best_checkpoint_has_the_weights_that_were_scored(tmp_path: Path, lower_is_better: bool | None) -> None:
    best = BestCheckpoint("human/pairs/srocc", tmp_path / "kept", lower_is_better)
    callbacks = [best, stubs.Pairs(every_n_steps=1)]  # in any order
    _, _, record = fit(tmp_path, callbacks, settings={}, max_steps=8)
    values = {step: record.scores(step)["human/pairs/srocc"] for step in steps(record)}
    wanted = (min if lower_is_better else max)(values.values())
    assert best.best == wanted
    assert best.path.name == "best-human-pairs-srocc.ckpt"
    kept = torch.load(best.path, weights_only=True)
    assert values[kept["global_step"]] == wanted
    module = Module()
    module.load_state_dict(kept["state_dict"])
    again = stubs.evaluated([stubs.Pairs()], stubs.EvaluatedModel(module.clip, stubs.SIZE, *_openai()), tmp_path)
    assert again["human/pairs/srocc"] == wanted


def _openai() -> Any:
    from clip_align.evaluation.evaluated_model import OPENAI_MEAN, OPENAI_STD

    return OPENAI_MEAN, OPENAI_STD


def test_what_was_given_to_the_constructor_is_in_the_options() -> None:
    callback = stubs.Pairs(pairs=3, every_n_steps=7)
    assert callback.options["pairs"] == 3
    assert callback.options["every_n_steps"] == 7
    assert json.dumps(dict(callback.options))


def test_the_name_defaults_to_the_file_of_the_class() -> None:
    class Unnamed(stubs.Pairs):
        def __init__(self) -> None:
            PerceptualCallback.__init__(self)

    assert Unnamed().key == "human/test_base"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"every_n_steps": 0}, "Pairs.every_n_steps: 0 is out of range; it must be at least 1"),
        ({"every_n_steps": "often"}, "Pairs.every_n_steps: 'often' is not a whole number"),
        ({"batch_size": 0}, "Pairs.batch_size: 0 is out of range; it must be at least 1"),
        ({"view": "fisheye"}, "Pairs.view: 'fisheye' is not one of resize_crop, squash, native, tiles"),
        (
            {"name": "My Pairs"},
            "Pairs.name: 'My Pairs' is not of the right form: lower-case letters, digits, underscores",
        ),
        ({"layers": ()}, "Pairs.layers: [] is empty; give at least one value"),
        ({"layers": (1, "last")}, "Pairs.layers[1]: 'last' is not a whole number or projection or all"),
        ({"mean": 0.5}, "Pairs.mean: 0.5 is not a list: Pairs.mean=[…]"),
    ],
)
def test_wrong_base_arguments_are_one_line(arguments: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as caught:
        stubs.Pairs(**arguments)
    assert caught.value.lines == (line,)


def test_all_wrong_arguments_come_at_once() -> None:
    with pytest.raises(UserError) as caught:
        stubs.Pairs(2.5, every_n_steps=0, view="near")  # type: ignore[arg-type]
    assert [line.partition(":")[0] for line in caught.value.lines] == [
        "Pairs.pairs", "Pairs.every_n_steps", "Pairs.view",
    ]  # fmt: skip


def test_arguments_are_taken_as_a_config_takes_them() -> None:
    callback = stubs.Pairs(4.0, every_n_steps=np.int64(7), layers=["projection"])  # type: ignore[arg-type]
    assert len(callback.ids[0]) == 4
    assert callback.options == {"pairs": 4, "prefix": "pairs", "every_n_steps": 7, "layers": ["projection"]}
    assert (callback.layers_given, stubs.Pairs().layers_given) == (True, False)


def test_what_the_base_would_overwrite_is_refused_by_name() -> None:
    """A method or default of the class under a name of the base's own attributes would never be seen."""

    class Method(stubs.Pairs):
        def name(self, row: int) -> str:
            return f"pairs/{row}"

    class Default(stubs.Pairs):
        view = "native"
        layers = (1, 2)

    for cls, names in ((Method, ["name"]), (Default, ["layers", "view"])):
        with pytest.raises(UserError) as caught:
            cls()
        assert caught.value.lines == tuple(
            f"{cls.__module__}.{cls.__name__} defines {name}, which every benchmark has as an attribute of its own: "
            f"give it another name, or set self.{name} after super().__init__()"
            for name in names
        )


def test_callbacks_are_found_in_the_trainers_order(tmp_path: Path) -> None:
    callbacks = [stubs.Named(), stubs.Pairs()]
    trainer = pl.Trainer(callbacks=list(callbacks), logger=False, enable_checkpointing=False, accelerator="cpu")
    assert perceptual_callbacks(trainer) == callbacks
