"""MSRResNet, BasicSR's SRResNet without BatchNorm."""

from __future__ import annotations

from math import isqrt
from typing import Any

from sdakd_plugin.families.family import Family
from sdakd_plugin.families.identity import Identity
from sdakd_plugin.families.shapes import Shapes, conv, count
from sdakd_plugin.families.wiring import Layer, Wiring, chain


def recognise(shapes: Shapes) -> tuple[Identity, Shapes]:
    """MSRResNet, which upsamples x4 in two steps, x2 and x3 in one."""
    num_feat, num_in_ch = shapes['conv_first.weight'][:2]
    num_out_ch = shapes['conv_last.weight'][0]
    num_block = count(shapes, r'body\.\d+\.conv1\.weight')
    factor = isqrt(shapes['upconv1.weight'][0] // num_feat)
    upscale = 4 if 'upconv2.weight' in shapes else factor
    expected = (
        conv('conv_first', num_feat, num_in_ch)
        | conv('conv_hr', num_feat, num_feat)
        | conv('conv_last', num_out_ch, num_feat)
    )
    for block in range(num_block):
        expected |= conv(f'body.{block}.conv1', num_feat, num_feat) | conv(f'body.{block}.conv2', num_feat, num_feat)
    for name, up in {2: {'upconv1': 4}, 3: {'upconv1': 9}, 4: {'upconv1': 4, 'upconv2': 4}}[upscale].items():
        expected |= conv(name, num_feat * up, num_feat)
    return Identity(
        'generator',
        {
            'type': 'MSRResNet',
            'num_in_ch': num_in_ch,
            'num_out_ch': num_out_ch,
            'num_feat': num_feat,
            'num_block': num_block,
            'upscale': upscale,
        },
        upscale,
    ), expected


def wire(net: Any) -> Wiring:
    """Residual blocks of two convolutions."""
    wiring = {'conv_first': Layer('trunk', ('lq',))}
    for block in (f'body.{index}' for index in range(len(net.body))):
        wiring[f'{block}.conv1'] = Layer(f'{block}.conv1', ('trunk',))
        wiring[f'{block}.conv2'] = Layer('trunk', (f'{block}.conv1',))
    ups = [name for name in ('upconv1', 'upconv2') if hasattr(net, name)]
    return wiring | chain('trunk', *ups, 'conv_hr', 'conv_last')


FAMILY = Family(names=('MSRResNet',), recognise=recognise, wire=wire)
