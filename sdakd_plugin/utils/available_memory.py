"""Whether an image fits into memory: where a CPU's memory ends, the system kills the process without a word."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

PROBE = 8  # pixels
ALIVE = 4  # tensors of the largest size that live at once, a convolution's workspace included; see docs/upscale.md


@torch.no_grad()
def bytes_per_pixel(net: nn.Module, channels: int = 3) -> float:
    """About what one pass needs for each pixel of an image (1, c, h, w): the largest feature, a few times."""
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
    """Bytes that the system can still give, ``None`` where it does not say (anything but Linux)."""
    try:
        found = re.search(r'^MemAvailable: *(\d+) kB', Path('/proc/meminfo').read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
