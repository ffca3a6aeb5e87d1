# SPDX-License-Identifier: Apache-2.0
"""human/kadid10k_remade: opinions of conditions from the database's list alone, and observers with known scores."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import quality_trees
import yaml

from clip_align.callbacks.human.kadid10k_remade import KADID10kRemade
from clip_align.errors import UserError
from clip_align.evaluation.model_info import ModelInfo
from clip_align.evaluation.observers import observed
from clip_align.perception.kadid10k_baselines import table
from clip_align.perception.kadid10k_remade import NAMES
from clip_align.perception.observers import LEVEL_ALONE, SSIM, Measured
from clip_align.perception.quality_databases import kadid10k

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The list without any image."""
    return quality_trees.kadid10k(tmp_path_factory.mktemp("kadid") / "kadid10k", references=())


@pytest.fixture(scope="module")
def callback(folder: Path) -> KADID10kRemade:
    return KADID10kRemade(str(folder))


@pytest.fixture(scope="module")
def real(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database's own list."""
    with (shared_data / "opinion_scores" / "kadid10k.csv").open(newline="") as file:
        own = {(int(r["ref"]), int(r["type"]), int(r["level"])): float(r["dmos"]) for r in csv.DictReader(file)}
    return quality_trees.kadid10k(tmp_path_factory.mktemp("real") / "kadid10k", references=(), opinions=own)


def test_the_list_is_enough_and_its_absence_is_one_line(tmp_path: Path, folder: Path) -> None:
    assert [path.name for path in folder.iterdir()] == ["dmos.csv"]
    with pytest.raises(UserError) as error:
        KADID10kRemade(str(tmp_path / "none"))
    assert str(error.value) == (
        f"human/kadid10k_remade: no such folder: {tmp_path / 'none'}; expected below it: dmos.csv. KADID-10k (10,206 "
        "PNG files of 512 x 384 px) is at https://database.mmsp-kn.de/kadid-10k-database.html; unpack it there, or "
        "name its folder with callbacks.kadid10k_remade.root=…"
    )


def test_pairs_are_24_photographs_with_19_types_at_five_levels(callback: KADID10kRemade) -> None:
    stimuli = [stimulus.id for stimulus in callback.stimuli()]
    assert len(stimuli) == len(set(stimuli)) == 24 + 2280
    declared = callback.pairs()
    assert len(declared) == len(set(declared)) == 2280
    assert declared[0] == ("kadid10k_remade/I01", "kadid10k_remade/I01_01_1")
    assert {*stimuli} == {name for pair in declared for name in pair}
    callback.adapt(ModelInfo(image_size=32, layers=("projection",)))
    assert len(list(callback.stimuli())) == 24 * 5 + 2280
    callback.adapt(ModelInfo(image_size=224, layers=("projection",)))
    assert len(list(callback.stimuli())) == 24 + 2280


def test_an_image_is_made_as_its_name_says(callback: KADID10kRemade) -> None:
    made = {stimulus.id: stimulus for stimulus in callback.stimuli()}
    clean, darker = (made[f"kadid10k_remade/I05{name}"].load() for name in ("", "_17_5"))
    assert clean.shape == darker.shape == (384, 512, 3)
    assert darker.mean() < clean.mean() / 2


def test_opinions_are_the_means_over_the_databases_references(real: Path, shared_data: Path) -> None:
    found = kadid10k.condition_means(real, "human/kadid10k_remade")
    with (shared_data / "opinion_scores" / "kadid10k_conditions.csv").open(newline="") as file:
        expected = {(int(r["type"]), int(r["level"])): float(r["mean"]) for r in csv.DictReader(file)}
    assert found == pytest.approx(expected, abs=6e-6)
    human = KADID10kRemade(str(real)).table.opinion
    assert human == pytest.approx([expected[type, level] for _, type, level in NAMES], abs=6e-6)
    # mean shift and contrast: best in the middle of their levels
    for type in (18, 25):
        assert max(range(1, 6), key=lambda level: expected[type, level]) == 3


def test_a_perfect_observer_has_one_its_negation_minus_one_and_a_constant_one_none(callback: KADID10kRemade) -> None:
    human = callback.table.opinion
    names = ("srocc", "plcc", "krocc", "plcc_fitted", "within_level_srocc", "within_reference_srocc", "srocc_type_8")
    for sign in (1, -1):
        estimates = observed(callback, Measured(sign * human, similarity=True)).estimates
        assert [estimates[name].value for name in names] == pytest.approx([sign] * len(names))
        assert estimates["within_reference_srocc_reference_i07"].value == pytest.approx(sign)
        assert "content_srocc" not in estimates  # images of one condition have one opinion
    for estimate in observed(callback, Measured(np.ones(len(human)))).estimates.values():
        assert estimate.value is None
        assert estimate.reason


def test_reference_values_are_those_of_the_observers(real: Path) -> None:
    scores = {score.name: score for score in KADID10kRemade(str(real)).scores}
    headline, within = scores["srocc"], scores["within_level_srocc"]
    assert (headline.role, headline.has_verdict, within.role) == ("headline", True, "companion")
    assert headline.unit == "24 references (new images, these distortions), jackknife, t(23)"
    labels = ("level alone", "type alone", "PSNR (RGB)", "PSNR (luminance)", "SSIM")
    assert tuple(headline.baselines) == labels
    assert tuple(within.baselines) == labels[1:]
    callback = KADID10kRemade(str(real))
    level = observed(callback, LEVEL_ALONE).estimates["srocc"].value
    similar = observed(callback, Measured(table()["ssim"], similarity=True)).estimates
    assert headline.baselines["level alone"] == pytest.approx(level)
    assert headline.baselines["SSIM"] == pytest.approx(similar["srocc"].value)
    assert within.baselines["SSIM"] == pytest.approx(similar["within_level_srocc"].value)


def test_embedded_measures_are_those_of_the_images(callback: KADID10kRemade) -> None:
    stimuli = {stimulus.id: stimulus for stimulus in callback.stimuli()}
    for row in (7, 700, 1500, 2279):  # of four photographs and types
        reference, other = (stimuli[name].load() for name in callback.pairs()[row])
        # codecs may differ between versions of Pillow by some thousandths
        assert SSIM.measure(reference, other) == pytest.approx(table()["ssim"][row], abs=2e-3)


def test_yaml_gives_the_class_its_defaults() -> None:
    text = (ROOT / "conf/callbacks/kadid10k_remade.yaml").read_text()
    (arguments,) = yaml.safe_load(text).values()
    assert arguments.pop("_target_") == f"{KADID10kRemade.__module__}.{KADID10kRemade.__name__}"
    assert arguments == {
        "root": "${paths.data}/kadid10k",  # as the database itself
        "distance": "normalised_euclidean",
        "tiles": 4,
        "every_n_steps": "${evaluation.every_n_steps}",
    }
