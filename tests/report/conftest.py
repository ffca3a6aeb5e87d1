# SPDX-License-Identifier: Apache-2.0
"""A browser that lays a page out and runs a script in it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Browse = Callable[..., Any]
FRAME = """<body style="margin:0"><iframe style="border:0;width:{width}px;height:20000px" src="inner.html"></iframe>
<pre id="out"></pre><script>onmessage = (e) => {{ document.querySelector("#out").textContent = e.data; }};</script>"""
INNER = """<script>onload = () => {{ const found = (() => {{ {script} }})();
parent.postMessage(JSON.stringify(found), "*"); }};</script>"""


@pytest.fixture
def browse(tmp_path: Path) -> Browse:
    """``browse(page text, script, width)``: what the script returns, in a frame of that width in CSS pixels."""
    if shutil.which("chromium") is None:
        pytest.skip("no browser to lay the page out")

    def run(text: str, script: str, width: int) -> Any:
        folder = tmp_path / "browser"
        folder.mkdir(exist_ok=True)
        (folder / "inner.html").write_text(text + INNER.format(script=script), encoding="utf-8")
        (folder / "outer.html").write_text(FRAME.format(width=width), encoding="utf-8")
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--window-size=1600,1000"]
        options = [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=5000", f"file://{folder}/outer.html"]
        done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=600, check=True)
        found = re.search('<pre id="out">(.*?)</pre>', done.stdout, re.DOTALL)
        assert found is not None
        assert found[1], "the page's script failed"
        return json.loads(html.unescape(found[1]))

    return run
