"""DySample (Liu et al., ICCV 2023), the learned upsampling of some generators."""

from __future__ import annotations

from typing import Any

from sdakd_plugin.families.shapes import Shapes, conv


def dysample(name: str, num_in: int, num_out: int, scale: int, groups: int) -> Shapes:
    """The tensors of a DySample layer of spandrel."""
    offsets = 2 * groups * scale**2
    shapes = conv(f'{name}.offset', offsets, num_in, kernel=1) | conv(f'{name}.scope', offsets, num_in, 1, bias=False)
    shapes[f'{name}.init_pos'] = (1, offsets, 1, 1)
    return shapes | (conv(f'{name}.end_conv', num_out, num_in, kernel=1) if scale > 1 else {})


def size_hint(net: Any) -> str | None:
    """The message for exporters, since the layer computes its grid in Python; ``None`` for a network without one."""
    if any(type(module).__name__ == 'DySample' for module in net.modules()):
        return 'a network with DySample exports for one size of image; add --size N'
    return None
