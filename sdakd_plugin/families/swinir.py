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
    window: Any = next((part.window_size for part in net.modules() if type(part).__name__ == 'SwinTransformerBlock'), 1)
    height, width = lq.shape[-2:]
    below, right = -height % window, -width % window
    if not below and not right:
        return net(lq)
    image = net(pad(lq, (0, right, 0, below), 'reflect'))
    scale = image.shape[-1] // (width + right)
    return image[..., : height * scale, : width * scale]


FAMILY = Family(names=('SwinIR',), call=call)
