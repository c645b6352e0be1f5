"""Downloads with a message and torch.hub's progress bar on standard error."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import torch

FAILURES = (OSError, RuntimeError, HTTPException)  # exceptions of a failed download
TIMEOUT = 30  # seconds without data


def download(url: str, target: Path, hash_prefix: str | None = None) -> None:
    """Download a file; its folder is created if necessary.

    Args:
        url: address of the file.
        target: path of the file, which is only created when the download is complete.
        hash_prefix: expected beginning of its SHA-256; by default not checked.

    Raises:
        OSError, HTTPException: the file cannot be downloaded or stored.
        RuntimeError: the hash is wrong.
    """
    print(f'Downloading {url} to {target.parent}', file=sys.stderr, flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _time_limit():
        torch.hub.download_url_to_file(url, str(target), hash_prefix)


@contextmanager
def _time_limit() -> Iterator[None]:
    """Set a timeout for silent servers: torch's download has none and would wait forever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
