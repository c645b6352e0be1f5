"""The precision and memory format of networks in training; neither affects checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.spectral_norm import SpectralNorm

from sdakd_plugin.errors import UserError

Call = Callable[..., Tensor]


class ForwardPass:
    """Calls networks in a precision and memory format; outputs are float32.

    Args:
        device: the device of the networks.
        dtype: 'bfloat16' or 'float16' for torch's autocast; ``None`` for float32.
        channels_last: whether images and weights use the memory format channels_last, which makes convolutions
            faster.
    """

    def __init__(self, device: torch.device, dtype: str | None = None, channels_last: bool = False) -> None:
        self.device, self.channels_last = device, channels_last
        self.dtype: torch.dtype | None = getattr(torch, dtype) if dtype else None

    def __call__(self, call: Call, net: nn.Module, images: Tensor, *more: Any) -> Tensor:
        """``call(net, images, *more)``, such as ``super_resolve`` or ``score``."""
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        if self.dtype is None:
            return call(net, images, *more)
        with torch.autocast(self.device.type, self.dtype):
            return call(net, images, *more).float()

    def prepare(self, net: nn.Module) -> nn.Module:
        """Prepare a network; must be called before the network is wrapped.

        Raises:
            UserError: the network does not support channels_last.
        """
        if self.channels_last:
            if any(parameter.dim() > 4 for parameter in net.parameters()):
                raise UserError(
                    f'train.channels_last: the modulated convolutions of {type(net).__name__} do not '
                    'support it; leave it out'
                )
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for module in net.modules() if self.dtype else ():
            for hook in module._forward_pre_hooks.values():
                if isinstance(hook, SpectralNorm):  # autocast would affect its matrix products
                    hook.__class__ = Float32SpectralNorm
        return net


class Float32SpectralNorm(SpectralNorm):
    """torch's spectral norm without autocast."""

    def __call__(self, module: nn.Module, inputs: Any) -> None:
        with torch.autocast(module.weight_orig.device.type, enabled=False):  # type: ignore[union-attr, arg-type]
            super().__call__(module, inputs)
