"""PyTorch with the channels of a pixel side by side in memory (``torch.channels_last``), as its convolutions on a CPU
compute."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from sdakd_plugin.families.calling import super_resolve

# Measured, see docs/upscale.md. GCFSR's weights have five dimensions, for which PyTorch has no such format.
FASTER = ('RRDBNet', 'SRVGGNetCompact', 'MSRResNet', 'SRGANGenerator')


class ChannelsLast(nn.Module):
    """A copy of a generator whose weights are stored with their channels last, and which gives images the same order.

    Args:
        net: the generator, which stays as it is.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = deepcopy(net).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @staticmethod
    def is_faster(net: nn.Module) -> bool:
        """Whether the network is of a kind that it was measured to be faster for, on a CPU."""
        return type(net).__name__ in FASTER

    def forward(self, lq: Tensor) -> Tensor:
        return super_resolve(self.net, lq.contiguous(memory_format=torch.channels_last))
