"""Computes a Core ML program in PyTorch: Core ML itself runs on Apple's systems only.

MIL is the language of such programs, https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html.
The few operators here are those that generators are made of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sdakd_plugin.errors import UserError

Values = dict[str, Any]  # an operator's inputs by name: tensors, and numbers and strings where they are constant


def _conv(given: Values) -> Tensor:
    top, bottom, left, right = given['pad'] if given['pad_type'] == 'custom' else (0, 0, 0, 0)
    if given['pad_type'] not in ('custom', 'valid'):
        raise UserError(f'conv pads by {given["pad_type"]!r}')
    x = F.pad(given['x'], [int(side) for side in (left, right, top, bottom)])
    strides, dilations = (tuple(int(one) for one in given[name]) for name in ('strides', 'dilations'))
    return F.conv2d(x, given['weight'], given.get('bias'), strides, 0, dilations, int(given['groups']))


def _upsample(given: Values, **mode: Any) -> Tensor:
    factors = [float(given[f'scale_factor_{side}']) for side in ('height', 'width')]
    return F.interpolate(given['x'], scale_factor=factors, **mode)


def _split(given: Values) -> Sequence[Tensor]:
    sizes = given.get('split_sizes')
    if sizes is None:
        return given['x'].chunk(int(given['num_splits']), int(given['axis']))
    return given['x'].split([int(size) for size in sizes], int(given['axis']))


OPERATORS: dict[str, Callable[[Values], Tensor | Sequence[Tensor]]] = {
    'add': lambda given: given['x'] + given['y'],
    'cast': lambda given: given['x'],  # between float16 and float32: all is computed in float32
    'concat': lambda given: torch.cat(given['values'], int(given['axis'])),
    'conv': _conv,
    'leaky_relu': lambda given: F.leaky_relu(given['x'], float(given['alpha'])),
    'mul': lambda given: given['x'] * given['y'],
    'pixel_shuffle': lambda given: F.pixel_shuffle(given['x'], int(given['upscale_factor'])),
    'pixel_unshuffle': lambda given: F.pixel_unshuffle(given['x'], int(given['downscale_factor'])),
    'prelu': lambda given: F.prelu(given['x'], given['alpha']),
    'relu': lambda given: given['x'].relu(),
    'split': _split,
    'sub': lambda given: given['x'] - given['y'],
    'tanh': lambda given: given['x'].tanh(),
    'upsample_bilinear': lambda given: _upsample(given, mode='bilinear', align_corners=bool(given['align_corners'])),
    'upsample_nearest_neighbor': lambda given: _upsample(given, mode='nearest'),
}


def runner(program: Any) -> Callable[[Tensor], np.ndarray]:
    """A program in PyTorch and float32: an image (1, c, h, w) to its enlarged one.

    Args:
        program: a ``coremltools`` MIL program with one input and one output.

    Raises:
        UserError: it has an operator that is not known here.
    """
    (function,) = program.functions.values()
    operations = [operation for operation in function.operations if operation.op_type != 'const']
    unknown = sorted({operation.op_type for operation in operations} - OPERATORS.keys())
    if unknown:
        raise UserError(f'the Core ML program has operators that cannot be checked here: {", ".join(unknown)}')
    (lq,), (sr,) = function.inputs, function.outputs

    def run(image: Tensor) -> np.ndarray:
        known = {lq: image}

        def value(given: Any) -> Any:
            if isinstance(given, (list, tuple)):
                return [value(one) for one in given]
            if given.name in known:
                return known[given.name]
            constant = given.val
            if isinstance(constant, np.ndarray) and constant.dtype.kind == 'f':
                return torch.from_numpy(constant.astype(np.float32))
            return constant

        for operation in operations:
            given = {name: value(one) for name, one in operation.inputs.items() if one is not None}
            results = OPERATORS[operation.op_type](given)
            names = [output.name for output in operation.outputs]
            known.update(zip(names, [results] if isinstance(results, Tensor) else results, strict=True))
        return known[sr.name].numpy()

    return run
