# SPDX-License-Identifier: Apache-2.0
"""A rank that another process of this program has started: ``python -m clip_align.training.rank <pid of the parent>``.

It finds its place and its job in the environment, prints nothing but its last words, and ends with its parent.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from clip_align.training.launch import only_while_parent_lives

    with only_while_parent_lives(int(sys.argv[1])):
        from clip_align.training.run import run_child

        code = run_child()
    sys.exit(code)
