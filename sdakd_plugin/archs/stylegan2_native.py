"""BasicSR's StyleGAN2 layers in pure PyTorch.

BasicSR's ``fused_leaky_relu`` calls a compiled CUDA extension on every device, and its ``upfirdn2d`` does so on every
device but the CPU. Without the extension both raise a ``NameError``. ``to_native`` replaces the layers that call them.
The keys of the state dict do not change, and the replacements support CPU, GPU, meta device and double backward.
"""

from __future__ import annotations

from math import sqrt
from typing import TypeVar

import torch
from basicsr.archs.stylegan2_arch import EqualLinear, ScaledLeakyReLU, UpFirDnSmooth, UpFirDnUpsample
from basicsr.ops.fused_act import FusedLeakyReLU
from torch import Tensor, nn
from torch.nn import functional as F

Network = TypeVar('Network', bound=nn.Module)


class BiasedLeakyReLU(nn.Module):
    """``leaky_relu(x + bias, 0.2) * sqrt(2)`` of ``(b, c, ...)`` with a bias per channel; keeps the shape.

    Args:
        bias: the parameter ``(c,)`` of the ``FusedLeakyReLU`` that this layer replaces.
    """

    def __init__(self, bias: nn.Parameter) -> None:
        super().__init__()
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.bias.view(-1, *[1] * (x.dim() - 2)), 0.2) * sqrt(2)


class FirFilter(nn.Module):
    """A FIR filter on every channel, after zero-insertion upsampling: ``(b, c, h, w)`` to ``(b, c, h', w')``.

    The result equals that of BasicSR's ``upfirdn2d_native``; this depthwise convolution takes at most about a fifth of
    its time on a CPU (``docs/gcfsr_networks.md``).

    Args:
        kernel: ``(k, k)``; not part of the state dict, as in BasicSR, but moves to a device with the network.
        up: upsampling factor; the inserted pixels are zero.
        pad: number of zeros before and after both axes of the upsampled image.
    """

    kernel: Tensor

    def __init__(self, kernel: Tensor, up: int, pad: tuple[int, int]) -> None:
        super().__init__()
        self.up, self.pad = up, pad
        self.register_buffer('kernel', kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        channels, length = x.shape[1], len(self.kernel)
        kernel = self.kernel.to(x).expand(channels, 1, length, length)
        if self.up == 1:  # torch's convolution is a correlation, so flip the kernel
            return F.conv2d(F.pad(x, self.pad * 2), kernel.flip(2, 3), groups=channels)
        out = F.conv_transpose2d(x, kernel, stride=self.up, groups=channels)
        return F.pad(out, (self.pad[0] + 1 - length, self.pad[1] + self.up - length) * 2)  # negative padding crops

    def extra_repr(self) -> str:
        return f'up={self.up}, pad={self.pad}'


class ActivatedLinear(EqualLinear):
    """BasicSR's ``EqualLinear(activation='fused_lrelu')``: ``(b, in_channels)`` to ``(b, out_channels)``."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels)
        self.act = ScaledLeakyReLU(0.2)

    @classmethod
    def of(cls, layer: EqualLinear) -> ActivatedLinear:
        """Create the layer with the parameters of BasicSR's layer; draws no random numbers."""
        with torch.device('meta'):
            native = cls(layer.in_channels, layer.out_channels)
        native.weight, native.bias = layer.weight, layer.bias
        native.scale, native.lr_mul = layer.scale, layer.lr_mul
        return native

    def forward(self, x: Tensor) -> Tensor:
        return self.act(super().forward(x))


def to_native(network: Network) -> Network:
    """Replace every layer of ``network`` that needs BasicSR's extension, in place, and return the network."""
    for name, layer in network.named_children():
        if isinstance(layer, FusedLeakyReLU):
            setattr(network, name, BiasedLeakyReLU(layer.bias))
        elif isinstance(layer, UpFirDnSmooth):
            setattr(network, name, FirFilter(layer.kernel, 1, layer.pad))
        elif isinstance(layer, UpFirDnUpsample):
            setattr(network, name, FirFilter(layer.kernel, layer.factor, layer.pad))
        elif isinstance(layer, EqualLinear) and layer.activation == 'fused_lrelu':
            setattr(network, name, ActivatedLinear.of(layer))
        else:
            to_native(layer)
    return network
