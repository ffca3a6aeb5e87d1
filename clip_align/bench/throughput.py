# SPDX-License-Identifier: Apache-2.0
"""``bench throughput``: samples/s of our training loop, of open_clip_train's and of a bare one, in turn."""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW

from clip_align.bench import open_clip_side, our_loop
from clip_align.bench.loop_in_turn import Run, loops_in_turn
from clip_align.bench.made_up_shards import MOST_WORDS, VOCABULARY, captions, write_shards
from clip_align.bench.options import Throughput
from clip_align.bench.pairs import OURS, Case, in_turn, missed_bounds
from clip_align.bench.result import Result
from clip_align.config import Config, OptimizerConfig
from clip_align.data.training_data import TrainingData
from clip_align.data.worker_count import usable_cores
from clip_align.models.build import ClipModel, build_model
from clip_align.models.short_texts import encode_text, text_groups
from clip_align.settings.load_config import load
from clip_align.structure import shown
from clip_align.training.launch_ranks import RankLayout
from clip_align.training.step_seeds import seed_everything
from clip_align.training.tf32 import tf32
from clip_align.training.trainer import autocast, compile_towers

BARE = "bare loop"
IN_MEMORY = 3  # different batches
BLOCK_S = 4.0  # of timed steps, where their number is not given
MOST_STEPS = 200
SHARDS = 4
LARGE, SMALL = 256, 64  # px, side of the images in shards for models of 128 px and more, and for smaller ones


def measure(options: Throughput, notify: Callable[[str], None]) -> Result:
    """Measure every model with every kind of data; a ratio to open_clip_train below ``require`` is missed.

    Args:
        options: see there.
        notify: takes lines of progress.
    """
    torch.set_num_threads(options.threads or usable_cores())
    cases: list[Case] = []
    for model in options.model:
        cases += _of_model(model, options, notify)
    missed = missed_bounds(cases, open_clip_side.NAME, options.require)
    return Result([case.plain() for case in cases], [line for case in cases for line in case.lines()], missed)


def _of_model(name: str, options: Throughput, notify: Callable[[str], None]) -> list[Case]:
    batch = options.batch or (128 if name == "tiny" else 32)
    trainer = {n: getattr(options, n) for n in ("precision", "accumulate", "tf32", "channels_last")}
    config, clip = prepared(name, batch, options.seed, trainer)
    several, found = f"{options.accumulate} x " if options.accumulate > 1 else "", []
    # the setting is the whole process's: it holds for all sides, which take turns
    with tempfile.TemporaryDirectory() as place, tf32(options.tf32):
        sides = training_sides(config, clip, options.bare and options.accumulate == 1, options.compile, Path(place))
        for kind in options.data:
            title = f"{name}, batch {several}{batch}, {'in memory' if kind == 'memory' else 'from shards'}"
            if kind == "memory":
                batches = in_memory(config, clip, options.caption_words)
            else:
                batches = _from_shards(config, clip, options.workers, options.caption_words, Path(place))
            chosen = {side: run for side, run in sides.items() if side in batches}
            found.append(_case(title, chosen, batches, batch, options, notify))
    return found


def prepared(name: str, batch: int, seed: int, trainer: Mapping[str, object] | None = None) -> tuple[Config, ClipModel]:
    """The configuration of a run on one device, and its model, on that device.

    Args:
        name: option of the group model.
        batch: samples of one.
        seed: of the weights.
        trainer: options of the group trainer; None: its defaults.
    """
    gpu = torch.cuda.is_available()
    config = load(
        [
            f"model={name}", f"seed={seed}", f"data.batch_size={batch}", "callbacks=[]", "tracker=none",
            "evaluation.every_n_steps=1000", f"trainer={'gpu' if gpu else 'cpu'}", "trainer.devices=1",
            *(f"trainer.{option}={shown(value)}" for option, value in (trainer or {}).items()),
        ]
    )  # fmt: skip
    seed_everything(seed)
    clip = build_model(config.model, VOCABULARY)
    clip.model.to("cuda" if gpu else "cpu")
    return config, clip


def _case(
    title: str,
    sides: dict[str, Run],
    batches: dict[str, Callable[[int], Iterable[Any]]],
    batch: int,
    options: Throughput,
    notify: Callable[[str], None],
) -> Case:
    """Blocks of steps of all sides in turn.

    Args:
        title: of the case.
        sides: by name, what trains.
        batches: by name, so many batches as that side takes them.
        batch: samples of each.
        options: pairs and steps.
        notify: takes lines of progress.
    """
    steps = options.steps
    if steps is None:
        took = block_seconds(sides[OURS], batches[OURS], 1, options.accumulate)
        steps = max(1, min(MOST_STEPS, math.ceil(BLOCK_S / took)))
        notify(f"{title}: a step takes about {took:.3g} s; blocks of {steps} timed steps")
    count = steps * options.accumulate * batch
    with ExitStack() as stack:
        # workers read ahead in the other sides' turns: with them each block starts a new loop
        loops = (
            {}
            if options.workers
            else stack.enter_context(loops_in_turn(sides, batches, steps * options.pairs, options.accumulate))
        )

        def rate(side: str) -> float:
            if side in loops:
                return count / loops[side].take(steps)
            return count / block_seconds(sides[side], batches[side], steps, options.accumulate)

        rates = in_turn(title, {side: partial(rate, side) for side in sides}, options.pairs, notify)
    facts = {
        "batch": batch, "accumulate": options.accumulate, "steps": steps, "threads": torch.get_num_threads(),
        "precision": options.precision, "caption_words": options.caption_words,
    }  # fmt: skip
    return Case(title, "samples/s", rates, facts)


def block_seconds(run: Run, batches: Callable[[int], Iterable[Any]], steps: int, accumulate: int = 1) -> float:
    """Seconds of some steps of a loop that is started for them.

    Args:
        run: trains.
        batches: makes at least a number of batches.
        steps: that are timed.
        accumulate: batches of one step.
    """
    with loops_in_turn({"": run}, {"": batches}, steps, accumulate) as loops:
        return loops[""].take(steps)


def training_sides(config: Config, clip: ClipModel, bare: bool, compiled: bool, place: Path) -> dict[str, Run]:
    """What trains, by side, each a model of its own that starts as ``clip``.

    Args:
        config: of the run.
        clip: the model, on the device.
        bare: the third side too.
        compiled: with ``torch.compile``, as a run of ours does it.
        place: folder for records.
    """
    precision, gpu, optimizer = config.trainer.precision, torch.cuda.is_available(), config.optimizer
    layout, device = RankLayout(0, 0, 1, 1, gpu), "cuda" if gpu else "cpu"
    clips = {side: copy.deepcopy(clip) for side in (OURS, open_clip_side.NAME, *([BARE] if bare else []))}
    for side, one in clips.items():
        if config.trainer.channels_last and side != OURS:  # our module does it
            _use_channels_last(one.model)
        if compiled:
            compile_towers(one.model)

    def ours(batches: Iterable[Any], steps: int) -> None:
        with tempfile.TemporaryDirectory(dir=place) as folder:
            our_loop.train(config, clips[OURS], batches, steps, layout, Path(folder))
        clips[OURS].model.to(device)  # Lightning leaves it on the CPU

    def theirs(batches: Iterable[Any], steps: int) -> None:
        model = clips[open_clip_side.NAME].model
        open_clip_side.train(model, batches, steps, optimizer, precision, device, config.trainer.accumulate)

    def plain(batches: Iterable[Any], steps: int) -> None:
        _bare(clips[BARE].model, batches, steps, optimizer, precision, device)

    runs = {OURS: ours, open_clip_side.NAME: theirs, BARE: plain}
    return {side: runs[side] for side in clips}


def _use_channels_last(model: Any) -> None:
    """For loops that have no such option: kernels in that format, and images once they are on the device."""
    model.visual.to(memory_format=torch.channels_last)

    def with_images(_: nn.Module, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        images, *more = arguments
        return images.contiguous(memory_format=torch.channels_last), *more

    model.visual.register_forward_pre_hook(with_images)


def _bare(model: Any, batches: Iterable[Any], steps: int, config: OptimizerConfig, precision: str, device: str) -> None:
    """The least that trains: forward (texts as far as ours encodes them), loss, backward, clipping, fused AdamW.

    Args:
        model: an open_clip model on its device.
        batches: normalized images and token ids.
        steps: of the optimizer.
        config: of the optimizer.
        precision: 32 or bf16-mixed.
        device: that the model is on.
    """
    model.train()
    optimizer = AdamW(model.parameters(), lr=config.lr, betas=config.betas, eps=config.eps, fused=True)
    context = autocast(precision, device)
    for number, (image, text) in enumerate(batches):
        if number == steps:
            return
        groups = text_groups(model, text, torch.device(device))
        image, text = image.to(device, non_blocking=True), text.to(device, non_blocking=True)
        with context():
            image, text = model.encode_image(image), encode_text(model, text, groups)
        image, text = functional.normalize(image.float(), dim=-1), functional.normalize(text.float(), dim=-1)
        logits = model.logit_scale.exp() * image @ text.T
        own = torch.arange(len(logits), device=logits.device)
        loss = (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if config.clip_norm is not None:
            clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0.0, math.log(100))


def in_memory(config: Config, clip: ClipModel, words: int = MOST_WORDS) -> dict[str, Callable[[int], Iterable[Any]]]:
    """A few batches over and over, as each side's own loader would hand them over."""
    generator = torch.Generator().manual_seed(config.seed)
    shape = (config.data.batch_size, 3, clip.image_size, clip.image_size)
    texts = captions(IN_MEMORY * shape[0], config.seed, words)
    ours, theirs = [], []
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (clip.mean, clip.std))
    for number in range(IN_MEMORY):
        image = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        text = clip.tokenizer(texts[number * shape[0] : (number + 1) * shape[0]])
        keys = [f"{number}/{n}" for n in range(shape[0])]
        ours.append({"image": image, "text": text, "cursor": (0, number + 1), "keys": keys, "repeated": []})
        theirs.append(((image / 255 - mean) / std, text))

    def repeated(batches: list[Any]) -> Callable[[int], Iterator[Any]]:
        return lambda count: (batch for batch, _ in zip(cycle(batches), range(count)))

    return {OURS: repeated(ours), open_clip_side.NAME: repeated(theirs), BARE: repeated(theirs)}


def _from_shards(
    config: Config, clip: ClipModel, workers: int, words: int, place: Path
) -> dict[str, Callable[[int], Iterable[Any]]]:
    """Each side's own loader over the same shards; images are decoded each time."""
    batch, size, accumulate = config.data.batch_size, clip.image_size, config.trainer.accumulate
    side, seed = LARGE if size >= 128 else SMALL, config.seed
    paths = write_shards(place / "shards", max(SHARDS, workers), 4 * batch * accumulate, side, seed, words)
    data = open_clip_side.our_data(place / "shards", batch, workers)
    training = TrainingData(data, size, clip.tokenizer, seed, 0, 1, place / "cache", accumulate)
    transform = open_clip_side.preprocessing(size, clip.mean, clip.std)
    pinned = torch.cuda.is_available()

    def theirs(count: int) -> Iterable[Any]:
        return open_clip_side.loader(paths, transform, clip.tokenizer, batch, count, workers, seed)

    return {OURS: lambda count: training.loader(pin_memory=pinned), open_clip_side.NAME: theirs}
