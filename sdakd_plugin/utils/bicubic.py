"""MATLAB's bicubic resizing, which BasicSR's ``imresize`` computes row by row, as two matrix products: the same numbers
on any device, for a batch at once, and in operators that exporters know."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

REACH = 2  # pixels, of the cubic kernel to each side


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """Resize images with the cubic kernel of a = -0.5, antialiased where they get smaller, mirrored at the borders.

    torch's own bicubic has a = -0.75 or, with ``antialias``, other borders.

    Args:
        images: (n, c, h, w) or (c, h, w).
        height: of the result, in pixels.
        width: likewise.

    Returns:
        The same with ``height`` and ``width``; neither clipped nor rounded.
    """
    h, w = (int(side) for side in images.shape[-2:])  # tensors while tracing
    rows = _matrix(h, height, images.dtype, images.device)
    columns = _matrix(w, width, images.dtype, images.device)
    with torch.autocast(images.device.type, enabled=False):  # bfloat16 has fewer digits than an image of 8 bits
        return rows @ images @ columns.T


@lru_cache(maxsize=32)
def _matrix(size: int, target: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What a row or column of ``size`` pixels is multiplied with, (target, size).

    NumPy computes it, so that no trace of a network, for an exporter or to count operations, has that in it.
    """
    shrink = min(target / size, 1)  # antialiasing widens the kernel
    pad = math.ceil(REACH / shrink)
    places = np.arange(-pad, size + pad)
    centres = (np.arange(target) + 0.5) * size / target - 0.5
    weights = _cubic((centres[:, None] - places) * shrink)
    weights /= weights.sum(1, keepdims=True)
    around = places % (2 * size)  # a row and its mirror image, again and again
    mirrored = np.minimum(around, 2 * size - 1 - around)
    matrix = np.zeros((target, size))
    np.add.at(matrix.T, mirrored, weights.T)
    return torch.from_numpy(matrix).to(device, dtype)


def _cubic(x: np.ndarray) -> np.ndarray:
    """The cubic convolution kernel (Keys, 1981) with a = -0.5."""
    x = np.abs(x)
    return np.where(x <= 1, 1.5 * x**3 - 2.5 * x**2 + 1, np.where(x <= 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0))
