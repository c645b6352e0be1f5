"""SRGANGenerator, SRGAN's SRResNet with BatchNorm."""

from __future__ import annotations

from math import isqrt, prod
from typing import Any

from sdakd_plugin.families.family import Family
from sdakd_plugin.families.identity import Identity
from sdakd_plugin.families.shapes import Shapes, batch_norm, conv, count
from sdakd_plugin.families.wiring import Layer, Wiring, chain


def recognise(shapes: Shapes) -> tuple[Identity, Shapes]:
    """SRGANGenerator; without BatchNorm after the blocks, a final tanh is assumed.

    The only published generator without that BatchNorm has a final tanh.
    """
    num_feat, num_in_ch = shapes['conv_first.weight'][:2]
    num_out_ch = shapes['conv_last.weight'][0]
    num_block = count(shapes, r'body\.\d+\.conv1\.weight')
    ups = [
        shapes[f'upsample.{index}.conv.weight'][0] // num_feat
        for index in range(count(shapes, r'upsample\.\d+\.conv\.weight'))
    ]
    upscale, normed = isqrt(prod(ups)), 'fuse.running_mean' in shapes
    expected = (
        conv('conv_first', num_feat, num_in_ch, 9)
        | conv('conv_body', num_feat, num_feat)
        | conv('conv_last', num_out_ch, num_feat, 9)
        | {'act_first.weight': (1,)}
        | (batch_norm('fuse', num_feat) if normed else {'fuse.weight': (1,)})
    )
    for block in (f'body.{index}' for index in range(num_block)):
        expected |= {f'{block}.act.weight': (1,)}
        for part in '12':
            expected |= conv(f'{block}.conv{part}', num_feat, num_feat) | batch_norm(f'{block}.bn{part}', num_feat)
    for index, up in enumerate(ups):
        expected |= conv(f'upsample.{index}.conv', num_feat * up, num_feat) | {f'upsample.{index}.act.weight': (1,)}
    return Identity(
        'generator',
        {
            'type': 'SRGANGenerator',
            'num_in_ch': num_in_ch,
            'num_out_ch': num_out_ch,
            'num_feat': num_feat,
            'num_block': num_block,
            'upscale': upscale,
            **({} if normed else {'fusion': 'prelu', 'output': 'tanh'}),
        },
        upscale,
    ), expected


def wire(net: Any) -> Wiring:
    """Residual blocks of two convolutions with BatchNorm."""
    wiring = {'conv_first': Layer('trunk', ('lq',)), 'conv_body': Layer('trunk', ('trunk',)), 'fuse': Layer('trunk')}
    for block in (f'body.{index}' for index in range(len(net.body))):
        wiring[f'{block}.conv1'] = Layer(f'{block}.conv1', ('trunk',))
        wiring[f'{block}.bn1'] = Layer(f'{block}.conv1')
        wiring[f'{block}.conv2'] = Layer('trunk', (f'{block}.conv1',))
        wiring[f'{block}.bn2'] = Layer('trunk')
    return wiring | chain('trunk', *(f'upsample.{index}.conv' for index in range(len(net.upsample))), 'conv_last')


FAMILY = Family(names=('SRGANGenerator',), recognise=recognise, wire=wire)
