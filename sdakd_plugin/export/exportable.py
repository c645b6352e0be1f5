"""What every exporter needs: a generator as one plain ``net(lq)``, and proof that an exported file does the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import torch
from skimage.data import astronaut
from torch import Tensor, nn

from sdakd_plugin.errors import UserError
from sdakd_plugin.families.calling import ImageToImage, folded
from sdakd_plugin.families.registry import family_of
from sdakd_plugin.inference.model import Model

TOLERANCE = {False: 1e-4, True: 1e-2}  # by ``half``; see ``difference``. 8-bit images have steps of 4e-3
SIZES = ((48, 64), (56, 32))  # pixels, height and width, of the images that a file is checked with


@dataclass(frozen=True)
class Exported:
    """Attributes: files (content by suffix), error (see ``difference``), about (how to call it), report (further lines
    to print)."""

    files: dict[str, bytes]
    error: float
    about: str
    report: tuple[str, ...] = ()


def exportable(net: nn.Module) -> nn.Module:
    """The generator for ``net(lq)``, images 0..1, folded and in operators that exporters know."""
    net = folded(net)
    rewritten = family_of(net).export.rewrite(net)
    return ImageToImage(net) if rewritten is None else rewritten


def metadata(network: Mapping[str, Any], scale: int | None) -> dict[str, str]:
    """What a file says about its network; GCFSR has no scale of its own."""
    return {'architecture': network['type'], 'network': json.dumps(network)} | ({'scale': str(scale)} if scale else {})


def multiple_of(net: nn.Module) -> int:
    """The number whose multiples height and width of the input must be."""
    return family_of(net).export.multiple_of(net)


def input_shape(model: Model, size: int | None) -> str:
    """Which images a file takes, in words, for files that are made for any batch and size or for one image."""
    if size:
        return f'1 image of {size}x{size} pixels'
    multiple = multiple_of(model.net)
    return 'any batch, height and width' + (f' (multiples of {multiple})' if multiple > 1 else '')


def input_sizes(model: Model, size: int | None) -> tuple[tuple[int, int], ...]:
    """Height and width of the images to check with: two sizes, or the one that is asked for.

    Args:
        model: the generator.
        size: height and width of the input in pixels, ``None`` for any.

    Raises:
        UserError: the network does not take that size, or takes no other than a fixed one.
    """
    if size is None:
        hint = family_of(model.net).export.size_hint(model.net)
        if hint is not None:
            raise UserError(f'--size: {hint}')
        return SIZES
    if size < 1 or size % multiple_of(model.net):
        raise UserError(
            f'--size: {size} is no multiple of {multiple_of(model.net)}, which this network needs'
            if size > 0
            else f'--size: expected a number of pixels, not {size}'
        )
    return ((size, size),)


def photograph(model: Model, height: int, width: int) -> Tensor:
    """A crop of scikit-image's embedded photograph: (1, c, height, width), range 0..1."""
    image = torch.from_numpy(astronaut()).permute(2, 0, 1)[None] / 255
    channels = model.identity.network.get('num_in_ch', 3)
    if channels != 3:
        image = image.mean(1, keepdim=True).expand(-1, channels, -1, -1)
    return cut(image, height, width)


def cut(image: Tensor, height: int, width: int) -> Tensor:
    """The top left part of an image (1, c, h, w), which is repeated if it is too small."""
    repeat = (1, 1, -(-height // image.shape[2]), -(-width // image.shape[3]))
    return image.repeat(repeat)[:, :, :height, :width].contiguous()


@torch.no_grad()
def check(model: Model, run: Callable[[Tensor], np.ndarray], sizes: tuple[tuple[int, int], ...], half: bool) -> float:
    """Compare an exported file with the network in PyTorch and float32.

    Args:
        model: the generator.
        run: the file: an image (1, c, h, w) to its enlarged one.
        sizes: height and width of each image.
        half: whether the file computes, or stores its numbers, in half precision.

    Returns:
        The largest ``difference``.

    Raises:
        UserError: it is above ``TOLERANCE``.
    """
    net, errors = ImageToImage(model.net), []
    for height, width in sizes:
        lq = photograph(model, height, width)
        errors.append(difference(run(lq), net(lq).numpy()))
    error = float(np.max(errors))  # NaN if one is
    if not error <= TOLERANCE[half]:
        raise UserError(
            f'{model.name}: nothing is written: the exported network differs from PyTorch by {error:.1e}, '
            f'more than {TOLERANCE[half]:g}' + ('; leave out --fp16' if half else '')
        )
    return error


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest absolute difference, as a part of the range 0..1, or of the largest magnitude if that is above 1."""
    if found.shape != expected.shape:
        raise UserError(
            f'nothing is written: the exported network makes images of shape {found.shape}, PyTorch of {expected.shape}'
        )
    return float(np.abs(found.astype(np.float32) - expected).max() / max(1, np.abs(expected).max()))


def package(name: str, extra: str = 'export') -> ModuleType:
    """Import an optional package of an extra.

    Raises:
        UserError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(
            f'--format: the package {name} is missing ({error}); pip install "sdakd-plugin[{extra}]"'
        ) from error
