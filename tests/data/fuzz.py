# SPDX-License-Identifier: Apache-2.0
"""Damaged and hostile images, captions and tars, one for each seed: ``python -m tests.data.fuzz FIRST SECONDS FILE``.

In a process of its own, since a decoder may end its process. The seed at work is in FILE; checksums are repaired after
mutation, so that what comes behind them is reached. Nothing but good samples, counted bad ones and named refusals may
come out.
"""

from __future__ import annotations

import io
import json
import os
import random
import struct
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from clip_align.data.bad_samples import BadSample
from clip_align.data.captions import captions_of
from clip_align.data.decode import decode
from clip_align.data.loader import Batches
from clip_align.data.samples import FolderSamples, TarSamples
from clip_align.data.shard_index import read_index
from clip_align.errors import UserError, visible
from clip_align.models.words import WordTokenizer

MOST_PIXELS = 250_000
SLOW_SECONDS = 10.0  # of one case: anything above is a hang in the making, on a loaded machine too
CHUNKS = [b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"tRNS", b"PLTE", b"sBIT"]
CHUNKS += [b"acTL", b"fcTL", b"fdAT", b"IDAT", b"IEND", b"tIME", b"bKGD", b"sPLT", b"hIST", b"cICP", b"caBX", b"quUx"]
PIECES = ["a", "red", " ", "\n", "\0", "\x1b[2J", "\u202e", "红", "สี", "&#", "&amp;", "9" * 300, "\ufeff", "\ud800"]
PIECES += [
    "👩\u200d🚀",
    "e\u0301" * 50,
    "'s",
    "_" * 40,
    "x" * 500,
    "İ",
    "ß",
    "ﬁ",
    "\u2028",
    "%s",
    "{}",
    "<end_of_text>",
]
TOKENIZER = WordTokenizer(["a", "red", "x"], 8)


def images() -> list[bytes]:
    """Small files of all formats and modes."""
    colour = Image.fromarray(np.random.default_rng(0).integers(0, 256, (14, 18, 3), dtype=np.uint8))
    alpha = colour.copy()
    alpha.putalpha(Image.linear_gradient("L").resize(colour.size))
    exif = Image.Exif()
    exif[0x0112] = 6
    more = {"save_all": True, "append_images": [colour.rotate(90), colour.rotate(180)]}
    grey16 = Image.fromarray(np.arange(252, dtype=np.uint16).reshape(14, 18) * 200)
    kinds = [
        *((colour.convert(mode), "PNG", {}) for mode in ("RGB", "L", "1", "LA", "P", "RGBA")),
        (alpha, "PNG", {}),
        (grey16, "PNG", {}),
        (colour.quantize(8), "PNG", {"transparency": 2}),
        (colour, "PNG", more),
        *((colour.convert(mode), "JPEG", {"exif": exif.tobytes()}) for mode in ("RGB", "L", "CMYK")),
        (colour, "JPEG", {"progressive": True, "icc_profile": bytes(200), "comment": b"made up"}),
        (colour, "MPO", more),
        (colour, "WEBP", {"exif": exif.tobytes(), "icc_profile": bytes(200)}),
        (alpha, "WEBP", {"lossless": True}),
        (colour, "WEBP", more),
    ]
    files = []
    for image, form, options in kinds:
        file = io.BytesIO()
        image.save(file, form, **options)  # type: ignore[arg-type]
        files.append(file.getvalue())
    return files


def some_bytes(rng: random.Random) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:
        return b""
    if kind == 1:
        return rng.randbytes(rng.randrange(1, 40))
    if kind == 2:
        return b"name\0\0" + zlib.compress(bytes(rng.choice((10, 3000, 2 << 20))))
    return bytes([rng.choice((0, 1, 255))]) * rng.randrange(1, 300)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Any bytes with some of them changed, left out, repeated or put in; or cut."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        at = rng.randrange(len(changed) + 1)
        kind = rng.randrange(5)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(changed):
            changed[at] = rng.choice((0, 1, 127, 128, 255))
        elif kind == 2:
            del changed[at : at + rng.randrange(1, 12)]
        elif kind == 3:
            changed[at:at] = rng.randbytes(rng.randrange(1, 12))
        else:
            changed[at:at] = changed[at : at + rng.randrange(1, 60)]
    return bytes(changed[: rng.randrange(len(changed) + 1)] if rng.random() < 0.1 else changed)


def png(data: bytes, rng: random.Random) -> bytes:
    """A PNG with chunks changed, put in, left out or exchanged, all with the right checksum."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(len(chunks))
        kind = rng.randrange(5)
        if kind <= 1:
            chunks.insert(place, (rng.choice(CHUNKS), some_bytes(rng)))
        elif kind == 2:
            chunks[place] = (chunks[place][0], mutated(chunks[place][1], rng))
        elif kind == 3 and len(chunks) > 1:
            del chunks[place]
        else:
            chunks.insert(rng.randrange(len(chunks)), chunks[place])
    joined = [
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    ]
    return data[:8] + b"".join(joined)


def jpeg(data: bytes, rng: random.Random) -> bytes:
    """A JPEG with another segment behind its beginning, of the right length."""
    content = rng.choice((b"", b"Exif\0\0", b"ICC_PROFILE\0\1\1", b"Photoshop 3.0\0", b"MPF\0", b"Adobe", b"JFIF\0"))
    content += some_bytes(rng)[:60_000]
    marker = rng.choice((*range(0xE0, 0xF0), 0xFE, 0xDB, 0xC4, 0xC0, 0xC2, 0xDD, 0xDA))
    return data[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + data[2:]


def webp(data: bytes, rng: random.Random) -> bytes:
    """A WebP with another chunk in it, and the right size in front."""
    content = some_bytes(rng)
    kind = rng.choice((b"EXIF", b"XMP ", b"ICCP", b"ALPH", b"ANIM", b"ANMF", b"VP8X", b"VP8 ", b"VP8L", b"quux"))
    chunk = kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
    at = rng.choice((12, len(data)))
    body = data[8:at] + chunk + data[at:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def image_case(rng: random.Random, files: list[bytes]) -> None:
    """One image, decoded and cropped."""
    data = rng.choice(files)
    own: Callable[[bytes, random.Random], bytes] = {b"\x89": png, b"\xff": jpeg, b"R": webp}[data[:1]]
    for change in rng.choice(((own,), (mutated,), (own, own), (own, mutated), (mutated, own))):
        if change is not own or data[:1] in (b"\x89", b"\xff", b"R"):
            data = change(data, rng) if len(data) > 20 else mutated(data, rng)
    try:
        image = decode(data, MOST_PIXELS)
    except BadSample:
        return
    assert image.dtype == torch.uint8
    assert image.ndim == 3
    assert image.shape[0] == 3
    assert 0 < image.shape[1] * image.shape[2] <= MOST_PIXELS


def text(rng: random.Random) -> str:
    return "".join(rng.choice(PIECES) for _ in range(rng.randrange(30)))


def caption_bytes(rng: random.Random, is_json: bool) -> bytes:
    if not is_json:
        return text(rng).encode("utf-8", "surrogatepass")
    value: object = rng.choice((text(rng), [text(rng), text(rng)], [], None, 3, {"caption": "x"}, [[]], 10**400))
    return json.dumps(rng.choice(({"caption": value}, {"TEXT": value}, {text(rng): value}, [value]))).encode()


def caption_case(rng: random.Random, tokenizers: list[Callable[[list[str]], torch.Tensor]]) -> None:
    """One caption, read and tokenized as in a worker."""
    is_json = rng.random() < 0.5
    raw = caption_bytes(rng, is_json)
    try:
        captions = captions_of(mutated(raw, rng) if rng.random() < 0.5 else raw, is_json)
    except BadSample:
        return
    assert captions
    assert all(caption and caption.encode() and "\0" not in caption for caption in captions)
    for tokenizer in tokenizers:
        batches = Batches(FolderSamples("", [], [], []), tokenizer, 8, 0, True, (1.0, 1.0), 0, max_chars=800)
        tokens = batches._tokenized([batches._drawn(0, captions, 0), "a red disc"])
        assert isinstance(tokens[1], torch.Tensor)
        assert isinstance(tokens[0], torch.Tensor) or tokens[0].startswith("tokenizer error (")


def tar_file(rng: random.Random, files: list[bytes]) -> bytes:
    """A tar of a few samples, with some of everything that tars may hold."""
    form = rng.choice((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
    buffer = io.BytesIO()
    options = {"comment": "x"} if form == tarfile.PAX_FORMAT and rng.random() < 0.5 else {}
    with tarfile.open(fileobj=buffer, mode="w", format=form, pax_headers=options) as tar:
        for number in range(rng.randrange(1, 5)):
            key = "n" * rng.choice((1, 1, 80, 150 if form != tarfile.USTAR_FORMAT else 80)) + str(number)
            captions = (("txt", caption_bytes(rng, False)), ("json", caption_bytes(rng, True)))
            for extension, data in (("png", rng.choice(files)), *captions[: rng.randrange(3)]):
                info = tarfile.TarInfo(f"{key}.{extension}")
                info.size, info.mtime = len(data), rng.choice((0, 1.5))
                tar.addfile(info, io.BytesIO(data))
            link = tarfile.TarInfo(f"l{number}.{rng.choice(('png', 'txt'))}")
            link.type = rng.choice((tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE))
            link.linkname = rng.choice((f"{key}.png", f"{key}.txt", "none"))
            tar.addfile(link)
    return buffer.getvalue() * rng.choice((1, 1, 1, 2))


def hostile_header(block: bytes, rng: random.Random) -> bytes:
    """A header with fields that no writer writes, and the right checksum."""
    head = bytearray(block)
    sizes = (b"-0000001000", b"77777777777", b"1_000", b"\xff" * 11, b"\x80" + rng.randbytes(11), b"9", b" ", b"0" * 11)
    for _ in range(rng.choice((1, 1, 2))):
        kind = rng.randrange(4)
        if kind == 0:
            head[124:136] = rng.choice(sizes).ljust(12, b"\0")[:12]
        elif kind == 1:
            head[156] = rng.choice(b"01234567xgXLKSDMVNAZ\0")
        elif kind == 2:
            head[rng.choice((482, 345, 257, 0, 157))] = rng.randrange(256)
        else:
            head[:] = mutated(bytes(head), rng).ljust(512, b"\0")[:512]
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


def pax(rng: random.Random) -> bytes:
    """An extended header with lines that lie about their length, sizes and names."""
    key = rng.choice(("path", "size", "linkpath", "GNU.sparse.major", "GNU.sparse.name", "mtime"))
    value = rng.choice(("9" * 5000, "-1", "1_0", "x.png", "", "512", "\x1b[2J.txt", "é" * 200))
    line = f" {key}={value}\n".encode()
    length = len(line) + len(str(len(line) + 3))
    content = str(rng.choice((length, length, length, 0, -5, 10**30, 3))).encode() + line
    head = bytearray(512)
    head[:4], head[124:135], head[257:265] = b"more", b"%011o" % len(content), b"ustar\x0000"
    head[156] = rng.choice(b"xxxgLK")
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + content + bytes(-len(content) % 512)


def tar_case(rng: random.Random, files: list[bytes], path: Path) -> None:
    """One tar, indexed, and all its samples read as in a worker."""
    data = tar_file(rng, files)
    for _ in range(rng.randrange(4)):
        at = rng.randrange(max(1, len(data) // 512)) * 512
        kind = rng.randrange(4)
        if kind == 0:
            heads = [b for b in range(0, len(data) - 511, 512) if data[b + 257 : b + 262] == b"ustar"] or [0]
            at = rng.choice(heads)
            data = data[:at] + hostile_header(data[at : at + 512].ljust(512, b"\0"), rng) + data[at + 512 :]
        elif kind == 1:
            heads = [b for b in range(0, len(data) - 511, 512) if data[b + 257 : b + 262] == b"ustar"] or [0]
            at = rng.choice(heads)
            data = data[:at] + pax(rng) + data[at:]
        elif kind == 2:
            data = data[:at] + rng.choice((bytes(512), rng.randbytes(512), b"")) + data[at + rng.choice((0, 512)) :]
        else:
            data = mutated(data, rng)
    path.write_bytes(data)
    refusal = ""
    try:
        index = read_index(str(path))
    except UserError as error:
        refusal = str(error)
    if refusal:
        assert refusal.startswith(f"data.shards: {path} ")
        return
    samples = TarSamples([str(path)], [index], 1 << 20)
    skipped: list[tuple[str, str]] = []
    batches = Batches(samples, TOKENIZER, 8, 0, True, (0.5, 1.0), 0, MOST_PIXELS, 200)
    good = batches._pairs(range(len(samples)), 0, skipped)
    assert len(good) + len(skipped) == len(samples)
    assert not [cause for cause, _ in skipped if cause.startswith("error (")]
    names = [*map(index.key, range(len(index))), index.left_out, *index.bad.first.values()]
    assert [*map(visible, names)] == names
    assert all(pair.image.shape == (3, 8, 8) for pair in good.values())


def main(first: int, seconds: float, file: str) -> int:
    """Cases from seed ``first`` on for so many seconds of processor time; the number of them."""
    tokenizers: list[Callable[[list[str]], torch.Tensor]] = [TOKENIZER]
    if seconds > 30:
        import open_clip

        tokenizers.append(open_clip.get_tokenizer("ViT-B-32"))
    files, end, seed = images(), time.process_time() + seconds, first
    with tempfile.TemporaryDirectory() as folder, open(file, "w") as at_work:
        while time.process_time() < end:
            os.pwrite(at_work.fileno(), f"{seed:20d}".encode(), 0)
            rng, began = random.Random(seed), time.process_time()
            if seed % 3 == 0:
                image_case(rng, files)
            elif seed % 3 == 1:
                caption_case(rng, tokenizers)
            else:
                tar_case(rng, files, Path(folder) / "a.tar")
            assert time.process_time() - began < SLOW_SECONDS, "this took too long"
            seed += 1
    return seed - first


if __name__ == "__main__":
    print(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]))
