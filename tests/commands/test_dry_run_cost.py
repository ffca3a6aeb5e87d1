# SPDX-License-Identifier: Apache-2.0
"""What a dry run says of time and memory: a step that is tried, and what follows from the sizes of the model."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clip_align.commands.cost import BYTES_A_PARAMETER, Cost, cost, untried
from clip_align.commands.dry_run import dry_run
from clip_align.config import Config, KindConfig
from clip_align.models.build import build_model
from clip_align.models.sharding import fullest_part, gathered_groups
from clip_align.settings.load_config import load
from clip_align.training.launch_ranks import RankLayout

FSDP = Path(__file__).parents[2] / "docs" / "fsdp.md"


def cost_of(config: Config) -> Cost:
    one = RankLayout(0, 0, 1, 1, gpu=False)
    trainer = config.trainer
    return cost(config.model, config.loss, trainer.precision, config.data.batch_size, trainer.accumulate, 1, one)


def test_a_step_is_tried_and_its_memory_counted() -> None:
    small, large = (cost_of(load(["callbacks=[]", f"data.batch_size={n}"])) for n in (8, 16))
    assert small.tried <= 8
    assert small.step_seconds is not None
    assert small.step_seconds > 0
    assert small.image_seconds is not None
    activations = [c.memory - c.parameters * BYTES_A_PARAMETER for c in (small, large)]
    assert activations[1] == pytest.approx(2 * activations[0], rel=0.2)
    assert 400_000 < small.parameters < 2_000_000


SLOW_LOSS = """
import time
import torch
from torch import nn
from clip_align.losses.base import Loss

class Slow(Loss):
    def __init__(self, seconds: float = 0.2):
        super().__init__()
        self.seconds = seconds
        self.bias = nn.Parameter(torch.zeros(1000))
    def forward(self, image, text, logit_scale, rank=0, world=1):
        time.sleep(self.seconds)
        large = torch.exp(image.new_ones(len(image), 250_000) * self.bias.sum())  # kept for the backward pass
        return (image * text).sum() * logit_scale + large.mean()
"""


def test_the_configured_loss_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time, its memory and its parameters."""
    (tmp_path / "outside_losses").mkdir()
    (tmp_path / "outside_losses" / "__init__.py").write_text("")
    (tmp_path / "outside_losses" / "slow.py").write_text(SLOW_LOSS)
    monkeypatch.syspath_prepend(tmp_path)
    config = load(["callbacks=[]", "data.batch_size=4"])
    own = cost_of(config)
    slow = cost_of(replace(config, loss=KindConfig("outside_losses.slow", {"seconds": 0.3})))
    assert slow.parameters == own.parameters + 1000
    assert slow.step_seconds is not None
    assert slow.step_seconds >= 0.3
    more = slow.memory - own.memory - 1000 * BYTES_A_PARAMETER
    assert 4 * 250_000 * 4 <= more <= 2 * 4 * 250_000 * 4  # floats of four samples, kept once or twice
    assert untried(config.model, KindConfig("outside_losses.slow")).parameters == slow.parameters


def test_a_model_that_does_not_fit_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clip_align.commands.cost.free_bytes", lambda device: 1e6)
    found = cost_of(load(["callbacks=[]", "model.name=ViT-B-32"]))
    assert found == Cost(found.parameters, found.parameters * 16, None, None, 0, 224, held=found.parameters)
    assert found.parameters == 151_277_313  # as open_clip counts them


def test_of_a_model_that_is_divided_a_rank_holds_its_part() -> None:
    """As the table of docs/fsdp.md has it, whose sizes are those of torch's own slices; and as torch.chunk divides."""
    config = load(["callbacks=[]", "model.name=ViT-B-32"])
    rows = [row.strip("| ").split(" | ") for row in FSDP.read_text().splitlines() if re.match(r"\| \d+ \|", row)]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    for ranks, parameters, gradients, moments, together, _ in rows:
        found = untried(config.model, config.loss, int(ranks))
        kinds = [found.held * size for size in (4, 4, 8, 16)]
        assert [f"{number / 2**20:,.1f} MiB" for number in kinds] == [parameters, gradients, moments, together]
        assert (found.memory, found.parameters) == (found.held * 16 + found.gathered, 151_277_313)
    model = build_model(config.model, None, device="meta").model
    sizes = {name: p.numel() for name, p in model.named_parameters() if p.ndim}
    chunks = [p if not p.ndim else torch.chunk(p, 5)[0] for p in model.parameters()]
    assert fullest_part(model, 5) == sum(chunk.numel() for chunk in chunks)
    groups = gathered_groups(model)
    assert sum(groups) == sum(sizes.values())
    assert rows[1][5] == rows[2][5] == f"{max(groups) * 4 / 2**20:,.1f} MiB"
    # what is in no block stays gathered beside the largest group, the table of token embeddings
    blocks = ("visual.transformer.resblocks.", "transformer.resblocks.")
    rest = sum(n for name, n in sizes.items() if not name.startswith(blocks) and name != "token_embedding.weight")
    two, kept = (untried(config.model, config.loss, 2, reshard) for reshard in (True, False))
    assert two.gathered == 4 * (rest + sizes["token_embedding.weight"])
    assert kept.gathered == 4 * sum(sizes.values())


def test_memory_of_a_divided_model_is_named_as_such(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tried or not; also its average is divided. A trial is of the whole model, and needs its memory."""
    monkeypatch.setattr("clip_align.commands.dry_run_cost.GIB", 2**20)  # MiB: the tiny model has 0.6 million parameters
    folders = [f"paths.cache={tmp_path}/cache", f"paths.runs={tmp_path}/runs", "data.batch_size=2", "callbacks=[]"]

    def lines(*more: str) -> tuple[str, str]:
        assert dry_run(load(["trainer=fsdp", *folders, "checkpoint.best=null", *more])) == 0
        out = capsys.readouterr().out.splitlines()
        time, memory = (next(x for x in out if x.startswith(f"cost     {what}: ")) for what in ("time", "memory"))
        return time, memory

    tried = lines("trainer.devices=2")[1]
    pattern = r"cost     memory: (\S+) GiB a rank \(estimated: weights, their average, gradients, moments, divided "
    pattern += r"over 2 ranks, and (\S+) GiB of weights that are gathered at a time"
    assert re.fullmatch(pattern + r", activations\)", tried)
    states = untried(load(folders).model, load(folders).loss, 2)
    monkeypatch.setattr("clip_align.commands.cost.free_bytes", lambda device: states.trial - 1.0)
    time, memory = lines("trainer.devices=2")
    assert time == (
        f"cost     time: not estimated: a step is tried on the whole model: {states.trial / 2**20:.1f} GiB for its "
        "weights and gradients, or all ranks' parts, are not free now"
    )
    found = re.fullmatch(pattern + r"; activations come on top\)", memory)
    assert found is not None
    expected = (states.memory + 4 * states.held, states.gathered)
    assert found.groups() == tuple(f"{number / 2**20:.1f}" for number in expected)
    assert states.held < 0.52 * states.parameters
    if not torch.cuda.is_available():
        assert lines("trainer.precision=16-mixed")[1].endswith(
            ", moments, all of the whole model: how many ranks divide it is not known here, try trainer.devices=8; "
            "activations come on top)"
        )
