# SPDX-License-Identifier: Apache-2.0
"""Run as a process: ranks that run a script, forked after the slow imports, which they share.

``forked_ranks.py <world> <script> <argument>…`` prints exit code and output of each rank as JSON.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import clip_align.training.training_loop  # noqa: F401  # with torch and Lightning
from clip_align.testing.gloo_ranks import free_port
from clip_align.training.launch_ranks import environment_of


def main(world: int, script: str, arguments: list[str]) -> None:
    port, children = free_port(), []
    with ExitStack() as stack:
        outputs = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(world)]
        for rank, output in enumerate(outputs):
            if child := os.fork():
                children.append(child)
                continue
            os.dup2(output.fileno(), sys.stdout.fileno())
            os.environ.update(environment_of(rank, world, port))
            sys.path[0], sys.argv = str(Path(script).parent), [script, *arguments]
            runpy.run_path(script, run_name="__main__")
            return
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        for output in outputs:
            output.seek(0)
        print(json.dumps([(code, output.read().strip()) for code, output in zip(codes, outputs, strict=True)]))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
