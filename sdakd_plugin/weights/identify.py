"""Which network a state dict belongs to, read off the names and shapes of its tensors.

A family is one function: it reads the hyper-parameters off a few shapes and lists every tensor that such a network
has. ``identify`` believes it only if that list is the state dict's, so an identity always rebuilds a network that
loads strictly. Options that leave no trace in the shapes keep their defaults: ``skip_connection``, ``stddev_group``
and, in an ``SRVGGNetCompact`` without PReLU, the choice between ReLU (assumed) and LeakyReLU.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, isqrt, prod
from typing import Any, Literal

from torch import Tensor

Shapes = dict[str, tuple[int, ...]]
Kind = Literal['generator', 'discriminator']

USUAL = {'num_in_ch': 3, 'num_out_ch': 3, 'scale': 4, 'upscale': 4, 'num_style_feat': 512}  # not worth showing


@dataclass(frozen=True)
class Identity:
    """A network's options as in a BasicSR option file, with the upscaling factor of a generator."""

    kind: Kind
    network: dict[str, Any]
    scale: int | None = None

    def __str__(self) -> str:
        shown = [f'{key}={value}' for key, value in self.network.items() if key != 'type' and USUAL.get(key) != value]
        return f"{self.network['type']}({', '.join(shown)})"


def identify(state: Mapping[str, Tensor]) -> Identity | None:
    """Tell the network of a state dict, or ``None`` if it is of no known family.

    Args:
        state: tensors by name; only their shapes are read.
    """
    shapes = {key: tuple(value.shape) for key, value in state.items() if not key.endswith('num_batches_tracked')}
    for family in FAMILIES:
        with suppress(KeyError, IndexError, ValueError, ArithmeticError):  # lacks what the family looks at
            identity, expected = family(shapes)
            if expected == shapes:
                return identity
    return None


def conv(name: str, num_out: int, num_in: int, kernel: int = 3, bias: bool = True) -> Shapes:
    """The tensors of a convolution."""
    weight: Shapes = {f'{name}.weight': (num_out, num_in, kernel, kernel)}
    return weight | ({f'{name}.bias': (num_out,)} if bias else {})


def linear(name: str, num_out: int, num_in: int) -> Shapes:
    """The tensors of a dense layer."""
    return {f'{name}.weight': (num_out, num_in), f'{name}.bias': (num_out,)}


def batch_norm(name: str, num_feat: int) -> Shapes:
    """The tensors of a BatchNorm layer, less the counter."""
    return {f'{name}.{part}': (num_feat,) for part in ('weight', 'bias', 'running_mean', 'running_var')}


def spectral_conv(name: str, num_out: int, num_in: int, kernel: int) -> Shapes:
    """The tensors of a convolution without bias under ``torch.nn.utils.spectral_norm``."""
    weight = (num_out, num_in, kernel, kernel)
    return {f'{name}.weight_orig': weight, f'{name}.weight_u': (num_out,), f'{name}.weight_v': (prod(weight[1:]),)}


def conv_layer(name: str, num_out: int, num_in: int, kernel: int = 3, down: bool = False) -> Shapes:
    """The tensors of StyleGAN2's ``ConvLayer`` with its activation; one that goes down begins with a FIR filter."""
    first = int(down)
    return conv(f'{name}.{first}', num_out, num_in, kernel, bias=False) | {f'{name}.{first + 1}.bias': (num_out,)}


def modulated_conv(name: str, num_out: int, num_in: int, kernel: int, style: int) -> Shapes:
    """The tensors of StyleGAN2's ``ModulatedConv2d``, its dense layer for a style code of length ``style`` included."""
    return {f'{name}.weight': (1, num_out, num_in, kernel, kernel)} | linear(f'{name}.modulation', num_in, style)


def style_conv(name: str, num_out: int, num_in: int, style: int) -> Shapes:
    """The tensors of StyleGAN2's ``StyleConv``: convolution, weight of the noise, activation."""
    return (modulated_conv(f'{name}.modulated_conv', num_out, num_in, 3, style)
            | {f'{name}.weight': (1,), f'{name}.activate.bias': (num_out,)})


def to_rgb(name: str, num_in: int, style: int) -> Shapes:
    """The tensors of StyleGAN2's ``ToRGB``."""
    return modulated_conv(f'{name}.modulated_conv', 3, num_in, 1, style) | {f'{name}.bias': (1, 3, 1, 1)}


def count(shapes: Shapes, pattern: str) -> int:
    """How many names match; gaps in a numbering show when the shapes are compared."""
    return sum(re.fullmatch(pattern, key) is not None for key in shapes)


def rrdbnet(shapes: Shapes) -> tuple[Identity, Shapes]:
    """Real-ESRGAN's generator, which unshuffles its input to 4 (scale 2) or 16 (scale 1) times the channels."""
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
    return Identity('generator', {
        'type': 'RRDBNet', 'num_in_ch': first // unshuffled, 'num_out_ch': num_out_ch, 'scale': scale,
        'num_feat': num_feat, 'num_block': num_block, 'num_grow_ch': num_grow_ch}, scale), expected


def srvgg(shapes: Shapes) -> tuple[Identity, Shapes]:
    """Real-ESRGAN's compact generator, which adds its input to its output: both have the same channels."""
    num_feat, num_in_ch = shapes['body.0.weight'][:2]
    act_type = 'prelu' if len(shapes.get('body.1.weight', ())) == 1 else 'relu'
    num_conv = sum(len(shape) == 4 for shape in shapes.values()) - 2
    last = 2 * num_conv + 2
    upscale = isqrt(shapes[f'body.{last}.weight'][0] // num_in_ch)
    expected = conv('body.0', num_feat, num_in_ch) | conv(f'body.{last}', num_in_ch * upscale**2, num_feat)
    for index in range(2, last, 2):
        expected |= conv(f'body.{index}', num_feat, num_feat)
    if act_type == 'prelu':
        expected |= {f'body.{index}.weight': (num_feat,) for index in range(1, last, 2)}
    return Identity('generator', {
        'type': 'SRVGGNetCompact', 'num_in_ch': num_in_ch, 'num_out_ch': num_in_ch, 'num_feat': num_feat,
        'num_conv': num_conv, 'upscale': upscale, 'act_type': act_type}, upscale), expected


def msrresnet(shapes: Shapes) -> tuple[Identity, Shapes]:
    """SRResNet without BatchNorm."""
    num_feat, num_in_ch = shapes['conv_first.weight'][:2]
    num_out_ch = shapes['conv_last.weight'][0]
    num_block = count(shapes, r'body\.\d+\.conv1\.weight')
    factor = isqrt(shapes['upconv1.weight'][0] // num_feat)
    upscale = 4 if 'upconv2.weight' in shapes else factor
    expected = (conv('conv_first', num_feat, num_in_ch) | conv('conv_hr', num_feat, num_feat)
                | conv('conv_last', num_out_ch, num_feat))
    for block in range(num_block):
        expected |= conv(f'body.{block}.conv1', num_feat, num_feat) | conv(f'body.{block}.conv2', num_feat, num_feat)
    for name, up in {2: {'upconv1': 4}, 3: {'upconv1': 9}, 4: {'upconv1': 4, 'upconv2': 4}}[upscale].items():
        expected |= conv(name, num_feat * up, num_feat)
    return Identity('generator', {
        'type': 'MSRResNet', 'num_in_ch': num_in_ch, 'num_out_ch': num_out_ch, 'num_feat': num_feat,
        'num_block': num_block, 'upscale': upscale}, upscale), expected


def srgan_generator(shapes: Shapes) -> tuple[Identity, Shapes]:
    """SRResNet with BatchNorm. Whoever leaves BatchNorm out behind the blocks is taken to end in tanh as well, like the
    one such generator that is published."""
    num_feat, num_in_ch = shapes['conv_first.weight'][:2]
    num_out_ch = shapes['conv_last.weight'][0]
    num_block = count(shapes, r'body\.\d+\.conv1\.weight')
    ups = [shapes[f'upsample.{index}.conv.weight'][0] // num_feat
           for index in range(count(shapes, r'upsample\.\d+\.conv\.weight'))]
    upscale, normed = isqrt(prod(ups)), 'fuse.running_mean' in shapes
    expected = (conv('conv_first', num_feat, num_in_ch, 9) | conv('conv_body', num_feat, num_feat)
                | conv('conv_last', num_out_ch, num_feat, 9) | {'act_first.weight': (1,)}
                | (batch_norm('fuse', num_feat) if normed else {'fuse.weight': (1,)}))
    for block in (f'body.{index}' for index in range(num_block)):
        expected |= {f'{block}.act.weight': (1,)}
        for part in '12':
            expected |= conv(f'{block}.conv{part}', num_feat, num_feat) | batch_norm(f'{block}.bn{part}', num_feat)
    for index, up in enumerate(ups):
        expected |= conv(f'upsample.{index}.conv', num_feat * up, num_feat) | {f'upsample.{index}.act.weight': (1,)}
    return Identity('generator', {
        'type': 'SRGANGenerator', 'num_in_ch': num_in_ch, 'num_out_ch': num_out_ch, 'num_feat': num_feat,
        'num_block': num_block, 'upscale': upscale, **({} if normed else {'fusion': 'prelu', 'output': 'tanh'})},
        upscale), expected


def srgan_discriminator(shapes: Shapes) -> tuple[Identity, Shapes]:
    """SRGAN's discriminator; of the crop sizes with the same tensors, the multiple of 16."""
    num_feat, num_in_ch = shapes['features.0.0.weight'][:2]
    widths = [num_feat * factor for factor in (1, 1, 2, 2, 4, 4, 8, 8)]
    flat = shapes['classifier.0.weight'][1]
    expected = linear('classifier.0', 16 * num_feat, flat) | linear('classifier.2', 1, 16 * num_feat)
    for index, (before, width) in enumerate(zip([num_in_ch, *widths], widths, strict=False)):
        expected |= conv(f'features.{index}.0', width, before, bias=index == 0)
        expected |= batch_norm(f'features.{index}.1', width) if index else {}
    return Identity('discriminator', {
        'type': 'SRGANDiscriminator', 'num_in_ch': num_in_ch, 'num_feat': num_feat,
        'input_size': 16 * isqrt(flat // (8 * num_feat))}), expected


def unet_discriminator(shapes: Shapes) -> tuple[Identity, Shapes]:
    """Real-ESRGAN's discriminator."""
    num_feat, num_in_ch = shapes['conv0.weight'][:2]
    widths = [num_feat * factor for factor in (1, 2, 4, 8, 4, 2, 1, 1, 1)]
    expected = conv('conv0', num_feat, num_in_ch) | conv('conv9', 1, num_feat)
    for index in range(1, 9):
        expected |= spectral_conv(f'conv{index}', widths[index], widths[index - 1], 4 if index <= 3 else 3)
    return Identity('discriminator', {
        'type': 'UNetDiscriminatorSN', 'num_in_ch': num_in_ch, 'num_feat': num_feat}), expected


def vgg_discriminator(shapes: Shapes) -> tuple[Identity, Shapes]:
    """ESRGAN's discriminator for crops of 128 or 256 pixels."""
    num_feat, num_in_ch = shapes['conv0_0.weight'][:2]
    input_size = 256 if 'conv5_0.weight' in shapes else 128
    widths = [num_feat * factor for factor in ((1, 2, 4, 8, 8, 8) if input_size == 256 else (1, 2, 4, 8, 8))]
    expected = linear('linear1', 100, widths[-1] * 16) | linear('linear2', 1, 100)
    for level, (before, width) in enumerate(zip([num_in_ch, *widths], widths, strict=False)):
        expected |= conv(f'conv{level}_0', width, before, bias=level == 0)
        expected |= conv(f'conv{level}_1', width, width, kernel=4, bias=False) | batch_norm(f'bn{level}_1', width)
        expected |= batch_norm(f'bn{level}_0', width) if level else {}
    return Identity('discriminator', {
        'type': 'VGGStyleDiscriminator', 'num_in_ch': num_in_ch, 'num_feat': num_feat,
        'input_size': input_size}), expected


def stylegan2_discriminator(shapes: Shapes) -> tuple[Identity, Shapes]:
    """StyleGAN2's discriminator, or GCFSR's, which lacks the channel of the minibatch standard deviation; below 64
    pixels no layer shows ``channel_multiplier``."""
    num_block = count(shapes, r'conv_body\.\d+\.conv1\.0\.weight')
    widths = [shapes['conv_body.0.0.weight'][0]]
    widths += [shapes[f'conv_body.{index}.conv2.1.weight'][0] for index in range(1, num_block + 1)]
    last = widths[-1]
    extra = shapes['final_conv.0.weight'][1] - last
    types = {1: 'StyleGAN2Discriminator'} | ({0: 'GCFSRDiscriminator'} if num_block > 2 else {})  # from 32 pixels on
    network: dict[str, Any] = {'type': types[extra], 'out_size': 4 * 2**num_block}
    network |= stylegan2_width(dict(zip(range(num_block + 2, 1, -1), widths, strict=True)))
    expected = conv_layer('conv_body.0', widths[0], 3, 1) | conv_layer('final_conv', last, last + extra)
    for index, (before, width) in enumerate(pairwise(widths), 1):
        name = f'conv_body.{index}'
        expected |= conv_layer(f'{name}.conv1', before, before) | conv_layer(f'{name}.conv2', width, before, down=True)
        expected |= conv(f'{name}.skip.1', width, before, 1, bias=False)
    expected |= linear('final_linear.0', last, last * 16) | linear('final_linear.1', 1, last)
    return Identity('discriminator', network), expected


def gcfsr(shapes: Shapes) -> tuple[Identity, Shapes]:
    """GCFSR's generators: the blind one makes its latent codes of all channels at 4x4, the other of half of them."""
    num_down = count(shapes, r'conv_body_down\.\d+\.1\.weight')
    widths = [shapes['conv_body_first.0.weight'][0], shapes['conv_body_down.0.1.weight'][0]]  # 32 pixels at least
    widths += [shapes[f'conv_body_down.{index}.1.weight'][0] for index in range(1, num_down)]
    last, flat = shapes['final_conv.0.weight'][0], shapes['final_down2.1.weight'][0]
    style = shapes['to_rgb1.modulated_conv.modulation.weight'][1]
    network: dict[str, Any] = {'type': {last: 'GCFSRBlind', last // 2: 'GCFSR'}[flat], 'out_size': 16 * 2**num_down,
                               'num_style_feat': style}
    network |= stylegan2_width({2: last} | dict(zip(range(num_down + 4, 3, -1), widths, strict=True)))
    expected = conv_layer('conv_body_first', widths[0], 3) | conv_layer('final_conv', last, widths[-1])
    expected |= conv_layer('final_down1', last, last, down=True) | conv_layer('final_down2', flat, last, down=True)
    expected |= linear('final_linear', style * (2 * num_down + 2), flat * 16)
    for index, width in enumerate(widths):
        expected |= linear(f'condition_scale1.{index}', width, 1) | linear(f'condition_scale2.{index}', width, 1)
        expected |= conv(f'condition_shift.{index}.0', width, width)
    for index, (before, width) in enumerate(pairwise(widths)):
        expected |= conv_layer(f'conv_body_down.{index}', width, before, down=True)
    return Identity('generator', network), expected | gcfsr_decoder(widths[::-1], style)


def gcfsr_decoder(widths: list[int], style: int) -> Shapes:
    """The tensors of GCFSR's decoder: ``widths`` are its channels from 16x16 on, ``style`` the length of a latent."""
    expected = style_conv('style_conv1', widths[0], widths[0], style) | to_rgb('to_rgb1', widths[0], style)
    for index, (before, width) in enumerate(pairwise(widths)):
        expected |= style_conv(f'style_convs.{2 * index}', width, before, style)
        expected |= style_conv(f'style_convs.{2 * index + 1}', width, width, style)
        expected |= to_rgb(f'to_rgbs.{index}', width, style)
    sizes = [2 ** ((index + 5) // 2) for index in range(2 * len(widths) - 1)]
    return expected | {f'noises.noise{index}': (1, 1, size, size) for index, size in enumerate(sizes)}


def stylegan2_width(widths: dict[int, int]) -> dict[str, Any]:
    """StyleGAN2's ``narrow`` and ``channel_multiplier`` from the channels at ``2**level`` pixels.

    A layer has ``int(base * narrow)`` channels. ``narrow`` is the shortest decimal number in the interval that
    gives all of them, which is what somebody wrote.

    Raises:
        ValueError: there are none.
    """
    for multiplier in (2, 1, 4, 8) if max(widths) <= 10 else ():  # BasicSR has none beyond 1024 pixels
        base = {level: 512 if level <= 5 else 2**(14 - level) * multiplier for level in widths}
        low = max(width / base[level] for level, width in widths.items())
        for digits in range(12):
            narrow = ceil(round(low * 10**digits, 6)) / 10**digits
            if all(int(base[level] * narrow) == width for level, width in widths.items()):
                visible = {'channel_multiplier': multiplier} if max(widths) >= 6 else {}
                return visible | {'narrow': int(narrow) if narrow == int(narrow) else narrow}
    raise ValueError('no StyleGAN2 network has these widths')


FAMILIES: tuple[Callable[[Shapes], tuple[Identity, Shapes]], ...] = (
    rrdbnet, srvgg, msrresnet, srgan_generator, unet_discriminator, vgg_discriminator, srgan_discriminator,
    stylegan2_discriminator, gcfsr)
