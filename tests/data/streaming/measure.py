# SPDX-License-Identifier: Apache-2.0
"""What streaming costs at scale: ``python -m tests.data.streaming.measure <folder> <shards> <samples a shard>``.

Makes a store of shards with real headers and small bodies, all of them links to a few files, and measures in a fresh
process the time to the first batch, the memory of the process and of the one that fetches, and the change of an epoch.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

DIFFERENT = 8  # files that the shards are links to


def made_store(folder: Path, shards: int, samples: int) -> Path:
    """A folder of ``shards`` tars with ``samples`` samples each, and a sizes.json."""
    from PIL import Image

    store = folder / f"store-{shards}-{samples}"
    if (store / "sizes.json").exists():
        return store
    store.mkdir(parents=True)
    image = io.BytesIO()
    Image.new("RGB", (16, 16), (90, 120, 30)).save(image, "JPEG")
    for number in range(min(DIFFERENT, shards)):
        with tarfile.open(store / f"base{number}", "w") as tar:
            for sample in range(samples):
                key = f"{number:05d}{sample:04d}"
                members = (("jpg", image.getvalue()), ("json", b'{"key": "%d"}' % sample), ("txt", b"a thing"))
                for extension, data in members:
                    info = tarfile.TarInfo(f"{key}.{extension}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    for number in range(shards):
        os.link(store / f"base{number % DIFFERENT}", store / f"{number:05d}.tar")
    (store / "sizes.json").write_text(json.dumps({f"{number:05d}.tar": samples for number in range(shards)}))
    return store


def resident(process: int) -> float:
    """Resident memory of a process in MB."""
    with open(f"/proc/{process}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) / 1e3 for line in status if line.startswith("VmRSS"))


def cpu_of(process: int) -> float:
    """CPU seconds that a process has used."""
    with open(f"/proc/{process}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # user and system


def measure(store: Path, cache: Path, samples: int, batch_size: int, batches: int) -> dict[str, Any]:
    """Figures of one rank, in this process."""
    import torch

    from clip_align.config import Source
    from clip_align.data.sources.streaming import StreamingData
    from clip_align.data.streaming.training_set import StreamedSet
    from clip_align.data.training_data import TrainingData

    def tokenizer(texts: list[str]) -> torch.Tensor:
        return torch.zeros(len(texts), 77, dtype=torch.int64)

    before, began = resident(os.getpid()), time.perf_counter()
    cpu_before = time.process_time()
    config = StreamingData(shards=(Source(f"{store}/*.tar"),), batch_size=batch_size)
    data = TrainingData(config, 16, tokenizer, 0, 0, 1, cache)
    lines = data.check()
    checked = time.perf_counter() - began
    stream = iter(data.loader())
    next(stream)
    first, first_cpu = time.perf_counter() - began, time.process_time() - cpu_before
    whole = data.set
    assert isinstance(whole, StreamedSet)
    assert whole.supply._process is not None
    fetcher_cpu = cpu_of(whole.supply._process.pid)
    for _ in range(batches):
        next(stream)
    figures = {
        "lines": lines,
        "check_s": checked,
        "first_batch_s": first,
        "first_batch_cpu_s": first_cpu,
        "fetcher_cpu_s": fetcher_cpu,
        "rss_before_mb": before,
        "rss_mb": resident(os.getpid()),
        "rss_fetcher_mb": resident(whole.supply._process.pid),
    }
    whole.supply.close()
    windows = -(-len(whole.urls) // whole.plan.window)
    last = len(whole.plan.shards(0, windows - 1)) * samples
    again = TrainingData(config, 16, tokenizer, 0, 0, 1, cache)
    # three batches before the end; the next epoch's first window is fetched meanwhile, as it would be during an epoch
    stream = iter(again.loader((0, windows - 1, last - 3 * batch_size, 0)))
    next(stream)
    assert isinstance(again.set, StreamedSet)
    again.set.supply.wait(again.set.plan.shards(1, 0).tolist())
    spans, epoch = list[float](), 0
    while epoch == 0:
        began = time.perf_counter()
        epoch = next(stream)["cursor"][0]
        spans.append(time.perf_counter() - began)
    began = time.perf_counter()
    next(stream)
    return {**figures, "epoch_change_s": time.perf_counter() - began, "batches_before_s": spans}


def main() -> None:
    """Make the store, measure, print."""
    folder, shards, samples = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    if len(sys.argv) > 4:
        print(json.dumps(measure(Path(sys.argv[4]), folder / "cache", samples, 256, 20), indent=1))
        return
    store = made_store(folder, shards, samples)
    shutil.rmtree(folder / "cache", ignore_errors=True)
    (folder / "cache").mkdir()
    command = [sys.executable, "-m", "tests.data.streaming.measure", *sys.argv[1:4], str(store)]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
