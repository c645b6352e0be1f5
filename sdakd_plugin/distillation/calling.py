"""How a network is called: the one place that knows more than "an image for an image".

Everywhere else images are (n, c, h, w), range 0..1; a generator turns ``lq`` into ``sr``, and a discriminator scores
images. A network of windows (SwinIR) takes sides that are multiples of its window. GCFSR's networks want more (He et
al., CVPR 2022): an input that is enlarged to the output's size, images of -1..1 and, but for the blind one, a
condition; and they return a pair. Teacher, student, moving average, validation, testing and export all call through
here.
"""
from __future__ import annotations

from basicsr.archs.swinir_arch import SwinIR, SwinTransformerBlock
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.parallel import DataParallel, DistributedDataParallel

from sdakd_plugin.archs.gcfsr_arch import GCFSR, GCFSRBlind, GCFSRDiscriminator
from sdakd_plugin.data.bicubic import resize
from sdakd_plugin.errors import UserError

SMALLEST_LQ = 16  # pixels, for which the condition is 1: a scale of 64 at 1024 pixels, of 32 at 512


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
    bare = unwrap(net)
    if isinstance(bare, SwinIR):
        return in_windows(net, lq)
    if not isinstance(bare, GCFSR):
        return net(lq)
    scale = scale_of(bare, lq)
    if scale > 1:
        lq = resize(lq, bare.out_size, bare.out_size).clamp(0, 1)
    x = lq * 2 - 1
    condition = None
    if not isinstance(bare, GCFSRBlind):
        scales = x.new_full((len(x),), scale) if lq_scale is None else lq_scale.to(x)
        condition = (scales * SMALLEST_LQ / bare.out_size).unsqueeze(1)
    image, _ = net(x, condition, randomize_noise=bare.training)
    return (image + 1) / 2


def in_windows(net: nn.Module, lq: Tensor) -> Tensor:
    """Call SwinIR, which works in windows, on an image of any size: it is reflected at the lower and right edge, up to
    a multiple of the window, and the result is cropped, as BasicSR's ``SwinIRModel`` does.

    Args:
        net: the generator, in a distributed wrapper or bare.
        lq: (n, c, h, w), range 0..1, larger than half a window.
    """
    window = next(part.window_size for part in net.modules() if isinstance(part, SwinTransformerBlock))
    height, width = lq.shape[-2:]
    below, right = -height % window, -width % window
    if not below and not right:
        return net(lq)
    image = net(pad(lq, (0, right, 0, below), 'reflect'))
    scale = image.shape[-1] // (width + right)
    return image[..., :height * scale, :width * scale]


def score(net_d: nn.Module, images: Tensor) -> Tensor:
    """Call a discriminator, in a distributed wrapper or bare, on images (n, c, H, W) of range 0..1."""
    return net_d(as_input(net_d, images))


def as_input(net_d: nn.Module, images: Tensor) -> Tensor:
    """Images of range 0..1 in the range that a discriminator was made for."""
    return images * 2 - 1 if isinstance(unwrap(net_d), GCFSRDiscriminator) else images


def scale_of(net: GCFSR, lq: Tensor) -> float:
    """The scale of an image for GCFSR: the output's size over the image's.

    Raises:
        UserError: the image is not square, or larger than the output.
    """
    height, width = lq.shape[-2:]
    if height != width or height > net.out_size:
        raise UserError(f'{type(net).__name__} makes square images of {net.out_size} pixels from square ones of at '
                        f'most {net.out_size}, but got {width}x{height}')
    return net.out_size / height


def largest_scale(net: nn.Module) -> int | None:
    """The scale for which GCFSR's condition is 1; ``None`` for a network of one scale."""
    bare = unwrap(net)
    return bare.out_size // SMALLEST_LQ if isinstance(bare, GCFSR) else None


def unwrap(net: nn.Module) -> nn.Module:
    """The network inside a distributed wrapper."""
    return net.module if isinstance(net, (DataParallel, DistributedDataParallel)) else net


class ImageToImage(nn.Module):
    """A generator for tools that can only call ``net(lq)``; its state dict is not the generator's."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, lq: Tensor) -> Tensor:
        return super_resolve(self.net, lq)
