"""RRDBNet, the generator of ESRGAN and Real-ESRGAN.

spandrel recognises it too, but cannot replace this file: it assumes 32 growth channels for every RRDBNet, but students
have fewer; and it returns a model instead of BasicSR's option block.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from sdakd_plugin.families.family import Export, Family
from sdakd_plugin.families.identity import Identity
from sdakd_plugin.families.shapes import Shapes, conv, count
from sdakd_plugin.families.wiring import Layer, Wiring, chain

SPANDREL_GROWTH = 32  # spandrel 0.4.2 derives all other sizes from the weights


def recognise(shapes: Shapes) -> tuple[Identity, Shapes]:
    """RRDBNet, which pixel-unshuffles its input to 4 (scale 2) or 16 (scale 1) times the channels."""
    num_feat, first = shapes['conv_first.weight'][:2]
    num_out_ch = shapes['conv_last.weight'][0]
    num_grow_ch = shapes['body.0.rdb1.conv1.weight'][0]
    num_block = count(shapes, r'body\.\d+\.rdb1\.conv1\.weight')
    scale, unshuffled = {4.0: (2, 4), 16.0: (1, 16)}.get(first / num_out_ch, (4, 1))
    expected = conv('conv_first', num_feat, first) | conv('conv_last', num_out_ch, num_feat)
    for name in ('conv_body', 'conv_up1', 'conv_up2', 'conv_hr'):
        expected |= conv(name, num_feat, num_feat)
    for block in range(num_block):
        for dense in (1, 2, 3):
            for index in range(5):
                num_out = num_grow_ch if index < 4 else num_feat
                expected |= conv(f'body.{block}.rdb{dense}.conv{index + 1}', num_out, num_feat + index * num_grow_ch)
    return Identity(
        'generator',
        {
            'type': 'RRDBNet',
            'num_in_ch': first // unshuffled,
            'num_out_ch': num_out_ch,
            'scale': scale,
            'num_feat': num_feat,
            'num_block': num_block,
            'num_grow_ch': num_grow_ch,
        },
        scale,
    ), expected


def wire(net: Any) -> Wiring:
    """Dense blocks: each convolution reads the trunk and the outputs of the earlier convolutions of its block."""
    wiring = {'conv_first': Layer('trunk', ('lq',)), 'conv_body': Layer('trunk', ('trunk',))}
    for dense in (f'body.{block}.rdb{part}' for block in range(len(net.body)) for part in (1, 2, 3)):
        grown = [f'{dense}.conv{index}' for index in (1, 2, 3, 4)]
        wiring |= {conv: Layer(conv, ('trunk', *grown[:index])) for index, conv in enumerate(grown)}
        wiring[f'{dense}.conv5'] = Layer('trunk', ('trunk', *grown))
    return wiring | chain('trunk', 'conv_up1', 'conv_up2', 'conv_hr', 'conv_last')


def unshuffle(net: Any) -> int:
    """The factor by which the network pixel-unshuffles its input."""
    return {2: 2, 1: 4}.get(net.scale, 1)


def rewrite(net: Any) -> nn.Module | None:
    """Replace the pixel unshuffle of networks for x2 and x1 by PyTorch's layer.

    BasicSR implements it with tensors of five and more axes, which ncnn does not support.
    """
    if unshuffle(net) == 1:
        return None
    rest = copy(net)  # the same weights
    rest.scale = 4
    return nn.Sequential(nn.PixelUnshuffle(unshuffle(net)), rest)


def widen(state: Mapping[str, Tensor], network: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Pad the dense blocks to spandrel's 32 growth channels with zeros.

    The network computes the same, but the file grows, by up to a factor of 2.3 for a student with half the channels.

    Args:
        state: tensors of an RRDBNet by name.
        network: its option block; networks with a ``num_grow_ch`` of 32 or more are not changed.

    Returns:
        The tensors and the option block of the wider network.
    """
    grow, num_feat, growth = network['num_grow_ch'], network['num_feat'], SPANDREL_GROWTH
    if grow >= growth:
        return dict(state), dict(network)
    # a layer of a dense block reads num_feat channels, then the growth channels of each earlier layer
    reads = [*range(num_feat), *(num_feat + layer * growth + channel for layer in range(4) for channel in range(grow))]
    wide = {}
    for key, tensor in state.items():
        if '.rdb' not in key:
            wide[key] = tensor
            continue
        num_out = growth if '.conv5.' not in key else num_feat
        if key.endswith('.bias'):
            wide[key] = tensor.new_zeros(num_out)
            wide[key][: len(tensor)] = tensor
        else:
            before = (tensor.shape[1] - num_feat) // grow  # number of earlier layers that it reads
            wide[key] = tensor.new_zeros(num_out, num_feat + before * growth, *tensor.shape[2:])
            wide[key][: len(tensor), torch.tensor(reads[: tensor.shape[1]])] = tensor
    return wide, {**network, 'num_grow_ch': growth}


FAMILY = Family(
    names=('RRDBNet',),
    recognise=recognise,
    wire=wire,
    export=Export(rewrite=rewrite, multiple_of=unshuffle, for_spandrel=widen),
)
