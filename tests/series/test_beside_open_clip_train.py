# SPDX-License-Identifier: Apache-2.0
"""``watch=true`` beside a real training of open_clip_train, which writes its checkpoints as it goes."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

from series_runs import command, lines, numbers

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
# open_clip_train 3.3 takes the end of a shard, as webdataset 1.0 marks it, for a file
PROGRAM = """
import functools, sys
import open_clip
import open_clip_train.data as data
data.tar_file_expander = functools.partial(data.tar_file_expander, eof_value=None)
open_clip.add_model_config(sys.argv[1])
from open_clip_train.main import main
main(sys.argv[2:])
"""


def shards(folder: Path) -> None:
    folder.mkdir()
    random = np.random.default_rng(0)
    for shard in range(2):
        with tarfile.open(folder / f"s-{shard}.tar", "w") as tar:
            for n in range(16):
                image = io.BytesIO()
                Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(image, "PNG")
                for suffix, content in (("png", image.getvalue()), ("txt", f"noise number {n}".encode())):
                    about = tarfile.TarInfo(f"{shard}{n:03d}.{suffix}")
                    about.size = len(content)
                    tar.addfile(about, io.BytesIO(content))


@pytest.mark.slow
def test_watch_beside_a_real_training(tmp_path: Path, pairs: Path, places: list[str]) -> None:
    shards(tmp_path / "wds")
    (tmp_path / "tinyclip.json").write_text(json.dumps(TINY))
    (tmp_path / "program.py").write_text(PROGRAM)
    arguments = (
        f"--train-data {tmp_path}/wds/s-{{0..1}}.tar --train-num-samples 32 --dataset-type webdataset --batch-size 8 "
        f"--workers 1 --epochs 3 --model tinyclip --precision fp32 --device cpu --warmup 2 --logs {tmp_path}/logs "
        "--name exp --log-every-n-steps 1"
    )
    program = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "tinyclip.json"), *arguments.split()]
    out = (tmp_path / "train.out").open("wb")
    record = tmp_path / "record"

    def stop() -> None:
        limit = time.monotonic() + 600
        while time.monotonic() < limit:
            if (record / "metrics.jsonl").exists() and 12 in numbers(record):
                break
            # where open_clip_train fails nothing will come; a signal is noted once the record is there
            if training.poll() not in (None, 0) and (record / "metrics.jsonl").exists():
                break
            time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    with subprocess.Popen(program, stdout=out, stderr=subprocess.STDOUT, cwd=tmp_path) as training:
        threading.Thread(target=stop).start()
        one = ["callbacks=[pairs_csv]", f"callbacks.pairs_csv.csv={pairs}", "trainer=cpu", f"output={record}", *places]
        config = f"model_config={tmp_path / 'tinyclip.json'}"
        done = command("evaluate", str(tmp_path / "logs" / "exp" / "checkpoints"), "watch=true", config, *one)
        ended = training.wait(60)
    out.close()
    log = (tmp_path / "train.out").read_text()[-3000:]
    assert ended == 0, log
    assert done.returncode == 130, done.stdout + done.stderr + log
    # 32 samples in batches of 8 are 4 steps an epoch
    assert [(s, line["samples_seen"], line["epoch"]) for s, line in numbers(record).items()] == [
        (4, 32, 1), (8, 64, 2), (12, 96, 3),
    ]  # fmt: skip
    assert all(line["human/pairs_csv/srocc"] is not None for line in numbers(record).values())
    assert not [line for line in lines(record, "event") if line["event"] == "warning"]
