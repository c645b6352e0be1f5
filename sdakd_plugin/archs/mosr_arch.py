"""MoSR, a generator of gated convolutions by umzi2, in spandrel's implementation."""

from __future__ import annotations

from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn


@ARCH_REGISTRY.register()
def MoSR(
    upscale: int = 4,
    n_block: int = 24,
    dim: int = 64,
    upsampler: str = 'ps',
    drop_path: float = 0.0,
    kernel_size: int = 7,
    expansion_ratio: float = 1.5,
    conv_ratio: float = 1.0,
) -> nn.Module:
    """Build a MoSR for RGB images.

    Args:
        upscale: the scale.
        n_block: number of blocks.
        dim: width.
        upsampler: ``'ps'`` (pixel shuffle), ``'gps'`` (pixel shuffle of the mean of eight convolutions) or ``'dys'``
            (DySample).
        drop_path: probability that training skips the last block; it grows linearly from 0 at the first.
        kernel_size: of the depthwise convolutions, odd.
        expansion_ratio: channels inside a block, as a multiple of ``dim``.
        conv_ratio: channels that the depthwise convolutions read, as a multiple of ``dim``.
    """
    from spandrel.architectures.MoSR import MoSR as Network  # imported here, because it takes seconds

    return Network(
        upscale=upscale,
        n_block=n_block,
        dim=dim,
        upsampler=upsampler,
        drop_path=drop_path,
        kernel_size=kernel_size,
        expansion_ratio=expansion_ratio,
        conv_ratio=conv_ratio,
    )
