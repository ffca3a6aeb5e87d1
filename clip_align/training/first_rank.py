# SPDX-License-Identifier: Apache-2.0
"""The first rank of `separate_run`: ``python -m clip_align.training.first_rank <pid of the parent> <file>``.

Configuration and command come on standard input. It prints what a training prints but for its errors, which go into the
file, a line each, and ends with its parent.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

if __name__ == "__main__":
    from clip_align.errors import INTERRUPTED
    from clip_align.processes.parent import end_with_parent
    from clip_align.processes.stop_signals import unwind_on_signals

    unwind_on_signals()  # until the run sets its own handlers
    end_with_parent(int(sys.argv[1]))
    try:
        from clip_align.training.run import run_first  # torch

        given = json.load(sys.stdin)
        sys.exit(run_first(given["config"], given["argv"], Path(sys.argv[2])))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
