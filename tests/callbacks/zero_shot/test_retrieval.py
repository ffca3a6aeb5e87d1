# SPDX-License-Identifier: Apache-2.0
"""Image-text retrieval on shards: hand-counted recalls, chance, awkward shards, real ones."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip_align.callbacks.zero_shot.retrieval import Retrieval
from clip_align.errors import UserError
from clip_align.evaluation.features import Features
from clip_align.evaluation.model_info import ModelInfo
from clip_align.metrics.estimate import Estimate
from clip_align.testing.random_images import random_image
from clip_align.testing.stubs import Words

N = 20


def write(path: Path, texts: dict[str, tuple[str, bytes]]) -> None:
    """A tar: key -> extension and content of the text beside the image."""
    with tarfile.open(path, "w") as tar:
        for key, (extension, text) in texts.items():
            buffer = io.BytesIO()
            Image.fromarray(random_image(key, 12, 10)).save(buffer, "PNG")
            for name, data in ((f"{key}.png", buffer.getvalue()), (f"{key}.{extension}", text)):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty images in two tars: one to three captions each, blank lines and CRLF among them."""
    folder = tmp_path_factory.mktemp("coco")
    for tar in range(2):
        texts = {}
        for n in range(10 * tar, 10 * tar + 10):
            lines = [f"caption {n} {letter}" for letter in "abc"[: 1 + n % 3]]
            texts[f"{n:04d}"] = ("txt", ("\r\n".join([*lines, "", "  "])).encode())
        write(folder / f"{tar}.tar", texts)
    return folder


def scores_of(callback: Retrieval, images: np.ndarray, texts: np.ndarray) -> dict[str, Estimate]:
    ids = [stimulus.id for stimulus in callback.stimuli()]
    rows = {name: row for row, name in enumerate(ids)}
    items = callback.items(Features(images.astype(np.float32)[:, None], rows, texts.astype(np.float32)))
    return {score.name: score.compute(items) for score in callback.scores}


def test_all_captions_of_an_image_are_its_own(shards: Path) -> None:
    callback = Retrieval(shards=str(shards / "{0,1}.tar"))
    assert callback.key == "zero_shot/retrieval"
    owners = [number for _, number in callback.texts]
    assert np.bincount(owners).tolist() == [1 + n % 3 for n in range(N)]
    assert callback.prompts()["1"] == ("caption 1 a",)
    eye = np.eye(N)
    perfect = scores_of(callback, eye, eye[owners])
    assert {e.value for e in perfect.values()} == {1.0}
    # every query is nearest to what follows its own, and its own comes second
    shifted = eye + 2 * np.roll(eye, 1, axis=1)
    off = scores_of(callback, shifted, eye[owners])
    assert off["text_to_image_recall_1"].value == 0
    assert off["text_to_image_recall_5"].value == 1
    assert off["image_to_text_recall_1"].value == 0
    assert off["image_to_text_recall_5"].value == 1


def test_recalls_by_hand(shards: Path) -> None:
    callback = Retrieval(shards=str(shards), captions_per_image=1, images=12)
    eye = np.eye(12)
    images = eye.copy()
    images[:3] = eye[[1, 2, 0]]  # three images are taken for one another
    found = scores_of(callback, images, eye)
    assert found["image_to_text_recall_1"].value == 9 / 12
    assert found["text_to_image_recall_1"].value == 9 / 12
    low, high = found["image_to_text_recall_1"].low, found["image_to_text_recall_1"].high
    assert low is not None
    assert high is not None
    assert low < 0.75 < high


def test_chance_is_what_random_embeddings_reach(shards: Path) -> None:
    callback = Retrieval(shards=str(shards))
    rng = np.random.default_rng(0)
    found: dict[str, list[float]] = {score.name: [] for score in callback.scores}
    for _ in range(60):
        one = scores_of(callback, rng.normal(size=(N, 16)), rng.normal(size=(len(callback.texts), 16)))
        for name, estimate in one.items():
            assert estimate.value is not None
            found[name].append(estimate.value)
    for score in callback.scores:
        spread = np.std(found[score.name]) / np.sqrt(60)
        assert np.mean(found[score.name]) == pytest.approx(score.chance, abs=4 * spread)


def test_a_collapsed_model_is_null(shards: Path) -> None:
    callback = Retrieval(shards=str(shards))
    texts = np.random.default_rng(0).normal(size=(len(callback.texts), 4))
    for estimate in scores_of(callback, np.ones((N, 4)), texts).values():
        assert estimate.reason == "no ranks: the embeddings of all images or of all captions are equal or not finite"


def test_a_json_may_hold_one_caption_or_a_list(tmp_path: Path) -> None:
    rows = {
        f"{n}": ("json", json.dumps({"caption": [f"a {n}", f"b {n}"] if n % 2 else f"a {n}"}).encode())
        for n in range(12)
    }
    write(tmp_path / "0.tar", rows)
    callback = Retrieval(shards=str(tmp_path / "0.tar"), caption_field="caption")
    assert len(callback.texts) == 18
    write(tmp_path / "1.tar", {**rows, "x": ("json", b'{"caption": [1]}')})
    with pytest.raises(UserError) as caught:
        Retrieval(shards=str(tmp_path / "1.tar"), caption_field="caption")
    assert caught.value.lines == (
        f"zero_shot/retrieval: {tmp_path / '1.tar'}: x (json, png) has no field caption in a json; caption_field names "
        "that of the captions",
    )


def test_captions_with_unknown_words_are_left_out(shards: Path) -> None:
    callback = Retrieval(shards=str(shards))
    assert callback.adapt(ModelInfo(32, ("projection",), Words(["b", "0"]))) is None
    assert len(callback.used) == N - 1  # image 0 has no other caption
    assert callback.scores[0].unit.startswith("19 images, 25 captions, jackknife over images, t; 14 captions left out")
    eye = np.eye(N - 1)
    owners = [number for _, number in callback.texts]
    assert scores_of(callback, eye, eye[owners])["text_to_image_recall_1"].value == 1
    assert callback.adapt(ModelInfo(32, ("projection",), Words(["caption"]))) == (
        "0 of 20 images have a caption in words that the tokenizer knows"
    )


def test_real_shards(shared_data: Path) -> None:
    callback = Retrieval(shards=str(shared_data / "cifar10" / "test" / "*.tar"), images=100)
    assert len(callback.used) == len(callback.texts) == 100
    assert next(iter(callback.stimuli())).load().shape == (32, 32, 3)


def test_too_few_images_are_one_line(tmp_path: Path) -> None:
    write(tmp_path / "0.tar", {f"{n}": ("txt", b"a caption") for n in range(10)})
    with pytest.raises(UserError) as caught:
        Retrieval(shards=str(tmp_path / "0.tar"))
    assert caught.value.lines == (
        f"zero_shot/retrieval: {tmp_path / '0.tar'} holds 10 images; recall@10 needs at least 11",
    )
