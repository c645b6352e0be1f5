"""Downloads that nothing hides: a line and torch.hub's bar on standard error, wherever they are needed."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import torch

FAILURES = (OSError, RuntimeError, HTTPException)  # what a download ends with that does not succeed
PATIENCE = 30  # seconds without a byte


def download(url: str, target: Path, hash_prefix: str | None = None) -> None:
    """Download a file into a folder that is made if needed.

    Args:
        url: its address.
        target: where it goes once it is there; nothing is left there otherwise.
        hash_prefix: how its SHA-256 begins; not checked where left out.

    Raises:
        OSError, HTTPException: it cannot be downloaded or stored.
        RuntimeError: its hash is another one.
    """
    print(f'Downloading {url} to {target.parent}', file=sys.stderr, flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _time_limit():
        torch.hub.download_url_to_file(url, str(target), hash_prefix)


@contextmanager
def _time_limit() -> Iterator[None]:
    """A silent server ends in an error: torch's download sets no time limit of its own, and would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
