# SPDX-License-Identifier: Apache-2.0
"""Each thing that may be wrong with one key is one line: what, where, what would be valid."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from clip_align.settings.parse_overrides import DASHES
from tests.settings.refusals import errors


@pytest.mark.parametrize(
    ("overrides", "lines"),
    [
        (["trainer.max_stepz=3"], ["trainer.max_stepz: unknown key; did you mean trainer.max_steps?"]),
        (["max_steps=3"], ["max_steps: unknown key; did you mean trainer.max_steps?"]),
        (["modle=tiny"], ["modle: unknown key; did you mean model?"]),
        *(
            (
                [f"{key}=1"],
                [
                    f"{key}: unknown key; a run's length is trainer.max_steps (optimizer steps) or trainer.samples "
                    "(epochs x samples of the data): one epoch of 20,000 images is trainer.samples=20000"
                ],
            )
            for key in ("epochs", "trainer.max_epochs")
        ),
        *(
            (
                [f"model={typed}"],
                [
                    f"model={typed}: no such option; did you mean {meant}? "
                    "valid: open_clip, rn101, rn50, tiny, vit_b_16, vit_b_32, vit_l_14"
                ],
            )
            for typed, meant in (
                ("ViT-B-32", "model=vit_b_32 or model.name=ViT-B-32"), ("RN50x4", "model=rn50 or model.name=RN50x4"),
            )
        ),
        (["+trainer.max_stepz=3"], ["trainer.max_stepz: unknown key; did you mean trainer.max_steps?"]),
        (
            ["model=vit_b_23"],
            [
                "model=vit_b_23: no such option; did you mean model=vit_b_32? "
                "valid: open_clip, rn101, rn50, tiny, vit_b_16, vit_b_32, vit_l_14"
            ],
        ),
        (["trainer.max_steps=soon"], ["trainer.max_steps: 'soon' is not a whole number or null"]),
        (["trainer.max_steps=3.5"], ["trainer.max_steps: 3.5 is not a whole number or null"]),
        (["trainer.max_steps=true"], ["trainer.max_steps: true is not a whole number or null"]),
        (["data.batch_size=null"], ["data.batch_size: null is not a whole number"]),
        (["data.flip=1"], ["data.flip: 1 is not true or false"]),
        (["trainer.max_steps=0"], ["trainer.max_steps: 0 is out of range; it must be at least 1"]),
        (["optimizer.lr=0"], ["optimizer.lr: 0.0 is out of range; it must be above 0.0"]),
        (["optimizer.lr=nan"], ["optimizer.lr: nan is not a finite number"]),
        (["optimizer.betas=[0.9]"], ["optimizer.betas: 1 value given, 2 needed: optimizer.betas=[…,…]"]),
        (["trainer.max_steps=1e400"], ["trainer.max_steps: inf is not a finite number or null"]),
        (
            ["callbacks.tid2013_remade.tiles=0"],
            ["callbacks.tid2013_remade.tiles: 0 is out of range; it must be at least 1"],
        ),
        (
            ["callbacks.world_noise.images=17"],
            [
                "callbacks.world_noise.images: 17 is out of range; "
                "it must be at least 16 and at most 512 and a multiple of 16"
            ],
        ),
        (
            ["callbacks.world_noise.sigmas=[0.1,1]"],
            [
                "callbacks.world_noise.sigmas: 1.0 is out of range; "
                "it must be above 0 and below 1 and a multiple of 0.01"
            ],
        ),
        (
            ["callbacks.world_noise.images=528"],
            [
                "callbacks.world_noise.images: 528 is out of range; "
                "it must be at least 16 and at most 512 and a multiple of 16"
            ],
        ),
        (["callbacks.world_noise.sigmas=[]"],
         ["callbacks.world_noise.sigmas: [] is empty; give at least one value"]),
        (["callbacks.world_noise.sigmas=[0.1,0.1]"],
         ["callbacks.world_noise.sigmas: 0.1 is there twice; give each value once"]),
        (
            ["+callbacks.world.name=My-World", "+callbacks.world.layers=[projection,last]"],
            [
                "callbacks.world.name: 'My-World' is not of the right form: lower-case letters, digits, underscores",
                "callbacks.world.layers[1]: 'last' is not a whole number or projection or all",
            ],
        ),
        (
            ["callbacks=[]", "+callbacks.Mine={_target_:clip_align.callbacks.zero_shot.world.World}"],
            ["callbacks.Mine: 'Mine' is not of the right form: lower-case letters, digits, underscores"],
        ),
        (
            ["callbacks=pairs_csv", "callbacks.pairs_csv.csv=/nope.csv", "callbacks.pairs_csv.root=/nope"],
            [
                "callbacks.pairs_csv.csv: no such file: '/nope.csv'; type callbacks.pairs_csv.csv=/path/of/the/file",
                "callbacks.pairs_csv.root: no such folder: '/nope'; type callbacks.pairs_csv.root=/path/of/the/folder",
            ],
        ),
        (
            ["paths.cache=", "paths.runs=", "paths.data="],
            [
                "paths.runs: empty; give a folder: paths.runs=runs",
                "paths.cache: empty; give a folder, or null for the user's cache folder",
                "paths.data: empty; give a folder: paths.data=data",
            ],
        ),
        (["data=webdataset", "data.shards="], ["data.shards: empty; type data.shards='/a/x-{000..003}.tar'"]),
        (["data=webdataset", "data.shards=[/a.tar,' ']"],
         ["data.shards: empty; type data.shards='/a/x-{000..003}.tar'"]),
        (
            ["callbacks.world.world=/nope"],
            ["callbacks.world.world: no test.npy in /nope; give the folder that holds it, or null"],
        ),
        (
            ["model.image_size=33"],
            ["model.image_size: 33; model=tiny takes multiples of 8: model.image_size=32"],
        ),
        (
            ["data.sensor_noise=0.04"],
            ["data.sensor_noise: 0.04 is out of range; it must be at least 0.0 and below 0.04"],
        ),
        (
            ["callbacks.world_noise.sigmas=[0.02,0.1]"],
            [
                "data.sensor_noise: 0.02 is not below 0.02, the smallest sigma that a callback "
                "tests; testing noise that was trained on is meaningless"
            ],
        ),
        (
            ["model.name=tiny"],
            ["model.name: tiny is not an open_clip architecture but the option model=tiny; type that"],
        ),
        (
            ["evaluation.weights=emma"],
            ["evaluation.weights[0]: 'emma' is not one of raw, ema; did you mean ema?"],
        ),
        (["evaluation.weights=[ema,ema]"], ["evaluation.weights: 'ema' is there twice; give each value once"]),
        (["evaluation.weights=[]"], ["evaluation.weights: [] is empty; give at least one value"]),
        (["evaluation.weights=3"], ["evaluation.weights: 3 is not a list: evaluation.weights=[…]"]),
        (["evaluation.horizon=0"], ["evaluation.horizon: 0.0 is out of range; it must be above 0.0 and at most 1.0"]),
        (["evaluation.horizon_steps=0"], ["evaluation.horizon_steps: 0 is out of range; it must be at least 1"]),
        (
            ["evaluation.per_octave=-1"],
            ["evaluation.per_octave: -1 is out of range; it must be at least 0 and at most 32"],
        ),
        (["data.workers=-1"], ["data.workers: -1 is out of range; it must be at least 0"]),
        (
            ["data.texture_reliability=1.5"],
            ["data.texture_reliability: 1.5 is out of range; it must be at least 0.0 and at most 1.0"],
        ),
        (
            ["trainer.precision=bf16"],
            [
                "trainer.precision: 'bf16' is not one of 32, bf16-mixed, 16-mixed; "
                "did you mean bf16-mixed?"
            ],
        ),
        (
            ["callbacks.world_noise.every_n_steps=0"],
            ["callbacks.world_noise.every_n_steps: 0 is out of range; it must be at least 1"],
        ),
        (
            ["callbacks.world_noise.every_n_stepz=5"],
            [
                "callbacks.world_noise.every_n_stepz: unknown key; "
                "did you mean callbacks.world_noise.every_n_steps?"
            ],
        ),
        (
            ["callbacks.wrld.every_n_steps=5"],
            ["callbacks.wrld.every_n_steps: no callback of this name; did you mean callbacks.world?"],
        ),
        (
            ["callbacks.world.view=native"],
            ["callbacks.world.view: taken by the class, but not in its yaml; add it by typing +callbacks.world.view=…"],
        ),
        (
            ["+callbacks.world.view=near"],
            ["callbacks.world.view: 'near' is not one of resize_crop, squash, native, tiles"],
        ),
        (
            ["+callbacks.mine={_target_:clip_align.callbacks.zero_shot.world.World,name:x}", "callbacks.mine.nam=y"],
            ["callbacks.mine.nam: unknown key; did you mean callbacks.mine.name?"],
        ),
        (["~callbacks.wrld"], ["callbacks.wrld: no callback of this name; did you mean callbacks.world?"]),
        (
            ["callbacks=[world,world_noise]", "~callbacks.foo"],
            ["callbacks.foo: no callback of this name; chosen are: world, world_noise"],
        ),
        (["resume="], ["resume: which run? type resume=<name>, or name=<name> resume=auto"]),
        (["callbacks.world_noise.rounding=up"], ["callbacks.world_noise.rounding: 'up' is not one of truncate, round"]),
        (
            ["trainer.max_steps=10", "trainer.samples=1000"],
            ["trainer: both max_steps=10 and samples=1000 are given; keep one and set the other to null"],
        ),
        (["trainer.max_steps=null"], ["trainer: neither max_steps nor samples is given; type one of them"]),
        (["trainer.samples=100"], ["trainer.samples: 100 are fewer than one global batch of 128"]),
        (
            ["trainer=cpu", "trainer.precision=16-mixed"],
            ["trainer.precision: 16-mixed needs a GPU; on the CPU take bf16-mixed or 32"],
        ),
        (
            ["trainer=fsdp", "trainer.devices=1"],
            [
                "trainer: fsdp divides a model over several ranks and there is one; give trainer.devices=2 or more, or "
                "take trainer=auto"
            ],
        ),
        (
            ["trainer=ddp", "trainer.reshard_after_forward=false"],
            [
                "trainer.reshard_after_forward: false with trainer.kind=ddp, which gathers nothing; type trainer=fsdp, "
                "or leave it true"
            ],
        ),
        (
            ["data.batch_size=300", "data.images=200"],
            ["data.batch_size: a global batch of 300 is larger than the data, 200 images; at most 200 here"],
        ),
        (
            ["trainer.accumulate=300", "data.batch_size=1", "data.images=200"],
            [
                "data.batch_size: a global batch of 300 is larger than the data, 200 images; start fewer ranks, or "
                "accumulate less"
            ],
        ),
        (
            ["data.shards=/a/x.tar"],
            ["data.shards: only with data=streaming or data=webdataset, and this is data=world; type one of them too"],
        ),
        (["data=webdataset"], ["data.shards: not given; this key has no default: data.shards=…"]),
        (
            ["data=webdataset", "data.shards='https://a/x.tar'"],
            ["data.shards: https://a/x.tar is not a local path; download the shards first"],
        ),
        (
            ["data=streaming", "data.shards=[pipe:cat,'ftp://me:word@a/x.tar']"],
            [
                "data.shards: pipe:cat: valid are local paths and http://, https://, s3://, gs://, hf://",
                "data.shards: ftp://a/x.tar: valid are local paths and http://, https://, s3://, gs://, hf://",
            ],
        ),
        (
            ["data=streaming", "data.shards=s3://a/x.tar", "data.resampled=true"],
            [
                "data.epoch_samples: not given, and data.resampled=true has epochs of a number of samples; "
                "type data.epoch_samples=…"
            ],
        ),
        (
            ["data=streaming", "data.shards=s3://a/x.tar", "data.epoch_samples=5"],
            ["data.epoch_samples: only with data.resampled=true; without it an epoch reads each shard once"],
        ),
        (
            ["data=streaming", "data.shards=s3://a/x.tar", "data.resampled=true", "data.epoch_samples=5"],
            ["data.epoch_samples: 5 samples are fewer than one global batch of 128; raise it"],
        ),
        (
            ["data=webdataset", "data.shards=[{shards:/a.tar,weigt:2}]"],
            ["data.shards[0].weigt: unknown key; did you mean data.shards[0].weight?"],
        ),
        (
            ["model=vit_b_32", "model.embed_dim=8"],
            ["model.embed_dim: only with model=tiny, and this is model=open_clip; type model=tiny too"],
        ),
        (
            ["model.name=ViT-B-33"],
            [
                "model.name: 'ViT-B-33' is not an open_clip architecture that needs no network; "
                "did you mean ViT-B-32?"
            ],
        ),
        (["resume=auto"], ["resume: auto needs to know which run: type name=… too"]),
        (
            ["checkpoint.best=srocc"],
            ["checkpoint.best: 'srocc' is not a key of the record; it looks like human/tid2013_remade/srocc"],
        ),
        (
            ["checkpoint.best=human/pairs_csv/srocc", "callbacks=[world,world_noise]"],
            [
                "checkpoint.best: no callback that is chosen writes human/pairs_csv/srocc; "
                "chosen are: world, world_noise; for no best: checkpoint.best=null"
            ],
        ),
        (["name=latest"], ["name: 'latest' is the link to the newest run; choose another name"]),
        (
            ["optimizer.lr=1e-3,2e-3"],
            [
                "optimizer.lr=1e-3,2e-3: several values; add --multirun to sweep, "
                "or write a list as [a,b]"
            ],
        ),
        (
            ["model.patch_dropout=0.5"],
            ["model.patch_dropout: only with model=open_clip, and this is model=tiny; type model=open_clip too"],
        ),
        (
            ["model=vit_b_32", "model.patch_dropout=1"],
            ["model.patch_dropout: 1.0 is out of range; it must be at least 0.0 and below 1.0"],
        ),
        (
            ["model=rn50", "model.patch_dropout=0.5", "trainer.activation_checkpointing=true"],
            [
                "model.patch_dropout: RN50's image tower has no tokens to leave out; take a vision transformer, or "
                "model.patch_dropout=0",
                "trainer.activation_checkpointing: true, but RN50's image tower has no blocks that it could run "
                "again; leave it false",
            ],
        ),
        (
            ["model.context_length=32"],
            ["model.context_length: only with model=open_clip, and this is model=tiny; type model=open_clip too"],
        ),
        (
            ["model=vit_b_32", "model.tokenizer=open_clip"],
            ["model.tokenizer: only with model=tiny, and this is model=open_clip; type model=tiny too"],
        ),
        (
            ["model.tokenizer=open_clip", "model.vocabulary=100"],
            [
                "model.vocabulary: 100 with model.tokenizer=open_clip, which has a vocabulary of its own; leave it out"
            ],
        ),
        (["model.tokenizer=bpe"], ["model.tokenizer: 'bpe' is not one of words, open_clip"]),
        (["trainer.tf32=on"], ["trainer.tf32: 'on' is not true or false or null"]),
        (
            ["trainer.activation_checkpointing=true"],
            [
                "trainer.activation_checkpointing: true, but tiny's image tower has no blocks that it could run "
                "again; leave it false"
            ],
        ),
        (["faster"], ["faster: not of the form key=value; groups are chosen the same way: model=tiny"]),
        (
            ["trainer..max_steps=3"],
            [
                "trainer..max_steps=3: 'trainer..max_steps' is not a key; "
                "keys are names with a dot between two, like trainer.max_steps"
            ],
        ),
        (["trainer.precision=8\n16\t"], [
            "trainer.precision: '8\\n16\\t' is not one of 32, bf16-mixed, 16-mixed"
        ]),
        (["--lr=3"], [f"--lr=3: {DASHES}; settings are typed as key=value"]),
    ],
)  # fmt: skip
def test_one_clear_line(overrides: Sequence[str], lines: list[str]) -> None:
    assert errors(*overrides) == lines
