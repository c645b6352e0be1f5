"""The names and shapes of the tensors of common layers, from which families list those of their networks."""

from __future__ import annotations

import re
from math import prod

Shapes = dict[str, tuple[int, ...]]


def conv(name: str, num_out: int, num_in: int, kernel: int = 3, bias: bool = True) -> Shapes:
    """The tensors of a convolution."""
    weight: Shapes = {f'{name}.weight': (num_out, num_in, kernel, kernel)}
    return weight | ({f'{name}.bias': (num_out,)} if bias else {})


def linear(name: str, num_out: int, num_in: int) -> Shapes:
    """The tensors of a dense layer."""
    return {f'{name}.weight': (num_out, num_in), f'{name}.bias': (num_out,)}


def batch_norm(name: str, num_feat: int) -> Shapes:
    """The tensors of a BatchNorm layer, without the counter."""
    return {f'{name}.{part}': (num_feat,) for part in ('weight', 'bias', 'running_mean', 'running_var')}


def spectral_conv(name: str, num_out: int, num_in: int, kernel: int) -> Shapes:
    """The tensors of a convolution without bias under ``torch.nn.utils.spectral_norm``."""
    weight = (num_out, num_in, kernel, kernel)
    return {f'{name}.weight_orig': weight, f'{name}.weight_u': (num_out,), f'{name}.weight_v': (prod(weight[1:]),)}


def count(shapes: Shapes, pattern: str) -> int:
    """The number of names that match; gaps in the numbering are found when the shapes are compared."""
    return sum(re.fullmatch(pattern, key) is not None for key in shapes)
