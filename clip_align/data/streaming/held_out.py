# SPDX-License-Identifier: Apache-2.0
"""Held-out samples of streamed shards, collected once into the cache, where shards come and go."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

from clip_align.data.bad_samples import BadSample, Causes
from clip_align.data.decode import MEGA, decode
from clip_align.data.held_out import FEWEST_BY_DEFAULT, HeldOutSample, HeldOutSamples
from clip_align.data.key_hashes import key_hash
from clip_align.data.streaming.options import StreamingOptions
from clip_align.data.streaming.samples import StreamedSamples
from clip_align.data.streaming.shard_supply import ShardSupply
from clip_align.errors import Problem, RunError, UserError
from clip_align.runs.folder import write_atomic

IMAGES = ".images"  # end of the name of the file with the images, after that of the list
AT_A_TIME = 4  # shards that are waited for together


def collected(
    supply: ShardSupply, reader: StreamedSamples, data: StreamingOptions, count: int, kept: Path
) -> tuple[HeldOutSamples, str | None]:
    """The first ``count`` samples that are held out, in the order of their keys' hashes; a note for the user.

    Args:
        supply: fetches the shards, which are read from the first one on.
        reader: of their samples.
        data: the configured source.
        count: of samples, at most; as configured, or by default where ``data.held_out`` is None.
        kept: file of the list; made if it is not there, with the images beside it.

    UserError where no sample can be shown, or by default fewer than ten.
    """
    note = None
    if not kept.is_file():
        note = _collect(supply, reader, data, count, kept)
    images = str(kept) + IMAGES
    found = [
        HeldOutSample(key, images, at, size, tuple(captions))
        for key, at, size, captions in json.loads(kept.read_text())
    ]
    if not found:
        what = f"{len(reader.urls):,} shards hold no sample whose key is held out, with data.held_out_fraction="
        raise UserError(Problem("data.held_out", f"{what}{data.held_out_fraction:g}; raise that"))
    if data.held_out is None and len(found) < FEWEST_BY_DEFAULT:
        what = f"{data.held_out_fraction:g} of the keys are {len(found)} samples, too few to evaluate on"
        advice = "raise it, type data.held_out=…, or leave out the benchmarks on them: callbacks=[tid2013_remade]"
        raise UserError(Problem("data.held_out_fraction", f"{what}; {advice}"))
    return HeldOutSamples(tuple(sorted(found, key=lambda sample: key_hash(sample.key)))), note


def _collect(
    supply: ShardSupply, reader: StreamedSamples, data: StreamingOptions, count: int, kept: Path
) -> str | None:
    content, found, bad = bytearray(), dict[str, tuple[int, int, list[str]]](), Causes()
    shards = iter(range(len(reader.urls)))
    while len(found) < count and (part := list(islice(shards, AT_A_TIME))):
        supply.hold(part)
        try:
            for shard in supply.wait(part):
                samples = reader.shard(shard.number)
                for number in shard.held_out:
                    key = samples.key(number)
                    if key in found or len(found) == count:
                        continue
                    try:
                        captions = [caption[: data.max_caption_chars] for caption in samples.captions(number)]
                        image = samples.image(number)
                        decode(image, round(data.max_megapixels * MEGA))
                    except BadSample as error:
                        bad.add(error.cause, key)
                        continue
                    found[key] = (len(content), len(image), captions)
                    content += image
        except RunError as error:  # before step 0
            raise UserError(*error.problems) from error
        finally:
            supply.release(part)
    write_atomic(Path(str(kept) + IMAGES), bytes(content))
    write_atomic(kept, json.dumps([(key, *facts) for key, facts in found.items()]))  # last: it says that all is there
    if len(found) < count:
        default = ", the default," if data.held_out is None else ""
        return f"data: {len(found):,} samples are held out, data.held_out={count:,}{default} are not in these shards"
    return f"data: {bad.total:,} of the samples held out cannot be shown: {bad}" if bad.total else None
