"""SwinIR, a transformer with windowed attention: the size of its input must be a multiple of the window."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import pad

from sdakd_plugin.families.family import Family


def call(net: nn.Module, lq: Tensor, lq_scale: Tensor | None) -> Tensor:
    """Call the network on an image of any size.

    The image is padded by reflection at the lower and right edge to a multiple of the window, and the result is
    cropped, as in BasicSR's ``SwinIRModel``.

    Args:
        net: the generator, with or without a distributed wrapper; one without BasicSR's windows is called directly.
        lq: (n, c, h, w), range 0..1, larger than half a window.
        lq_scale: ignored.
    """
    height, width = lq.shape[-2:]
    lower, right = padded(net, height, width)
    if (lower, right) == (height, width):
        return net(lq)
    image = net(pad(lq, (0, right - width, 0, lower - height), 'reflect'))
    scale = image.shape[-1] // right
    return image[..., : height * scale, : width * scale]


def padded(net: nn.Module, height: int, width: int) -> tuple[int, int]:
    """The smallest multiples of the window that hold an image."""
    window: Any = next((part.window_size for part in net.modules() if type(part).__name__ == 'SwinTransformerBlock'), 1)
    return -(-height // window) * window, -(-width // window) * window


FAMILY = Family(names=('SwinIR',), call=call, padded=padded)
