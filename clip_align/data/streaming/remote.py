# SPDX-License-Identifier: Apache-2.0
"""Files in remote stores, through fsspec: listed, read whole, and downloaded with retries, time-outs and length checks.

A download is complete if as many bytes arrived as the store announced (Content-Length of HTTP, the size of an object);
HTTP without Content-Length ends where the server ends it, which the reader of the tar then has to judge. No command is
ever run: WebDataset's ``pipe:`` and its programs for other schemes are not supported.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

from clip_align.errors import Problem, UserError

PACKAGES = {"http": "aiohttp", "https": "aiohttp", "s3": "s3fs", "gs": "gcsfs", "hf": "huggingface_hub"}  # by scheme
CHUNK = 2**20  # bytes that are read at a time
BLOCK = 2**24  # bytes of one request to an object store
LEAST_RATE = 1024  # bytes a second, over a time-out: a server that sends less counts as hanging
MOST_WAIT_S = 30.0  # between two attempts
T = TypeVar("T")
_AHEAD = 4  # chunks in memory that are not written yet
_FINAL = frozenset(range(400, 500)) - {408, 429}  # HTTP states that another attempt will not change


@dataclass(frozen=True)
class Transfer:
    """timeout_s: without data, until an attempt is given up. retries: attempts after the first. wait_s: before the
    first of them; each further one waits twice as long.
    """

    timeout_s: float = 60.0
    retries: int = 5
    wait_s: float = 0.5


class TransferError(Exception):
    """A remote file could not be had; the message is one line with its name."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{shown(url)} {reason}")


class _FinalError(Exception):
    """Another attempt would not help."""


def scheme_of(path: str) -> str:
    """``https`` of ``https://…``, empty for a local path."""
    head, separator, _ = path.partition("://")
    return head.lower() if separator and head.replace("+", "").isalnum() else ""


def shown(url: str) -> str:
    """An address for messages: without user, password and query, which may be secrets."""
    if not scheme_of(url):
        return url
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def filesystem(url: str, timeout_s: float = Transfer.timeout_s) -> Any:
    """fsspec's file system for an address; UserError with what to install, or if the scheme is not supported.

    Args:
        url: of a file in it.
        timeout_s: without data, in seconds.
    """
    scheme = scheme_of(url)
    if scheme not in PACKAGES:
        valid = ", ".join(f"{name}://" for name in PACKAGES)
        raise UserError(Problem("data.shards", f"{shown(url)}: {scheme or 'this'} is not supported; valid: {valid}"))
    try:
        import fsspec

        return fsspec.filesystem(scheme, **_options(scheme, timeout_s))
    except ImportError:
        package = PACKAGES[scheme]
        what = f"{scheme}:// needs the package {package}, which is not installed; pip install {package}"
        raise UserError(Problem("data.shards", what)) from None


def _options(scheme: str, timeout_s: float) -> dict[str, Any]:
    if scheme in ("http", "https"):
        import aiohttp

        # longer than ours, and only so that abandoned connections are closed
        times = aiohttp.ClientTimeout(total=None, sock_connect=2 * timeout_s, sock_read=2 * timeout_s)
        # a compressed answer would have another length than the file
        return {"client_kwargs": {"timeout": times, "headers": {"Accept-Encoding": "identity"}}}
    if scheme == "s3":
        # attempts are made here; botocore's own would multiply them
        times_s3 = {"connect_timeout": timeout_s, "read_timeout": timeout_s, "retries": {"total_max_attempts": 1}}
        return {"config_kwargs": times_s3}
    return {}


def download(
    url: str,
    target: BinaryIO,
    transfer: Transfer,
    announced: Callable[[int | None], None] = lambda size: None,
    complete: Callable[[], str] = lambda: "",
) -> int:
    """Download a file; returns its number of bytes. TransferError once all attempts have failed.

    Args:
        url: of the file.
        target: receives it; emptied before each attempt. What it raises is not taken for an error of the store.
        transfer: attempts and times.
        announced: receives the file's size before its first byte is written, None if it is not known; its errors are
            raised as they are, like those of writing.
        complete: after the last byte, what is wrong with the file; empty if nothing is.
    """

    def attempt() -> int:
        with _own_errors():
            target.seek(0)
            target.truncate()
        with _chunks(url, transfer.timeout_s) as (size, chunks):
            with _own_errors():
                announced(size)
            received = 0
            for chunk in chunks:
                with _own_errors():
                    target.write(chunk)
                received += len(chunk)
        _check_length(received, size)
        with _own_errors():
            target.flush()
            problem = complete()
        if problem:
            raise OSError(problem)
        return received

    try:
        return _attempts(url, transfer, attempt)
    except _OwnError as error:
        raise error.error from None


def read_whole(url: str, transfer: Transfer, most_bytes: int) -> bytes | None:
    """The content of a small file; None if there is none. TransferError once all attempts have failed.

    Args:
        url: of the file.
        transfer: attempts and times.
        most_bytes: a larger file is an error.
    """

    def attempt() -> bytes | None:
        parts, received = list[bytes](), 0
        try:
            with _chunks(url, transfer.timeout_s) as (size, chunks):
                for chunk in chunks:
                    received += len(chunk)
                    if received > most_bytes:
                        raise _FinalError(f"has more than {most_bytes:,} bytes")
                    parts.append(chunk)
        except FileNotFoundError:
            return None
        _check_length(received, size)
        return b"".join(parts)

    return _attempts(url, transfer, attempt)


def listed(pattern: str, transfer: Transfer) -> list[str]:
    """Addresses that match a wildcard, in order; those of the ``*.tar`` in it if it ends with ``/``.

    Args:
        pattern: a wildcard, or a folder ending with ``/``; of a store that can list, which HTTP cannot.
        transfer: attempts and times.
    """
    scheme = scheme_of(pattern)

    def attempt() -> list[str]:
        files = filesystem(pattern, transfer.timeout_s)
        found = files.glob(f"{pattern}*.tar" if pattern.endswith("/") else pattern)
        return sorted(f"{scheme}://{path}" for path in found)

    return _attempts(pattern, transfer, attempt)


def _attempts(url: str, transfer: Transfer, attempt: Callable[[], T]) -> T:
    reason = ""
    for number in range(transfer.retries + 1):
        if number:
            time.sleep(min(MOST_WAIT_S, transfer.wait_s * 2 ** (number - 1)))
        try:
            return attempt()
        except (UserError, _OwnError):
            raise
        except _FinalError as error:
            raise TransferError(url, str(error)) from error
        except FileNotFoundError as error:
            raise TransferError(url, "does not exist") from error
        except Exception as error:  # of whatever kind: stores raise the errors of their own packages
            if isinstance(error, PermissionError) or getattr(error, "status", None) in _FINAL:
                raise TransferError(url, f"is refused: {_reason(error, url)}") from error
            reason = _reason(error, url)
    raise TransferError(url, f"cannot be fetched: {reason}; given up after {transfer.retries + 1} attempts")


class _OwnError(Exception):
    """An error that is not the store's."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@contextmanager
def _own_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _OwnError(error) from error


def _check_length(received: int, size: int | None) -> None:
    if size is not None and received != size:
        raise OSError(f"sent {received:,} bytes of {size:,}")


def _reason(error: Exception, url: str) -> str:
    if (status := getattr(error, "status", None)) is not None:  # its text holds the whole address
        return f"{type(error).__name__} (HTTP {status})" if status else type(error).__name__
    text = " ".join(str(error).replace(url, shown(url)).split())[:200]
    return text if type(error) is OSError else f"{type(error).__name__} {text}".strip()


@contextmanager
def _chunks(url: str, timeout_s: float) -> Iterator[tuple[int | None, Iterator[bytes]]]:
    """The file's size, None if unknown, and its bytes in parts; TimeoutError where too few arrive in a time-out.

    Reading is done in a thread, since no time-out reaches into every store's package; one that hangs is abandoned.
    """
    files = filesystem(url, timeout_s)  # not in the time-out: a package is imported once
    parts: queue.Queue[Any] = queue.Queue(_AHEAD)
    over = threading.Event()

    def put(part: object) -> None:
        while not over.is_set():
            try:
                return parts.put(part, timeout=0.2)
            except queue.Full:
                continue

    def read() -> None:
        try:
            with _opened(files, url) as (size, file):
                put(size)
                while not over.is_set():
                    chunk = file.read(CHUNK)
                    put(chunk)
                    if not chunk:
                        return
        except BaseException as error:  # raised where it is waited for
            put(error)

    def take() -> Any:
        try:
            part = parts.get(timeout=timeout_s)
        except queue.Empty:
            raise TimeoutError(f"no data for {timeout_s:g} s") from None
        if isinstance(part, BaseException):
            raise part
        return part

    def chunks() -> Iterator[bytes]:
        began, received = time.monotonic(), 0
        while chunk := take():
            yield chunk
            received += len(chunk)
            seconds = time.monotonic() - began
            if seconds > timeout_s:
                if received < LEAST_RATE * seconds:
                    raise TimeoutError(f"{received:,} bytes in {seconds:.0f} s")
                began, received = time.monotonic(), 0

    threading.Thread(target=read, daemon=True).start()
    try:
        yield take(), chunks()
    finally:
        over.set()


@contextmanager
def _opened(files: Any, url: str) -> Iterator[tuple[int | None, Any]]:
    if scheme_of(url) in ("http", "https"):
        # size: any, so that no request is made just for it; block_size=0: one request for the whole file
        with files.open(url, "rb", block_size=0, size=1) as file:
            length = file.r.headers.get("Content-Length", "")
            yield int(length) if length.isdigit() else None, file
    else:
        with files.open(url, "rb", block_size=BLOCK, cache_type="readahead") as file:
            yield file.size, file
