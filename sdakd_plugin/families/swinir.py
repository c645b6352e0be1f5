"""SwinIR, a transformer that works in windows, so that its input must be a multiple of them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import pad

from sdakd_plugin.families.family import Family


def call(net: nn.Module, lq: Tensor, lq_scale: Tensor | None) -> Tensor:
    """Call it on an image of any size: it is reflected at the lower and right edge, up to a multiple of the window, and
    the result is cropped, as BasicSR's ``SwinIRModel`` does.

    Args:
        net: the generator, in a distributed wrapper or bare; one without BasicSR's windows is called as it is.
        lq: (n, c, h, w), range 0..1, larger than half a window.
        lq_scale: without effect.
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
