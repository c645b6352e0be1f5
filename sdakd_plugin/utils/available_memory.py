"""Estimates whether an image fits into memory: without CPU memory, the system kills a process without a message."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

PROBE = 8  # pixels
ALIVE = 4  # tensors of the largest size that exist at once, with a convolution's workspace; see docs/upscale.md


@torch.no_grad()
def bytes_per_pixel(net: nn.Module, channels: int = 3) -> float:
    """Estimated memory of a forward pass per pixel of an image (1, c, h, w): ``ALIVE`` times the largest feature."""
    largest = 0

    def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
        nonlocal largest
        if isinstance(output, Tensor):
            largest = max(largest, output.numel() * output.element_size())

    handles = [module.register_forward_hook(note) for module in net.modules()]
    try:
        net(next(net.parameters()).new_zeros(1, channels, PROBE, PROBE))
    finally:
        for handle in handles:
            handle.remove()
    return ALIVE * largest / PROBE**2


def available() -> int | None:
    """The available memory in bytes; ``None`` if unknown (on systems other than Linux)."""
    try:
        found = re.search(r'^MemAvailable: *(\d+) kB', Path('/proc/meminfo').read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
