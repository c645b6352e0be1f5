"""GCFSR's generators (He et al., CVPR 2022), which upscale a face by any factor.

They require an input that is enlarged to the size of the output, images in -1..1 and, except for the blind one, a
condition, and they return a pair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from sdakd_plugin.errors import UserError
from sdakd_plugin.families.family import Export, Family, unwrap
from sdakd_plugin.families.identity import Identity
from sdakd_plugin.families.shapes import Shapes, conv, count, linear
from sdakd_plugin.families.stylegan2 import (
    conv_layer,
    style_conv,
    to_rgb,
    width_options,
    wire_conv_layer,
    wire_modulated_conv,
)
from sdakd_plugin.families.wiring import Layer, Wiring, chain
from sdakd_plugin.utils.bicubic import resize

SMALLEST_LQ = 16  # pixels; the condition is then 1: a scale of 64 at 1024 pixels, of 32 at 512


def recognise(shapes: Shapes) -> tuple[Identity, Shapes]:
    """GCFSR or GCFSRBlind: the blind network makes its latent codes from all channels at 4x4, the other from half."""
    num_down = count(shapes, r'conv_body_down\.\d+\.1\.weight')
    widths = [shapes['conv_body_first.0.weight'][0], shapes['conv_body_down.0.1.weight'][0]]  # at least 32 pixels
    widths += [shapes[f'conv_body_down.{index}.1.weight'][0] for index in range(1, num_down)]
    last, flat = shapes['final_conv.0.weight'][0], shapes['final_down2.1.weight'][0]
    style = shapes['to_rgb1.modulated_conv.modulation.weight'][1]
    network: dict[str, Any] = {
        'type': {last: 'GCFSRBlind', last // 2: 'GCFSR'}[flat],
        'out_size': 16 * 2**num_down,
        'num_style_feat': style,
    }
    network |= width_options({2: last} | dict(zip(range(num_down + 4, 3, -1), widths, strict=True)))
    expected = conv_layer('conv_body_first', widths[0], 3) | conv_layer('final_conv', last, widths[-1])
    expected |= conv_layer('final_down1', last, last, down=True) | conv_layer('final_down2', flat, last, down=True)
    expected |= linear('final_linear', style * (2 * num_down + 2), flat * 16)
    for index, width in enumerate(widths):
        expected |= linear(f'condition_scale1.{index}', width, 1) | linear(f'condition_scale2.{index}', width, 1)
        expected |= conv(f'condition_shift.{index}.0', width, width)
    for index, (before, width) in enumerate(pairwise(widths)):
        expected |= conv_layer(f'conv_body_down.{index}', width, before, down=True)
    return Identity('generator', network), expected | decoder_shapes(widths[::-1], style)


def decoder_shapes(widths: list[int], style: int) -> Shapes:
    """The tensors of the decoder; ``widths`` are its channels from 16x16 on, ``style`` the length of a latent code."""
    expected = style_conv('style_conv1', widths[0], widths[0], style) | to_rgb('to_rgb1', widths[0], style)
    for index, (before, width) in enumerate(pairwise(widths)):
        expected |= style_conv(f'style_convs.{2 * index}', width, before, style)
        expected |= style_conv(f'style_convs.{2 * index + 1}', width, width, style)
        expected |= to_rgb(f'to_rgbs.{index}', width, style)
    sizes = [2 ** ((index + 5) // 2) for index in range(2 * len(widths) - 1)]
    return expected | {f'noises.noise{index}': (1, 1, size, size) for index, size in enumerate(sizes)}


def wire(net: Any) -> Wiring:
    """An encoder and a decoder; at each resolution, the transformed encoder features are added to the decoder's."""
    levels = range(len(net.conv_body_down))
    encoder = ['conv_body_first', *(f'conv_body_down.{level}' for level in levels)]
    decoder = ['style_conv1', *(f'style_convs.{index}' for index in range(2 * len(levels)))]
    to_rgbs = ['to_rgb1', *(f'to_rgbs.{level}' for level in levels)]
    wiring = chain('final_down2', 'final_linear')
    for name, layer in (chain('lq', *encoder, 'final_conv') | chain(encoder[-1], 'final_down1', 'final_down2')).items():
        wiring |= wire_conv_layer(net, name, layer)
    for before, name in pairwise(('final_conv', *decoder)):
        wiring |= wire_modulated_conv(name, before) | {f'{name}.activate': Layer(name)}
    # the conditions go from high to low resolution, like the encoder; every second style convolution has one
    for index, (feature, name, rgb) in enumerate(zip(encoder, decoder[::-2], to_rgbs[::-1], strict=True)):
        wiring |= wire_modulated_conv(rgb, name) | {f'condition_shift.{index}.0': Layer(name, (feature,))}
        wiring |= {f'condition_scale{part}.{index}': Layer(name, ('condition',)) for part in (1, 2)}
    return wiring


def blocks(net: Any) -> list[str]:
    """The style convolutions of the decoder, one per resolution."""
    return [f'style_convs.{index}' for index in range(1, len(net.style_convs), 2)]


def call(net: nn.Module, lq: Tensor, lq_scale: Tensor | None) -> Tensor:
    """Call the network, with new noise in training mode and the stored noise in evaluation mode.

    Raises:
        UserError: the image is not square, or larger than the output.
    """
    bare: Any = unwrap(net)
    scale = scale_of(bare, lq)
    if scale > 1:
        lq = resize(lq, bare.out_size, bare.out_size).clamp(0, 1)
    x = lq * 2 - 1
    condition = None
    if not is_blind(bare):
        scales = x.new_full((len(x),), scale) if lq_scale is None else lq_scale.to(x)
        condition = (scales * SMALLEST_LQ / bare.out_size).unsqueeze(1)
    image, _ = net(x, condition, randomize_noise=bare.training)
    return (image + 1) / 2


def is_blind(net: nn.Module) -> bool:
    """Whether a network takes no condition. Told by its class name, so that reading weights imports no BasicSR."""
    return any(kind.__name__ == 'GCFSRBlind' for kind in type(net).__mro__)


def scale_of(net: Any, lq: Tensor) -> float:
    """The scale of an image: the output's size over the image's.

    Raises:
        UserError: the image is not square, or larger than the output.
    """
    height, width = lq.shape[-2:]
    if height != width or height > net.out_size:
        raise UserError(
            f'{type(net).__name__} makes square images of {net.out_size} pixels from square ones of at '
            f'most {net.out_size}, but got {width}x{height}'
        )
    return net.out_size / height


def largest_scale(net: Any) -> int:
    """The scale for which the condition is 1."""
    return net.out_size // SMALLEST_LQ


def check_lq(network: Mapping[str, Any], width: int, height: int, scales: Sequence[int] | None) -> str | None:
    """Check the size of an LQ image, which determines its scale; the blind network supports any scale."""
    out_size = network.get('out_size')
    if out_size is None:  # reported when the network is built
        return None
    if width != height or width > out_size:
        return f'is {width}x{height}; network_g takes square images of at most {out_size}'
    if scales and out_size / width not in scales and network['type'] != 'GCFSRBlind':
        listed = ', '.join(map(str, sorted(set(scales))))
        return f'({width}x{height}) has the scale {out_size / width:g}, which is not in scales ({listed})'
    return None


def size_hint(net: Any) -> str:
    """The message if no input size is given: an exported file has one scale."""
    side = net.out_size
    if is_blind(net):
        return (
            f'GCFSRBlind makes images of {side} pixels from one size; set it, such as --size {side} for images '
            'that already have that size'
        )
    return (
        f'GCFSR makes images of {side} pixels from one size, which determines its scale; set it, such as --size '
        f'{side // 8} for x8'
    )


# StyleGAN2's layers derive the shape of a convolution's weights from their input, but the exporter to ONNX requires a
# constant. Tracing in half precision takes more than five minutes on a CPU.
FAMILY = Family(
    names=('GCFSR', 'GCFSRBlind'),
    recognise=recognise,
    wire=wire,
    blocks=blocks,
    call=call,
    largest_scale=largest_scale,
    check_lq=check_lq,
    export=Export(size_hint=size_hint, onnx_half=False, onnx_constants=True),
)
