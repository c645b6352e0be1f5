"""SPAN, whose 3x3 convolutions are trained as several convolutions (``Conv3XC``) and folded into one to be used."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn

from sdakd_plugin.families.family import Family
from sdakd_plugin.families.identity import Identity
from sdakd_plugin.families.shapes import Shapes, conv
from sdakd_plugin.families.wiring import Layer, Wiring, chain

BLOCKS = tuple(f'block_{number}' for number in range(1, 7))
TRAINED = ('conv_1', *(f'{block}.c{number}_r' for block in BLOCKS for number in (1, 2, 3)), 'conv_2')
GAIN = 2  # channels inside the trained chain, as a multiple of those outside


def recognise(shapes: Shapes) -> tuple[Identity, Shapes]:
    """SPAN with equal input and output channels, as trained: with all parts of its convolutions."""
    width, num_in_ch = shapes['conv_1.sk.weight'][:2]
    upscale = isqrt(shapes['upsampler.0.weight'][0] // num_in_ch)
    norm = 'no_norm' not in shapes
    expected = conv('conv_cat', width, 4 * width, kernel=1) | conv('upsampler.0', num_in_ch * upscale**2, width)
    expected |= {} if norm else {'no_norm': (1,)}
    for name in TRAINED:
        expected |= trained_conv(name, width, num_in_ch if name == 'conv_1' else width)
    network = {
        'type': 'SPAN',
        'num_in_ch': num_in_ch,
        'num_out_ch': num_in_ch,
        'feature_channels': width,
        'upscale': upscale,
        'norm': norm,
    }
    return Identity('generator', network, upscale), expected


def trained_conv(name: str, num_out: int, num_in: int) -> Shapes:
    """The tensors of a ``Conv3XC``."""
    inside, outside = GAIN * num_in, GAIN * num_out
    return (
        conv(f'{name}.sk', num_out, num_in, kernel=1)
        | conv(f'{name}.conv.0', inside, num_in, kernel=1)
        | conv(f'{name}.conv.1', outside, inside)
        | conv(f'{name}.conv.2', num_out, outside, kernel=1)
        | conv(f'{name}.eval_conv', num_out, num_in)
    )


def wire(net: Any) -> Wiring:
    """Six blocks of three convolutions on a trunk, four features of which the last layers read at once."""
    wiring: Wiring = {}
    wiring |= wire_trained_conv('conv_1', 'trunk', 'lq')
    for block in BLOCKS:
        names = [f'{block}.c{number}_r' for number in (1, 2)]
        for name, before in zip([*names, f'{block}.c3_r'], ['trunk', *names], strict=True):
            wiring |= wire_trained_conv(name, name if name in names else 'trunk', before)
    wiring |= wire_trained_conv('conv_2', 'conv_2', 'trunk')
    wiring['conv_cat'] = Layer('conv_cat', ('trunk', 'conv_2', 'trunk', f'{BLOCKS[-1]}.c1_r'))
    return wiring | chain('conv_cat', 'upsampler.0')


def wire_trained_conv(name: str, writes: str, reads: str) -> Wiring:
    """The wiring of a ``Conv3XC``."""
    inner = [f'{name}.conv.{index}' for index in (0, 1)]
    return chain(reads, *inner) | {
        f'{name}.conv.2': Layer(writes, (inner[1],)),
        f'{name}.sk': Layer(writes, (reads,)),
        f'{name}.eval_conv': Layer(writes, (reads,)),
    }


def fold(net: Any) -> nn.Module:
    """A copy in which each ``Conv3XC`` is the one convolution that it computes in evaluation mode, and all layers are
    defined in the order in which they run."""
    folded = deepcopy(net)
    for name in TRAINED:
        trained = folded.get_submodule(name)
        if isinstance(trained, nn.Conv2d):  # already folded
            continue
        trained.update_params()
        holder, _, attribute = name.rpartition('.')
        setattr(folded.get_submodule(holder), attribute, trained.eval_conv)
    for name in ('conv_cat', 'upsampler'):  # these run after conv_2
        layer = folded.get_submodule(name)
        delattr(folded, name)
        folded.add_module(name, layer)
    return folded


def unfold(net: Any, folded: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a network in training for those of a folded one, of which it computes exactly the same.

    In each ``Conv3XC`` half of the chain copies its input, applies the folded convolution and copies the result. The
    other half keeps the initial weights of ``net``, except that nothing reads it yet: so gradients reach all of it. The
    1x1 convolution beside the chain begins at zero.

    Args:
        net: the network with its initial weights; not changed.
        folded: the tensors of ``fold(net)`` by name.
    """
    state = net.state_dict()
    for name in TRAINED:
        weight, bias = folded[f'{name}.weight'], folded[f'{name}.bias']
        num_out, num_in = weight.shape[:2]
        enter, inside, leave = (state[f'{name}.conv.{index}.weight'] for index in range(3))
        for tensor in (enter[:num_in], inside[:num_out], leave, state[f'{name}.sk.weight']):
            tensor.zero_()
        enter[:num_in, :, 0, 0] = torch.eye(num_in)
        inside[:num_out, :num_in] = weight
        leave[:, :num_out, 0, 0] = torch.eye(num_out)
        state[f'{name}.conv.0.bias'][:num_in] = 0
        state[f'{name}.conv.1.bias'][:num_out] = bias
        state[f'{name}.conv.2.bias'].zero_()
        state[f'{name}.sk.bias'].zero_()
        state[f'{name}.eval_conv.weight'], state[f'{name}.eval_conv.bias'] = weight, bias
    return state | {key: value for key, value in folded.items() if key in state}


# A block returns three tensors, so its last convolution stands for it.
FAMILY = Family(
    names=('SPAN',),
    recognise=recognise,
    wire=wire,
    blocks=lambda net: [f'{block}.c3_r' for block in BLOCKS],
    fold=fold,
    unfold=unfold,
)
