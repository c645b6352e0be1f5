"""The discriminators of SRGAN, ESRGAN and Real-ESRGAN, which score images in 0..1."""

from __future__ import annotations

from math import isqrt
from typing import Any

from sdakd_plugin.families.family import Family
from sdakd_plugin.families.identity import Identity
from sdakd_plugin.families.shapes import Shapes, batch_norm, conv, linear, spectral_conv


def recognise_unet(shapes: Shapes) -> tuple[Identity, Shapes]:
    """Real-ESRGAN's discriminator."""
    num_feat, num_in_ch = shapes['conv0.weight'][:2]
    widths = [num_feat * factor for factor in (1, 2, 4, 8, 4, 2, 1, 1, 1)]
    expected = conv('conv0', num_feat, num_in_ch) | conv('conv9', 1, num_feat)
    for index in range(1, 9):
        expected |= spectral_conv(f'conv{index}', widths[index], widths[index - 1], 4 if index <= 3 else 3)
    return Identity(
        'discriminator', {'type': 'UNetDiscriminatorSN', 'num_in_ch': num_in_ch, 'num_feat': num_feat}
    ), expected


def recognise_vgg(shapes: Shapes) -> tuple[Identity, Shapes]:
    """ESRGAN's discriminator for crops of 128 or 256 pixels."""
    num_feat, num_in_ch = shapes['conv0_0.weight'][:2]
    input_size = 256 if 'conv5_0.weight' in shapes else 128
    widths = [num_feat * factor for factor in ((1, 2, 4, 8, 8, 8) if input_size == 256 else (1, 2, 4, 8, 8))]
    expected = linear('linear1', 100, widths[-1] * 16) | linear('linear2', 1, 100)
    for level, (before, width) in enumerate(zip([num_in_ch, *widths], widths, strict=False)):
        expected |= conv(f'conv{level}_0', width, before, bias=level == 0)
        expected |= conv(f'conv{level}_1', width, width, kernel=4, bias=False) | batch_norm(f'bn{level}_1', width)
        expected |= batch_norm(f'bn{level}_0', width) if level else {}
    return Identity(
        'discriminator',
        {'type': 'VGGStyleDiscriminator', 'num_in_ch': num_in_ch, 'num_feat': num_feat, 'input_size': input_size},
    ), expected


def recognise_srgan(shapes: Shapes) -> tuple[Identity, Shapes]:
    """SRGAN's discriminator; several crop sizes have the same tensors, and the multiple of 16 is chosen."""
    num_feat, num_in_ch = shapes['features.0.0.weight'][:2]
    widths = [num_feat * factor for factor in (1, 1, 2, 2, 4, 4, 8, 8)]
    flat = shapes['classifier.0.weight'][1]
    expected = linear('classifier.0', 16 * num_feat, flat) | linear('classifier.2', 1, 16 * num_feat)
    for index, (before, width) in enumerate(zip([num_in_ch, *widths], widths, strict=False)):
        expected |= conv(f'features.{index}.0', width, before, bias=index == 0)
        expected |= batch_norm(f'features.{index}.1', width) if index else {}
    return Identity(
        'discriminator',
        {
            'type': 'SRGANDiscriminator',
            'num_in_ch': num_in_ch,
            'num_feat': num_feat,
            'input_size': 16 * isqrt(flat // (8 * num_feat)),
        },
    ), expected


def unet_blocks(net: Any) -> list[str]:
    """Its convolutions, except the last one, which computes the scores."""
    return [f'conv{index}' for index in range(9)]


def srgan_blocks(net: Any) -> list[str]:
    """Its convolutions, each with the layers that follow it."""
    return [f'features.{index}' for index in range(len(net.features))]


UNET = Family(names=('UNetDiscriminatorSN',), recognise=recognise_unet, blocks=unet_blocks)
VGG = Family(names=('VGGStyleDiscriminator',), recognise=recognise_vgg)
SRGAN = Family(names=('SRGANDiscriminator',), recognise=recognise_srgan, blocks=srgan_blocks)
