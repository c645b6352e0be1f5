"""Which channels of a generator belong together, for every family whose students can start from their teacher.

Channels that are added to one another, or that one layer writes and another reads, form a *group*: whoever keeps some
of a group must keep the same ones everywhere. A family is one function from a network to its ``Wiring``. A group is
named after the layer that writes it, but for ``'trunk'``, the residual stream to which many write.
"""
from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple


class Layer(NamedTuple):
    """The groups along the two channel axes of a layer's weight; those of ``reads`` are concatenated in this order. A
    layer without ``reads`` has a number for each channel, as BatchNorm."""

    writes: str
    reads: tuple[str, ...] = ()


Wiring = dict[str, Layer]  # by the layer's name; the tensors of other layers do not depend on the width


class Family(NamedTuple):
    """How to wire a network, and how many entries of its ``body``, if it has one, make a block."""

    wire: Callable[[Any], Wiring]
    step: int = 1


def chain(source: str, *layers: str) -> Wiring:
    """Layers in a row behind the group ``source``, each with a group of its own."""
    return {layer: Layer(layer, (before,)) for before, layer in pairwise((source, *layers))}


def rrdbnet(net: Any) -> Wiring:
    """Dense blocks: each convolution reads the trunk and all that its block has grown so far."""
    wiring = {'conv_first': Layer('trunk', ('lq',)), 'conv_body': Layer('trunk', ('trunk',))}
    for dense in (f'body.{block}.rdb{part}' for block in range(len(net.body)) for part in (1, 2, 3)):
        grown = [f'{dense}.conv{index}' for index in (1, 2, 3, 4)]
        wiring |= {conv: Layer(conv, ('trunk', *grown[:index])) for index, conv in enumerate(grown)}
        wiring[f'{dense}.conv5'] = Layer('trunk', ('trunk', *grown))
    return wiring | chain('trunk', 'conv_up1', 'conv_up2', 'conv_hr', 'conv_last')


def srvgg(net: Any) -> Wiring:
    """Convolutions in a row, an activation behind each but the last."""
    convs = [f'body.{index}' for index in range(0, len(net.body), 2)]
    slopes = {f'body.{2 * index + 1}': Layer(conv) for index, conv in enumerate(convs[:-1])}
    return chain('lq', *convs) | slopes


def msrresnet(net: Any) -> Wiring:
    """Residual blocks without BatchNorm."""
    wiring = {'conv_first': Layer('trunk', ('lq',))}
    for block in (f'body.{index}' for index in range(len(net.body))):
        wiring[f'{block}.conv1'] = Layer(f'{block}.conv1', ('trunk',))
        wiring[f'{block}.conv2'] = Layer('trunk', (f'{block}.conv1',))
    ups = [name for name in ('upconv1', 'upconv2') if hasattr(net, name)]
    return wiring | chain('trunk', *ups, 'conv_hr', 'conv_last')


def srgan_generator(net: Any) -> Wiring:
    """Residual blocks with BatchNorm."""
    wiring = {'conv_first': Layer('trunk', ('lq',)), 'conv_body': Layer('trunk', ('trunk',)), 'fuse': Layer('trunk')}
    for block in (f'body.{index}' for index in range(len(net.body))):
        wiring[f'{block}.conv1'] = Layer(f'{block}.conv1', ('trunk',))
        wiring[f'{block}.bn1'] = Layer(f'{block}.conv1')
        wiring[f'{block}.conv2'] = Layer('trunk', (f'{block}.conv1',))
        wiring[f'{block}.bn2'] = Layer('trunk')
    return wiring | chain('trunk', *(f'upsample.{index}.conv' for index in range(len(net.upsample))), 'conv_last')


def gcfsr(net: Any) -> Wiring:
    """An encoder and a decoder; at each resolution, what the encoder's features become is added to the decoder's."""
    levels = range(len(net.conv_body_down))
    encoder = ['conv_body_first', *(f'conv_body_down.{level}' for level in levels)]
    decoder = ['style_conv1', *(f'style_convs.{index}' for index in range(2 * len(levels)))]
    to_rgbs = ['to_rgb1', *(f'to_rgbs.{level}' for level in levels)]
    wiring = chain('final_down2', 'final_linear')
    for name, layer in (chain('lq', *encoder, 'final_conv')
                        | chain(encoder[-1], 'final_down1', 'final_down2')).items():
        wiring |= stylegan2_conv(net, name, layer)
    for before, name in pairwise(('final_conv', *decoder)):
        wiring |= modulated_conv(name, before) | {f'{name}.activate': Layer(name)}
    # the conditions count from high to low resolution, as the encoder; every other style convolution has one
    for index, (feature, name, to_rgb) in enumerate(zip(encoder, decoder[::-2], to_rgbs[::-1], strict=True)):
        wiring |= modulated_conv(to_rgb, name) | {f'condition_shift.{index}.0': Layer(name, (feature,))}
        wiring |= {f'condition_scale{part}.{index}': Layer(name, ('condition',)) for part in (1, 2)}
    return wiring


def stylegan2_conv(net: Any, name: str, layer: Layer) -> Wiring:
    """A ``ConvLayer``: a FIR filter where it goes down, the convolution, and the activation with the bias."""
    last = len(net.get_submodule(name)) - 1
    return {f'{name}.{last - 1}': layer, f'{name}.{last}': Layer(layer.writes)}


def modulated_conv(name: str, source: str) -> Wiring:
    """The ``ModulatedConv2d`` of a layer: a style weighs the channels that it reads."""
    conv = f'{name}.modulated_conv'
    return {conv: Layer(name, (source,)), f'{conv}.modulation': Layer(source, ('style',))}


FAMILIES: dict[str, Family] = {
    'RRDBNet': Family(rrdbnet), 'SRVGGNetCompact': Family(srvgg, step=2), 'MSRResNet': Family(msrresnet),
    'SRGANGenerator': Family(srgan_generator), 'GCFSR': Family(gcfsr), 'GCFSRBlind': Family(gcfsr)}
