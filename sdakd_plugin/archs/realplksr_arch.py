"""RealPLKSR, PLKSR (Lee et al., 2024) for real images by muslll, in spandrel's implementation."""

from __future__ import annotations

from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn


@ARCH_REGISTRY.register()
def RealPLKSR(
    dim: int = 64,
    n_blocks: int = 28,
    upscaling_factor: int = 4,
    kernel_size: int = 17,
    split_ratio: float = 0.25,
    use_ea: bool = True,
    dropout: float = 0,
    dysample: bool = False,
    layer_norm: bool = False,
) -> nn.Module:
    """Build a RealPLKSR for RGB images.

    Args:
        dim: width, a multiple of 4 unless ``layer_norm``.
        n_blocks: number of blocks.
        upscaling_factor: the scale.
        kernel_size: of the large kernels, odd.
        split_ratio: the part of the channels that the large kernels read.
        use_ea: whether the blocks have attention.
        dropout: probability that training drops a feature map before the last convolution.
        dysample: upsample by DySample instead of pixel shuffle.
        layer_norm: normalise each pixel instead of groups of channels of the whole image (4 groups; a file does not
            hold their number, and spandrel assumes 4).
    """
    from spandrel.architectures.PLKSR import RealPLKSR as Network  # imported here, because it takes seconds

    return Network(
        dim=dim,
        n_blocks=n_blocks,
        upscaling_factor=upscaling_factor,
        kernel_size=kernel_size,
        split_ratio=split_ratio,
        use_ea=use_ea,
        dropout=dropout,
        dysample=dysample,
        layer_norm=layer_norm,
    )
