"""How networks are called. Everywhere else images are (n, c, h, w), range 0..1; a generator turns ``lq`` into ``sr``,
and a discriminator scores images. Some families want more than that, which their files say.

Teacher, student, moving average, validation, testing and export all call through here.
"""

from __future__ import annotations

from torch import Tensor, nn

from sdakd_plugin.families.family import unwrap
from sdakd_plugin.families.registry import family_of


def super_resolve(net: nn.Module, lq: Tensor, lq_scale: Tensor | None = None) -> Tensor:
    """Call a generator, in a distributed wrapper or bare.

    GCFSR's noise is drawn anew while it trains; in evaluation mode it is the stored one, so that results repeat.

    Args:
        net: the generator.
        lq: (n, c, h, w), range 0..1. For GCFSR square, of any size up to ``out_size``; smaller ones are enlarged as in
            training, but for the rounding to 8 bits.
        lq_scale: (n,), for GCFSR how many times smaller each image was before it was enlarged to ``lq``; without it,
            ``out_size`` over the size of ``lq``. The blind network needs none.

    Returns:
        The image (n, c, H, W), range 0..1 but not clamped.

    Raises:
        UserError: an image that GCFSR cannot take.
    """
    return family_of(net).call(net, lq, lq_scale)


def score(net_d: nn.Module, images: Tensor) -> Tensor:
    """Call a discriminator, in a distributed wrapper or bare, on images (n, c, H, W) of range 0..1."""
    return net_d(as_input(net_d, images))


def as_input(net_d: nn.Module, images: Tensor) -> Tensor:
    """Images of range 0..1 in the range that a discriminator was made for."""
    return family_of(net_d).as_input(images)


def largest_scale(net: nn.Module) -> int | None:
    """The largest scale of a network that takes several, as GCFSR does; ``None`` for a network of one scale."""
    return family_of(net).largest_scale(unwrap(net))


class ImageToImage(nn.Module):
    """A generator for tools that can only call ``net(lq)``; its state dict is not the generator's."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, lq: Tensor) -> Tensor:
        return super_resolve(self.net, lq)
