"""SPAN (Wan et al., CVPRW 2024), in spandrel's implementation."""

from __future__ import annotations

from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from sdakd_plugin.errors import UserError


@ARCH_REGISTRY.register()
def SPAN(
    num_in_ch: int = 3, num_out_ch: int = 3, feature_channels: int = 48, upscale: int = 4, norm: bool = True
) -> nn.Module:
    """Build a SPAN that trains.

    Each 3x3 convolution is trained as the sum of a 1x1 convolution and of a chain 1x1, 3x3, 1x1 (``Conv3XC``). In
    evaluation mode the network folds them into its ``eval_conv``, which no gradient reaches: it is frozen here, since
    DistributedDataParallel waits for the gradients of all other parameters. Its state dict holds the folded
    convolutions of its current weights.

    Args:
        num_in_ch, num_out_ch: channels of the images, the same number.
        feature_channels: width.
        upscale: the scale.
        norm: whether the input is centred and multiplied by 255, with the constants of the published networks, which
            a file does not hold and spandrel therefore assumes.

    Raises:
        UserError: the numbers of channels differ, or ``norm`` for images that are not RGB.
    """
    from spandrel.architectures.SPAN import SPAN as Network  # imported here, because it takes seconds

    if num_out_ch != num_in_ch:
        raise UserError(f'num_out_ch is {num_out_ch}, but num_in_ch is {num_in_ch}; SPAN has as many of both')
    if norm and num_in_ch != 3:
        raise UserError(
            f'num_in_ch is {num_in_ch}, but norm: true has the means of 3 channels; use norm: false, which a weight '
            'file says by an entry no_norm of shape (1,): add it if the network was trained so'
        )
    net = Network(
        num_in_ch=num_in_ch, num_out_ch=num_out_ch, feature_channels=feature_channels, upscale=upscale, norm=norm
    )
    for name, parameter in net.named_parameters():
        parameter.requires_grad = '.eval_conv.' not in name
    net.register_state_dict_pre_hook(_fold)
    return net


def _fold(net: Any, *arguments: Any) -> None:
    for module in net.modules():
        if hasattr(module, 'eval_conv'):
            module.update_params()
