# SPDX-License-Identifier: Apache-2.0
"""The rule for names that need no network."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

from clip_align import open_clip_names


def test_exactly_these_names_work_offline() -> None:
    offline = open_clip_names.offline_names()
    if importlib.metadata.version("open_clip_torch") == "3.3.0":
        assert len(offline) == 95  # counted by building all 144
    assert {"ViT-B-32", "ViT-B-16", "ViT-L-14", "RN50", "coca_ViT-B-32", "MobileCLIP-S1"} <= set(offline)
    assert not any("SigLIP" in name or "worldwide" in name for name in offline)


def test_messages_name_an_architecture_that_works() -> None:
    assert open_clip_names.problem("ViT-B-32") is None
    assert open_clip_names.problem("ViT-B-33") == (
        "'ViT-B-33' is not an open_clip architecture that needs no network; did you mean ViT-B-32?"
    )
    assert open_clip_names.problem("vit_b_32") is not None
    assert open_clip_names.problem("ViT-B-16-SigLIP") == (
        "'ViT-B-16-SigLIP' needs the network: open_clip downloads its tokenizer or text tower; "
        "95 names do not, e.g. ViT-B-16-quickgelu"
    )


def test_neither_open_clip_nor_torch_is_imported() -> None:
    code = (
        "import sys; from clip_align.open_clip_names import offline_names; offline_names(); "
        "sys.exit('open_clip' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=600).returncode == 0


@pytest.mark.slow
def test_the_rule_agrees_with_open_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name it allows has a tokenizer offline; every name it refuses has none, or no text tower."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import open_clip
    import torch

    listed = open_clip.list_models()
    assert set(open_clip_names.names()) == set(listed)
    works = []
    for name in listed:
        try:
            open_clip.get_tokenizer(name)
            with torch.device("meta"):
                open_clip.create_model(name, pretrained=None, load_weights=False, device="meta")
        except Exception:  # whatever a missing download raises
            continue
        works.append(name)
    assert sorted(works) == open_clip_names.offline_names()
