"""The discriminators of StyleGAN2 and GCFSR, which have the same layers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import Tensor

from sdakd_plugin.families.family import Family
from sdakd_plugin.families.identity import Identity
from sdakd_plugin.families.shapes import Shapes, conv, count, linear
from sdakd_plugin.families.stylegan2 import conv_layer, width_options


def recognise(shapes: Shapes) -> tuple[Identity, Shapes]:
    """StyleGAN2's discriminator, or GCFSR's, which lacks the channel of the minibatch standard deviation.

    ``channel_multiplier`` has no effect below 64 pixels. ``stddev_group`` does not affect the shapes and keeps its
    default.
    """
    num_block = count(shapes, r'conv_body\.\d+\.conv1\.0\.weight')
    widths = [shapes['conv_body.0.0.weight'][0]]
    widths += [shapes[f'conv_body.{index}.conv2.1.weight'][0] for index in range(1, num_block + 1)]
    last = widths[-1]
    extra = shapes['final_conv.0.weight'][1] - last
    types = {1: 'StyleGAN2Discriminator'} | ({0: 'GCFSRDiscriminator'} if num_block > 2 else {})  # from 32 pixels on
    network: dict[str, Any] = {'type': types[extra], 'out_size': 4 * 2**num_block}
    network |= width_options(dict(zip(range(num_block + 2, 1, -1), widths, strict=True)))
    expected = conv_layer('conv_body.0', widths[0], 3, 1) | conv_layer('final_conv', last, last + extra)
    for index, (before, width) in enumerate(pairwise(widths), 1):
        name = f'conv_body.{index}'
        expected |= conv_layer(f'{name}.conv1', before, before) | conv_layer(f'{name}.conv2', width, before, down=True)
        expected |= conv(f'{name}.skip.1', width, before, 1, bias=False)
    expected |= linear('final_linear.0', last, last * 16) | linear('final_linear.1', 1, last)
    return Identity('discriminator', network), expected


def blocks(net: Any) -> list[str]:
    """The residual blocks, one per resolution."""
    return [f'conv_body.{index}' for index in range(1, len(net.conv_body))]


def signed(images: Tensor) -> Tensor:
    """Convert images from 0..1 to -1..1, the range of GCFSR's discriminator."""
    return images * 2 - 1


STYLEGAN2 = Family(names=('StyleGAN2Discriminator',), recognise=recognise, blocks=blocks)
GCFSR = Family(names=('GCFSRDiscriminator',), blocks=blocks, as_input=signed)  # STYLEGAN2 recognises it
