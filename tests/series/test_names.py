# SPDX-License-Identifier: Apache-2.0
"""What names of checkpoints say; numbers as published with the checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest

from clip_align.errors import UserError
from clip_align.series.find import default_name, natural
from clip_align.series.names import Scale, architecture_in, epoch_in, of_tag, place_of, scale_of, step_in
from clip_align.series.subject import Member, Place, in_order

LAION = "full_checkpoints/Model-B-32_Data-80M_Samples-34B_lr-1e-3_bs-88k/epoch_{}.pt"
COMPARISON = (
    "mammut_ViT-S-32_s1.28M_datacomp_1b_globalbs4096_lr0.001_b1_0.9_b2_0.95_sched_const_warmup100_gpus4/epoch_{}.pt"
)


@pytest.mark.parametrize(
    ("name", "step", "epoch"),
    [
        ("a/epoch_12.pt", None, 12),
        ("a/epoch=3-step=4500.ckpt", 4500, 3),
        ("a/step-000000260.ckpt", 260, None),
        ("a/step_40.pt", 40, None),
        ("checkpoint-500/model.safetensors", 500, None),
        ("a/laion400m_e32.pt", None, 32),
        ("a/epoch_latest.pt", None, None),
        ("a/model.safetensors", None, None),
    ],
)
def test_steps_and_epochs_in_names(name: str, step: int | None, epoch: int | None) -> None:
    assert (step_in(Path(name)), epoch_in(Path(name))) == (step, epoch)


def test_the_table_of_a_public_series_counts_its_epochs() -> None:
    path = Path(LAION.format(428))
    scale = scale_of(path, [])
    assert (scale.samples_per_epoch, scale.global_batch) == (80e6, 88064)
    # 908 steps an epoch, and 34.24 B samples in all, as the table of the series has them
    assert place_of(path, {"epoch": 428}, scale) == Place(428 * 908, 34_240_000_000, 428)
    assert architecture_in(path) == "ViT-B-32"


def test_a_folder_name_with_samples_and_batch() -> None:
    paths = [Path(COMPARISON.format(k)) for k in (1, 10)]
    scale = scale_of(paths[0], paths)
    assert scale.samples_per_epoch == 128_000
    assert place_of(paths[0], {}, scale) == Place(31, 128_000, 1)
    assert architecture_in(paths[0]) == "ViT-S-32"


def test_arguments_of_open_clip_train(tmp_path: Path) -> None:
    (tmp_path / "params.txt").write_text(
        "accum_freq: 2\nbatch_size: 16\ndataset_type: webdataset\nmodel: RN50\ntrain_num_samples: 330\nworkers: 2\n"
        "world_size: 2\n"
    )
    path = tmp_path / "checkpoints" / "epoch_3.pt"
    # 330 samples are 11 batches of 32, and 12 with two workers: 6 optimizer steps of 64 samples
    assert place_of(path, {"epoch": 3}, scale_of(path, [])) == Place(18, 3 * 12 * 32, 3)
    assert architecture_in(path) == "RN50"


def test_keys_in_the_file_come_first() -> None:
    found = place_of(Path("a/epoch_3.pt"), {"global_step": 70, "samples_seen": 4480, "epoch": 4}, Scale(100.0, 10.0))
    assert found == Place(70, 4480, 4)
    assert place_of(Path("a/epoch_3.pt"), {"global_step": 70}, Scale(), batch=64.0) == Place(70, 4480, 3)
    assert place_of(Path("a/model.pt"), {}, Scale()) is None
    with pytest.raises(UserError) as raised:
        place_of(Path("a/epoch_3.pt"), {"epoch": 3}, Scale())
    assert raised.value.lines == (
        "samples_per_epoch: a/epoch_3.pt: how many samples an epoch or a step has is not known; type "
        "samples_per_epoch=… or global_batch=… (samples of one optimizer step over all ranks)",
    )


def test_lightning_numbers_the_epoch_under_way() -> None:
    inside = {"pytorch-lightning_version": "2.5", "global_step": 70, "epoch": 0}
    path = Path("a/epoch=0-step=70.ckpt")
    assert place_of(path, inside, Scale(), batch=64.0) == Place(70, 4480, 0)
    with pytest.raises(UserError) as raised:
        place_of(path, inside, Scale(), samples=4480.0)
    assert raised.value.lines == (
        f"global_batch: {path}: Lightning numbers epochs from 0; type global_batch=… (samples of one optimizer step)",
    )


def test_pretrained_tags() -> None:
    assert of_tag("laion2b_s34b_b79k") == Place(round(34e9 / 79e3), 34_000_000_000, 0)
    assert of_tag("datacomp_s_s13m_b4k") == Place(3250, 13_000_000, 0)
    assert of_tag("laion400m_e32") == Place(0, 0, 32)
    assert of_tag("openai") == Place(0, 0, 0)


def test_order_is_that_of_numbers() -> None:
    paths = [Path(f"epoch_{n}.pt") for n in (10, 2, 1)]
    assert [p.name for p in sorted(paths, key=natural)] == ["epoch_1.pt", "epoch_2.pt", "epoch_10.pt"]
    members = [
        Member(Place(step), f"{folder}{step}", Path(folder) / f"{step}") for folder, step in (("a", 4), ("a", 2))
    ]
    assert [m.place.step for m in in_order(members)] == [2, 4]
    with pytest.raises(UserError, match="b2: step 2 as a2; a record holds one series"):
        in_order([*members, Member(Place(2), "b2", Path("b") / "2")])
    assert default_name("timm-vit tiny/x") == "timm-vit-tiny/x-evaluated"
