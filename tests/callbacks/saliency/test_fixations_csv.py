# SPDX-License-Identifier: Apache-2.0
"""saliency/fixations_csv: the known answers of OSIE's small copy, and what is wrong with a csv in one line."""

from __future__ import annotations

from pathlib import Path

import miniature_saliency
import pytest

from clip_align.callbacks.saliency.fixations_csv import FixationsCsv
from clip_align.errors import UserError
from clip_align.evaluation.model_info import ModelInfo


def test_known_answers_of_osies_small_copy(shared_data: Path) -> None:
    """Its README's table, as the baselines that are recorded beside a model; the one viewer's AUC is not among them."""
    root = shared_data / "osie"
    callback = FixationsCsv(
        csv=str(root / "fixations.csv"),
        root=str(root / "stimuli"),
        sigma_px=12,
        outside="zero",
        auc="mit",
        scored_px=None,
        maps="input_gradient",
    )
    assert len(callback.images) == 60
    assert sum(len(image.x) for image in callback.images) == 8438
    assert {(image.height, image.width) for image in callback.images} == {(300, 400)}
    assert callback.adapt(ModelInfo(32, ("projection",))) is None
    of = {score.name: {name: round(value, 4) for name, value in score.baselines.items()} for score in callback.scores}
    assert (of["cc"]["centre bias"], of["nss"]["centre bias"], of["nss"]["one viewer"]) == (0.2799, 0.7830, 2.5578)
    assert (of["auc_judd"]["centre bias"], of["auc_judd"]["uniform"]) == (0.7223, 0.5)
    assert of["sim"] == {"centre bias": 0.3561, "uniform": 0.2875, "one viewer": 0.5259}
    assert of["kl"] == {"centre bias": 1.3709, "uniform": 1.6664}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return miniature_saliency.fixations_csv(tmp_path / "csv")


def refused(folder: Path, text: str, **options: str | None) -> str:
    (folder / "bad.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        FixationsCsv(csv=str(folder / "bad.csv"), sigma_px=4, **options)  # type: ignore[arg-type]
    return str(caught.value)


def test_what_is_wrong_with_a_csv_is_one_line(folder: Path) -> None:
    key, path = "saliency/fixations_csv", folder / "bad.csv"
    assert (
        refused(folder, "image,x,viewer\n0.png,1,a\n")
        == f"{key}: {path} has no column y; columns found: image, x, viewer"
    )
    assert refused(folder, "image,x,y\n0.png,1,2\n") == (
        f"{key}: {path} has no column viewer; columns found: image, x, y; "
        "with viewer=null none is needed that tells viewers apart"
    )
    assert refused(folder, "image,x,y,viewer\n0.png,1,2,a\n0.png,1,,a\n") == (
        f"{key}: {path}, line 3: image '0.png', x '1', y ''; valid are a name and two numbers"
    )
    assert refused(folder, "image,x,y,viewer\n0.png,nan,2,a\n").endswith("valid are a name and two numbers")
    assert refused(folder, "image,x,y,viewer\nno.png,1,2,a\nnor.png,1,2,a\n") == (
        f"{key}: no such image {folder}/no.png (and 1 more); root= names the folder of the images"
    )
    assert refused(folder, "image,x,y,viewer\n0.png,1000,2,a\n") == f"{key}: csv: no image has a fixation inside it"
    assert refused(folder, "image,x,y\n", viewer=None) == f"{key}: csv: no image has a fixation inside it"


def test_fixations_outside_are_counted(folder: Path) -> None:
    (folder / "some.csv").write_text("image\tx\ty\n0.png\t3\t4\n0.png\t-1\t4\n1.png\t80\t4\n", encoding="utf-8")
    callback = FixationsCsv(csv=str(folder / "some.csv"), sigma_px=4, viewer=None)
    assert [(image.path.name, len(image.x), image.outside) for image in callback.images] == [("0.png", 1, 1)]
