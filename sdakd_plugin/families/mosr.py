"""MoSR, a generator of gated convolutions."""

from __future__ import annotations

from copy import deepcopy
from math import isqrt
from typing import Any

from torch import nn

from sdakd_plugin.families.dysample import dysample, size_hint
from sdakd_plugin.families.family import Export, Family
from sdakd_plugin.families.identity import Identity
from sdakd_plugin.families.shapes import Shapes, conv, count

ENSEMBLE = 8  # convolutions whose mean GPS takes


def recognise(shapes: Shapes) -> tuple[Identity, Shapes]:
    """MoSR for RGB images."""
    dim = shapes['gblocks.0.weight'][0]
    n_block = count(shapes, r'gblocks\.\d+\.fc1\.weight')
    hidden = shapes['gblocks.1.fc1.weight'][0] // 2
    num_large, _, kernel_size, _ = shapes['gblocks.1.conv.weight']
    upsampler, scale, expected = recognise_upsampler(shapes, dim)
    expected |= conv('gblocks.0', dim, 3)
    expected |= (
        conv('shortcut.block.0', dim, 3) | conv('shortcut.block.2', dim, dim) | conv('shortcut.conv11', dim, 3, 1)
    )
    for block in (f'gblocks.{index + 1}' for index in range(n_block)):
        expected |= {f'{block}.norm.weight': (dim,), f'{block}.norm.bias': (dim,)}
        expected |= conv(f'{block}.fc1', 2 * hidden, dim) | conv(f'{block}.fc2', dim, hidden)
        expected |= conv(f'{block}.conv', num_large, 1, kernel_size)  # depthwise
    expected |= conv(f'gblocks.{n_block + 1}', 2 * dim, dim) | conv(f'gblocks.{n_block + 3}', dim, 2 * dim)
    expected |= conv(f'gblocks.{n_block + 5}', dim, dim, 1)
    network = {
        'type': 'MoSR',
        'upscale': scale,
        'n_block': n_block,
        'dim': dim,
        'upsampler': upsampler,
        'kernel_size': kernel_size,
        'expansion_ratio': hidden / dim,
        'conv_ratio': num_large / dim,
    }
    return Identity('generator', network, scale), expected


def recognise_upsampler(shapes: Shapes, dim: int) -> tuple[str, int, Shapes]:
    """The option ``upsampler``, the scale and the tensors of the last layer."""
    if 'upsampler.init_pos' in shapes:
        scale = isqrt(shapes['upsampler.init_pos'][1] // 8)
        return 'dys', scale, dysample('upsampler', dim, 3, scale, groups=4)
    if 'upsampler.in_to_k.weight' in shapes:
        scale = isqrt(shapes['upsampler.in_to_k.weight'][0] // (3 * ENSEMBLE))
        return 'gps', scale, conv('upsampler.in_to_k', 3 * ENSEMBLE * scale**2, dim)
    scale = isqrt(shapes['upsampler.0.weight'][0] // 3)
    return 'ps', scale, conv('upsampler.0', 3 * scale**2, dim)


def fold(net: Any) -> nn.Module:
    """A copy in which the mean of GPS' convolutions is one convolution; other networks are returned as they are."""
    if not hasattr(net.upsampler, 'in_to_k'):
        return net
    net = deepcopy(net)
    several, shuffle = net.upsampler.in_to_k, net.upsampler.ps
    one = nn.Conv2d(several.in_channels, several.out_channels // ENSEMBLE, several.kernel_size, padding='same')
    one.load_state_dict(
        {key: value.unflatten(0, (ENSEMBLE, -1)).mean(0) for key, value in several.state_dict().items()}
    )
    net.upsampler = nn.Sequential(one, shuffle)
    return net


FAMILY = Family(
    names=('MoSR',),
    recognise=recognise,
    blocks=lambda net: [f'gblocks.{index}' for index, block in enumerate(net.gblocks) if hasattr(block, 'fc1')],
    fold=fold,
    export=Export(size_hint=size_hint),
)
