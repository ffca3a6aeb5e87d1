# SPDX-License-Identifier: Apache-2.0
"""Train a CLIP from scratch and watch its agreement with human vision evolve; ``python -m clip_align train``.

python train.py                                            # a tiny CLIP on the embedded world, minutes on 2 cores
python train.py model=vit_b_32 data=webdataset data.shards='/data/cc3m/{00000..00331}.tar' trainer.samples=1e8
torchrun --nproc_per_node 8 train.py model=vit_b_32 …      # one rank per GPU
python train.py --multirun seed=0,1,2 name=seeds           # three runs: runs/seeds/0, 1 and 2
python train.py resume=<run>                               # continue where a run was stopped
python train.py dry_run=true …                             # what is found and missing, and what it will cost
python train.py --help                                     # groups, options, common keys
"""

from __future__ import annotations

import sys

from clip_align.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
