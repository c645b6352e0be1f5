"""Tensors, widths and wiring of StyleGAN2's layers (Karras et al., CVPR 2020), which GCFSR's networks use too."""

from __future__ import annotations

from math import ceil
from typing import Any

from sdakd_plugin.families.shapes import Shapes, conv, linear
from sdakd_plugin.families.wiring import Layer, Wiring


def conv_layer(name: str, num_out: int, num_in: int, kernel: int = 3, down: bool = False) -> Shapes:
    """The tensors of StyleGAN2's ``ConvLayer`` with its activation; with ``down`` it begins with a FIR filter."""
    first = int(down)
    return conv(f'{name}.{first}', num_out, num_in, kernel, bias=False) | {f'{name}.{first + 1}.bias': (num_out,)}


def modulated_conv(name: str, num_out: int, num_in: int, kernel: int, style: int) -> Shapes:
    """The tensors of StyleGAN2's ``ModulatedConv2d``, with its dense layer for a style code of length ``style``."""
    return {f'{name}.weight': (1, num_out, num_in, kernel, kernel)} | linear(f'{name}.modulation', num_in, style)


def style_conv(name: str, num_out: int, num_in: int, style: int) -> Shapes:
    """The tensors of StyleGAN2's ``StyleConv``: convolution, weight of the noise, activation."""
    return modulated_conv(f'{name}.modulated_conv', num_out, num_in, 3, style) | {
        f'{name}.weight': (1,),
        f'{name}.activate.bias': (num_out,),
    }


def to_rgb(name: str, num_in: int, style: int) -> Shapes:
    """The tensors of StyleGAN2's ``ToRGB``."""
    return modulated_conv(f'{name}.modulated_conv', 3, num_in, 1, style) | {f'{name}.bias': (1, 3, 1, 1)}


def width_options(widths: dict[int, int]) -> dict[str, Any]:
    """StyleGAN2's ``narrow`` and ``channel_multiplier`` from the channels at ``2**level`` pixels.

    A layer has ``int(base * narrow)`` channels. ``narrow`` is the shortest decimal number that gives all of them, which
    is most likely the one in the option file.

    Raises:
        ValueError: no values give these channels.
    """
    for multiplier in (2, 1, 4, 8) if max(widths) <= 10 else ():  # BasicSR supports up to 1024 pixels
        base = {level: 512 if level <= 5 else 2 ** (14 - level) * multiplier for level in widths}
        low = max(width / base[level] for level, width in widths.items())
        for digits in range(12):
            narrow = ceil(round(low * 10**digits, 6)) / 10**digits
            if all(int(base[level] * narrow) == width for level, width in widths.items()):
                visible = {'channel_multiplier': multiplier} if max(widths) >= 6 else {}
                return visible | {'narrow': int(narrow) if narrow == int(narrow) else narrow}
    raise ValueError('no StyleGAN2 network has these widths')


def wire_conv_layer(net: Any, name: str, layer: Layer) -> Wiring:
    """The wiring of a ``ConvLayer``: a FIR filter if it downsamples, the convolution, the activation with the bias."""
    last = len(net.get_submodule(name)) - 1
    return {f'{name}.{last - 1}': layer, f'{name}.{last}': Layer(layer.writes)}


def wire_modulated_conv(name: str, source: str) -> Wiring:
    """The wiring of the ``ModulatedConv2d`` of a layer: the style modulates the channels that it reads."""
    conv = f'{name}.modulated_conv'
    return {conv: Layer(name, (source,)), f'{conv}.modulation': Layer(source, ('style',))}
