# SPDX-License-Identifier: Apache-2.0
"""A rank that the first one has started: ``python -m clip_align.training.child_rank <pid of the parent>``.

It finds its place in the environment and its configuration on standard input. Its output, of which the last line is its
reason where it fails, is kept by its parent, with which it ends.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from clip_align.processes.parent import end_with_parent

    end_with_parent(int(sys.argv[1]))
    from clip_align.training.run import run_child  # torch

    sys.exit(run_child())
