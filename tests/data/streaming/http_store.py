# SPDX-License-Identifier: Apache-2.0
"""A store of files over HTTP on the loopback, with faults injected by name."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Faults:
    """How the store answers: ``kinds[name]`` is the fault of a file, for its first ``times`` requests.

    kinds: slow (nothing for 60 s), trickle (a byte each 50 ms), 500, 403, cut (half of it, then the connection closes),
    long (announces 10 bytes more than it sends), short (announces and sends half), loop (redirects to itself), moved
    (redirects to the same file, once).
    """

    kinds: dict[str, str] = field(default_factory=dict)
    times: int = 10**9
    requests: Counter[str] = field(default_factory=Counter)
    over: threading.Event = field(default_factory=threading.Event)


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle of an answer is what these tests are about."""


@contextmanager
def http_store(folder: Path) -> Iterator[tuple[str, Faults]]:
    """Serve the files of a folder; yields the address and the faults, none at first."""
    faults = Faults()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.send_error(405)

        def do_GET(self) -> None:
            name = self.path.lstrip("/").partition("?")[0]
            faults.requests[name] += 1
            path = folder / name
            kind = faults.kinds.get(name) if faults.requests[name] <= faults.times else None
            if not path.is_file():
                return self.send_error(404)
            if kind in ("500", "403"):
                return self.send_error(int(kind))
            if kind in ("loop", "moved"):
                self.send_response(302)
                self.send_header("Location", f"/{name}" + ("" if kind == "loop" else "?moved"))
                self.send_header("Content-Length", "0")
                return self.end_headers()
            self._send(path.read_bytes(), kind)

        def _send(self, data: bytes, kind: str | None) -> None:
            half = data[: len(data) // 2]
            self.send_response(200)
            announced = {"long": len(data) + 10, "short": len(half)}.get(kind or "", len(data))
            self.send_header("Content-Length", str(announced))
            self.end_headers()
            if kind == "slow":
                faults.over.wait(60)
            elif kind == "trickle":
                for byte in data:
                    if faults.over.wait(0.05):
                        break
                    self.wfile.write(bytes([byte]))
            else:
                self.wfile.write(half if kind in ("cut", "short") else data)
            self.close_connection = kind is not None

        def log_message(self, *_: object) -> None:
            pass

    server = _QuietServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", faults
    finally:
        faults.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
