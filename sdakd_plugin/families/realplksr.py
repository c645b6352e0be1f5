"""RealPLKSR, whose large kernels read a part of the channels only."""

from __future__ import annotations

from copy import deepcopy
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn

from sdakd_plugin.families.dysample import dysample, size_hint
from sdakd_plugin.families.family import Export, Family
from sdakd_plugin.families.identity import Identity
from sdakd_plugin.families.shapes import Shapes, conv, count


def recognise(shapes: Shapes) -> tuple[Identity, Shapes]:
    """RealPLKSR for RGB images."""
    dim = shapes['feats.0.weight'][0]
    n_blocks = count(shapes, r'feats\.\d+\.refine\.weight')
    num_large, _, kernel_size, _ = shapes['feats.1.lk.conv.weight']
    use_ea, layer_norm = 'feats.1.attn.f.0.weight' in shapes, 'feats.1.layer_norm.weight' in shapes
    last = f'feats.{n_blocks + 2}'  # after dropout
    scale = isqrt(shapes[f'{last}.weight'][0] // 3)
    expected = conv('feats.0', dim, 3) | conv(last, 3 * scale**2, dim)
    for block in (f'feats.{index + 1}' for index in range(n_blocks)):
        expected |= conv(f'{block}.channel_mixer.0', 2 * dim, dim) | conv(f'{block}.channel_mixer.2', dim, 2 * dim)
        expected |= conv(f'{block}.lk.conv', num_large, num_large, kernel_size) | conv(f'{block}.refine', dim, dim, 1)
        expected |= conv(f'{block}.attn.f.0', dim, dim) if use_ea else {}
        norm = f'{block}.layer_norm' if layer_norm else f'{block}.norm'
        expected |= {f'{norm}.weight': (dim,), f'{norm}.bias': (dim,)}
    upsampled = 'to_img.init_pos' in shapes
    if upsampled:
        expected |= dysample('to_img', 3 * scale**2, 3, scale, groups=3 if scale % 2 else 4)
    network = {
        'type': 'RealPLKSR',
        'dim': dim,
        'n_blocks': n_blocks,
        'upscaling_factor': scale,
        'kernel_size': kernel_size,
        'split_ratio': num_large / dim,
        'use_ea': use_ea,
        'dysample': upsampled,
        'layer_norm': layer_norm,
    }
    return Identity('generator', network, scale), expected


class PartialConv(nn.Module):
    """A convolution of the first channels, without working in place: (n, c, h, w) to the same shape."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, features: Tensor) -> Tensor:
        read = self.conv.in_channels
        return torch.cat([self.conv(features[:, :read]), features[:, read:]], 1)


def rewrite(net: Any) -> nn.Module:
    """Replace what works in place, and the repetition of the input's channels, which ncnn does not support, by a
    convolution that copies them."""
    net = deepcopy(net)
    for block in net.feats:
        if hasattr(block, 'lk'):
            block.lk = PartialConv(block.lk.conv)
    num_out, num_in = net.feats[-1].out_channels, net.feats[0].in_channels
    copies = nn.Conv2d(num_in, num_out, 1, bias=False)
    copies.weight.data = torch.eye(num_in).repeat_interleave(num_out // num_in, 0)[..., None, None]
    net.repeat_op = copies.to(net.feats[0].weight.dtype)
    return net


FAMILY = Family(
    names=('RealPLKSR',),
    recognise=recognise,
    blocks=lambda net: [f'feats.{index}' for index, block in enumerate(net.feats) if hasattr(block, 'lk')],
    export=Export(rewrite=rewrite, size_hint=size_hint),
)
