# SPDX-License-Identifier: Apache-2.0
"""A short run with all its checkpoints, made once: what tests of evaluations read."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from series_runs import TRAINING, command


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of small images with made-up opinions, as a user's csv."""
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("pairs")
    random = np.random.default_rng(0)
    rows = ["reference,distorted,opinion"]
    for reference in range(6):
        clean = random.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(clean).save(folder / f"{reference}.png")
        for level in (1, 2, 3):
            noisy = clean + random.normal(0, 12 * level, clean.shape)
            Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(folder / f"{reference}_{level}.png")
            rows.append(f"{reference}.png,{reference}_{level}.png,{5 - level + 0.1 * reference}")
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n")
    captions = [f"{path.name},an image of noise number {n}" for n, path in enumerate(sorted(folder.glob("*.png")))]
    (folder / "captions.csv").write_text("\n".join(["image,caption", *captions]) + "\n")
    return folder / "pairs.csv"


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Folders of runs and of the cache, as arguments; common to all tests here."""
    base = tmp_path_factory.mktemp("series")
    return [f"paths.runs={base / 'runs'}", f"paths.cache={base / 'cache'}"]


@pytest.fixture(scope="session")
def trained(places: list[str], pairs: Path) -> Path:
    """The folder of a run of 8 steps with checkpoints at 4 and 8, evaluated with an average and raw weights."""
    data = f"data.csv={pairs.with_name('captions.csv')}"
    done = command("train", *TRAINING, data, f"callbacks.pairs_csv.csv={pairs}", *places)
    assert done.returncode == 0, done.stdout + done.stderr
    return Path(places[0].partition("=")[2]) / "mine"
