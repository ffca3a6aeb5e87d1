# SPDX-License-Identifier: Apache-2.0
"""saliency/fixation_folder: SALICON's and CAT2000's layouts, what maps alone give, and what is wrong in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import miniature_saliency
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from clip_align.callbacks.base import Features
from clip_align.callbacks.saliency.fixation_folder import FixationFolder
from clip_align.callbacks.saliency.fixations_csv import FixationsCsv
from clip_align.errors import UserError
from clip_align.evaluation.features import NO_PAIRS
from clip_align.evaluation.model_info import ModelInfo
from clip_align.metrics.estimate import Estimate

KEY = "saliency/fixation_folder"
WHY = "only fixation maps are given, and this needs the fixations: fixations=<folder>"


def made(**options: Any) -> FixationFolder:
    typed: dict[str, Any] = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
    callback = FixationFolder(maps="input_gradient", **typed)
    assert callback.adapt(ModelInfo(32, ("projection",))) is None
    return callback


def scored(callback: FixationFolder, maps: list[NDArray[np.float64]]) -> dict[str, Estimate]:
    """The scores of these maps [h, w], one for each image."""
    shape = maps[0].shape
    flat = np.stack([one.astype(np.float32).ravel() for one in maps])[:, None]
    index = {stimulus.id: number for number, stimulus in enumerate(callback.stimuli())}
    items = callback.items(Features(flat, index, np.zeros((0, 0), np.float32), NO_PAIRS, shape))
    assert items.reason is None
    return {score.name: score.compute(items) for score in callback.scores}


def grey(path: Path) -> NDArray[np.float64]:
    return np.asarray(Image.open(path).convert("L"), dtype=np.float64)


@pytest.fixture
def salicon(tmp_path: Path) -> Path:
    return miniature_saliency.salicon(tmp_path / "salicon")


@pytest.fixture
def cat2000(tmp_path: Path) -> Path:
    return miniature_saliency.cat2000(tmp_path / "cat2000")


def test_the_maps_themselves_are_perfect_and_viewers_are_known(salicon: Path) -> None:
    folders = {name: salicon / part / "val" for name, part in (("images", "images"), ("fixation_maps", "maps"))}
    callback = made(**folders, fixations=salicon / "fixations" / "val", sigma_px=4)
    assert len(callback.images) == miniature_saliency.IMAGES
    assert {len(set(image.viewer)) for image in callback.images} == {miniature_saliency.VIEWERS}
    found = scored(callback, [grey(path) for path in sorted(folders["fixation_maps"].iterdir())])
    assert found["cc"].value == pytest.approx(1, abs=1e-6)
    assert found["sim"].value == pytest.approx(1, abs=1e-6)
    assert found["kl"].value == pytest.approx(0, abs=1e-6)
    nss, auc = found["nss"].value, found["auc_judd"].value
    assert nss is not None
    assert auc is not None
    assert nss > 1.5
    assert auc > 0.9
    assert 0 < callback.scores[0].baselines["one viewer"] < 1


def test_points_are_those_of_a_csv_with_pixels_counted_from_1(salicon: Path, tmp_path: Path) -> None:
    rows = ["image,x,y,viewer"]
    for image in range(miniature_saliency.IMAGES):
        for viewer in range(miniature_saliency.VIEWERS):
            for x, y in np.floor(miniature_saliency.looked(image * miniature_saliency.VIEWERS + viewer)).tolist():
                rows.append(f"COCO_val2014_{image:012d}.jpg,{x},{y},{viewer}")
    (tmp_path / "same.csv").write_text("\n".join(rows), encoding="utf-8")
    images = salicon / "images" / "val"
    one = made(images=images, fixations=salicon / "fixations" / "val", sigma_px=4)
    same = FixationsCsv(csv=str(tmp_path / "same.csv"), root=str(images), sigma_px=4, maps="input_gradient")
    assert same.adapt(ModelInfo(32, ("projection",))) is None
    for mine, other in zip(one.scores, same.scores, strict=True):
        assert dict(mine.baselines) == pytest.approx(dict(other.baselines), abs=1e-12)


def test_maps_alone_leave_the_scores_of_points_null_with_the_reason(salicon: Path) -> None:
    callback = made(images=salicon / "images" / "val", fixation_maps=salicon / "maps" / "val")
    found = scored(callback, [grey(path) for path in sorted((salicon / "maps" / "val").iterdir())])
    assert {name for name, estimate in found.items() if estimate.value is None} == {
        "nss",
        "auc_judd",
        "information_gain",
    }
    assert {found[name].reason for name in ("nss", "auc_judd", "information_gain")} == {WHY}
    assert found["cc"].value == pytest.approx(1, abs=1e-6)
    baselines = {score.name: set(score.baselines) for score in callback.scores}
    assert baselines["cc"] == {"centre bias"}
    assert baselines["sim"] == {"centre bias", "uniform"}
    assert baselines["nss"] == set()


def test_sub_folders_and_matrices_of_points_and_what_is_no_stimulus(cat2000: Path) -> None:
    folders = {"images": cat2000 / "Stimuli", "fixations": cat2000 / "FIXATIONLOCS"}
    callback = made(**folders, fixation_maps=cat2000 / "FIXATIONMAPS")
    assert [image.path.relative_to(cat2000 / "Stimuli").as_posix() for image in callback.images] == [
        *("Action/001.jpg", "Action/003.jpg", "Action/005.jpg"),
        *("Sketch/002.jpg", "Sketch/004.jpg", "Sketch/006.jpg"),
    ]
    index = {stimulus.id: number for number, stimulus in enumerate(callback.stimuli())}
    flat = np.random.default_rng(0).random((len(index), 1, 16), np.float32)
    notes = callback.items(Features(flat, index, np.zeros((0, 0), np.float32), NO_PAIRS, (4, 4))).notes
    assert (notes["images_without_fixations"], notes["fixations_outside"]) == (1, 0)
    # the same points as images
    for path in sorted((cat2000 / "FIXATIONLOCS").rglob("*.mat")):
        xy = next(image for image in callback.images if image.path.stem == path.stem)
        points = np.zeros((miniature_saliency.HEIGHT, miniature_saliency.WIDTH), np.uint8)
        points[xy.y.astype(int), xy.x.astype(int)] = 255
        Image.fromarray(points).save(path.with_suffix(".png"))
        path.unlink()
    other = made(**folders, fixation_maps=cat2000 / "FIXATIONMAPS")
    for one, same in zip(callback.images, other.images, strict=True):
        assert np.array_equal([one.x, one.y], [same.x, same.y])


def refused(**options: Any) -> str:
    with pytest.raises(UserError) as caught:
        made(**options)
    return str(caught.value)


def test_what_does_not_belong_together_is_one_line(salicon: Path) -> None:
    images, maps, points = (salicon / part / "val" for part in ("images", "maps", "fixations"))
    first = "COCO_val2014_000000000000"
    assert refused(images=images) == (
        f"{KEY}: neither fixation_maps nor fixations is given: name a folder of either, or of both"
    )
    assert refused(images=images, fixations=points) == (
        f"{KEY}: sigma_px is needed to blur fixations where no fixation_maps are given; a degree, in pixels, is usual"
    )
    (maps / "another.png").write_bytes((maps / f"{first}.png").read_bytes())
    assert refused(images=images, fixation_maps=maps) == (
        f"{KEY}: fixation_maps: {maps}/another.png belongs to no image: none in {images} is called another"
    )
    (maps / "another.png").unlink()
    (points / f"{first}.mat").unlink()
    assert refused(images=images, fixation_maps=maps, fixations=points) == (
        f"{KEY}: 1 of 6 images have no file in fixations, the first is {images}/{first}.jpg; "
        "leave the option out, or complete its folder"
    )
    assert refused(images=images, fixation_maps=points) == (
        f"{KEY}: fixation_maps: no file in {points}; valid are .png, .jpg, .jpeg, .bmp, .tif, .tiff, .webp"
    )


def test_files_that_say_nothing_are_one_line(salicon: Path) -> None:
    images, maps, points = (salicon / part / "val" for part in ("images", "maps", "fixations"))
    name = "COCO_val2014_000000000000"
    given = {"images": images, "fixation_maps": maps, "fixations": points}
    width, height = miniature_saliency.WIDTH, miniature_saliency.HEIGHT
    kept = (maps / f"{name}.png").read_bytes()
    Image.new("L", (width, width)).save(maps / f"{name}.png")
    assert refused(**given) == (
        f"{KEY}: {maps}/{name}.png is {width} x {width} px and {name}.jpg {width} x {height}: not the same shape"
    )
    Image.new("L", (width // 2, height // 2)).save(maps / f"{name}.png")
    assert refused(**given) == f"{KEY}: {maps}/{name}.png is black: it says nothing about where people look"
    (maps / f"{name}.png").write_bytes(kept)
    savemat(points / f"{name}.mat", {"places": np.ones((3, 4))})
    assert refused(**given) == (
        f"{KEY}: {points}/{name}.mat holds places (3, 4); valid is gaze (SALICON's) or one matrix ({height}, {width}), "
        f"the size of {name}.jpg"
    )
    (points / f"{name}.mat").write_bytes(b"MATLAB")
    assert refused(**given).startswith(f"{KEY}: cannot read {points}/{name}.mat: ")
    (points / f"{name}.mat").unlink()
    Image.new("L", (4, 3)).save(points / f"{name}.png")
    assert refused(**given) == (
        f"{KEY}: {points}/{name}.png is 4 x 3 px, its image {width} x {height}; points need its size"
    )
