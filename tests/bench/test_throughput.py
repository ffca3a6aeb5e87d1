# SPDX-License-Identifier: Apache-2.0
"""``bench throughput`` in a miniature setting, with all sides and both kinds of data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from functools import partial
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from open_clip import CLIP
from open_clip.transformer import Transformer

from clip_align.__main__ import main
from clip_align.bench.loop_in_turn import WARM_UP
from clip_align.bench.options import Throughput
from clip_align.bench.throughput import _case, _use_channels_last
from clip_align.models.tiny import ConvTower

SETTING = ["bench", "throughput", "model=tiny", "batch=8", "pairs=2", "steps=1", "threads=1"]


def test_both_kinds_of_data_and_all_sides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "result.json"
    assert main([*SETTING, "require=0", f"output={output}"]) == 0
    content = json.loads(output.read_text())
    assert {
        "schema", "benchmark", "options", "cases", "passed", "missed", "seconds", "ended", "git_commit", "hardware",
        "versions",
    } == set(content)  # fmt: skip
    memory, shards = content["cases"]
    assert (memory["name"], shards["name"]) == ("tiny, batch 8, in memory", "tiny, batch 8, from shards")
    assert set(memory["rates"]) == {"clip_align", "open_clip_train", "bare loop"}
    assert set(shards["rates"]) == {"clip_align", "open_clip_train"}
    assert set(shards["ratios"]["open_clip_train"]) == {"median", "lower", "lowest", "highest"}
    assert all(len(rates) == 2 and min(rates) > 0 for case in content["cases"] for rates in case["rates"].values())
    assert (content["passed"], content["options"]["pairs"]) == (True, 2)
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == f"result: {output}"
    assert "tiny, batch 8, in memory: 2 of 2: clip_align " in printed.err


def test_a_requirement_that_is_missed_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SETTING, "data=memory", "bare=false", "require=1000"]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("tiny, batch 8, in memory: the lower bound of the ratio to open_clip_train is ")
    assert line.endswith(", below require=1000")


def test_accumulation_is_of_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step encodes the batches of all parts, and both sides are asked for the same number."""
    encoded: list[int] = []
    original = CLIP.encode_image

    def counted(model: CLIP, images: torch.Tensor, **more: Any) -> Any:
        encoded.append(len(images))
        return original(model, images, **more)

    monkeypatch.setattr(CLIP, "encode_image", counted)
    words = [*SETTING, "accumulate=3", "data=memory,shards", "require=0", f"output={tmp_path}/r.json"]
    assert main(words) == 0
    memory, shards = json.loads((tmp_path / "r.json").read_text())["cases"]
    assert [memory["name"], shards["name"]] == ["tiny, batch 3 x 8, in memory", "tiny, batch 3 x 8, from shards"]
    assert memory["accumulate"] == 3
    for case in (memory, shards):
        assert set(case["rates"]) == {"clip_align", "open_clip_train"}
    steps = 2 * 2 * (2 + WARM_UP)  # two kinds of data, two sides; two blocks of a step
    assert encoded == [8] * (2 * 3 * steps)  # with and without a graph


@pytest.mark.parametrize(("words", "expected"), [([], False), (["tf32=true", "channels_last=true"], True)])
def test_tf32_and_channels_last_are_of_all_sides(
    monkeypatch: pytest.MonkeyPatch, words: list[str], expected: bool
) -> None:
    """Each side's image tower is called with images in that format, under that setting; afterwards it is as before."""
    found: set[tuple[bool, bool]] = set()
    calls: list[int] = []
    original = ConvTower.forward

    def noted(tower: ConvTower, image: torch.Tensor) -> Any:
        calls.append(len(image))
        found.add((torch.backends.cuda.matmul.allow_tf32, image.is_contiguous(memory_format=torch.channels_last)))
        return original(tower, image)

    monkeypatch.setattr(ConvTower, "forward", noted)
    assert main([*SETTING, *words, "data=memory", "require=0"]) == 0
    assert len(calls) >= 3 * (2 + WARM_UP)  # three sides, two blocks of a step
    assert found == {(expected, expected)}
    assert not torch.backends.cuda.matmul.allow_tf32


def test_kernels_are_in_the_format_of_the_images() -> None:
    tower = torch.nn.Conv2d(3, 4, 3)
    given: list[torch.Tensor] = []
    tower.register_forward_hook(lambda module, arguments, output: given.append(arguments[0]))
    _use_channels_last(SimpleNamespace(visual=tower))
    images = torch.rand(2, 3, 8, 8)
    last = torch.channels_last
    assert tower(images).is_contiguous(memory_format=last)
    assert given[0].is_contiguous(memory_format=last)
    assert tower.weight.is_contiguous(memory_format=last)
    assert torch.equal(given[0], images)


@pytest.mark.parametrize("workers", [0, 1])
def test_each_side_trains_on_its_own_batches(workers: int) -> None:
    """Also where each block starts a new loop, since workers read ahead."""
    found: dict[str, list[str]] = {"a": [], "b": []}

    def train(side: str, batches: Iterable[Any], steps: int) -> None:
        found[side] += [batch for batch, _ in zip(batches, range(steps), strict=False)]

    sides = {side: partial(train, side) for side in found}
    batches = {side: partial(repeat, f"of {side}") for side in found}
    case = _case("", sides, batches, 8, Throughput(workers=workers, steps=3, pairs=2), lambda line: None)
    assert {side: set(seen) for side, seen in found.items()} == {"a": {"of a"}, "b": {"of b"}}
    assert len(found["a"]) == len(found["b"]) >= 2 * 3
    assert {side: len(rates) for side, rates in case.rates.items()} == {"a": 2, "b": 2}


def test_with_workers_each_block_is_of_a_new_loop_of_its_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would read ahead in the other sides' turns."""
    blocks: list[tuple[int, int]] = []

    def seconds(run: Any, batches: Any, steps: int, accumulate: int) -> float:
        blocks.append((id(run), id(batches)))
        return 1.0

    monkeypatch.setattr("clip_align.bench.throughput.block_seconds", seconds)
    assert main([*SETTING, "data=memory", "workers=1", "require=0"]) == 0
    ours, theirs, bare = blocks[:3]
    assert blocks == [ours, theirs, bare, bare, theirs, ours]
    assert len({run for run, _ in blocks}) == 3
    assert len({batches for _, batches in blocks}) >= 2


def test_captions_are_as_long_as_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four words, with start and end; open_clip_train computes all places of the tiny model's context."""
    places: list[int] = []
    original = Transformer.forward

    def forward(tower: Transformer, x: torch.Tensor, attn_mask: torch.Tensor | None = None) -> Any:
        places.append(x.shape[1])
        return original(tower, x, attn_mask=attn_mask)

    monkeypatch.setattr(Transformer, "forward", forward)
    assert main([*SETTING, "caption_words=4", "bare=false", "require=0"]) == 0
    assert Counter(places) == dict.fromkeys((6, 14), 2 * (2 + WARM_UP))  # two kinds of data; two blocks of a step
