"""A uniform way to call generators and discriminators, whatever their family.

Images are (n, c, h, w), range 0..1; a generator turns ``lq`` into ``sr``, and a discriminator scores images. The files
of the families adapt networks that differ from that. Teacher, student, moving average, validation, testing and export
all call networks through this module.
"""

from __future__ import annotations

from torch import Tensor, nn

from sdakd_plugin.families.family import unwrap
from sdakd_plugin.families.registry import family_of


def super_resolve(net: nn.Module, lq: Tensor, lq_scale: Tensor | None = None) -> Tensor:
    """Call a generator.

    GCFSR draws new noise in training mode; in evaluation mode it uses the stored noise, for reproducible results.

    Args:
        net: the generator, with or without a distributed wrapper.
        lq: (n, c, h, w), range 0..1. For GCFSR square, of any size up to ``out_size``; smaller images are enlarged as
            in training, but not rounded to 8 bits.
        lq_scale: (n,), for GCFSR the scale of each image before it was enlarged to the size of ``lq``; by default
            ``out_size`` divided by the size of ``lq``. The blind network ignores it.

    Returns:
        The image (n, c, H, W), range 0..1 but not clamped.

    Raises:
        UserError: GCFSR does not support the size of the image.
    """
    return family_of(net).call(net, lq, lq_scale)


def score(net_d: nn.Module, images: Tensor) -> Tensor:
    """Call a discriminator, with or without a distributed wrapper, on images (n, c, H, W), range 0..1."""
    return net_d(as_input(net_d, images))


def as_input(net_d: nn.Module, images: Tensor) -> Tensor:
    """Convert images in 0..1 to the range that a discriminator expects."""
    return family_of(net_d).as_input(images)


def largest_scale(net: nn.Module) -> int | None:
    """The largest scale of a network that supports several, such as GCFSR; ``None`` for a network of one scale."""
    return family_of(net).largest_scale(unwrap(net))


def folded(net: nn.Module) -> nn.Module:
    """A network as it is used after training: layers that are several only in training are one. Not wrapped."""
    return family_of(net).fold(net)


def padded(net: nn.Module, height: int, width: int) -> tuple[int, int]:
    """The height and the width of an image inside a network, which may pad it at the lower and right edge."""
    return family_of(net).padded(unwrap(net), height, width)


class ImageToImage(nn.Module):
    """Wraps a generator for tools that call ``net(lq)``; its state dict has other keys than the generator's."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, lq: Tensor) -> Tensor:
        return super_resolve(self.net, lq)
