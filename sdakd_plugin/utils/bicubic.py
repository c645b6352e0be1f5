"""MATLAB's bicubic resizing as two matrix products.

It gives the numbers of BasicSR's ``imresize``, which works row by row, but on any device, for a whole batch, and with
operators that exporters support.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

REACH = 2  # pixels: half the width of the cubic kernel


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """Resize images with the cubic kernel of a = -0.5, antialiased when downsampling, with mirrored borders.

    torch's own bicubic mode uses a = -0.75 or, with ``antialias``, different borders.

    Args:
        images: (n, c, h, w) or (c, h, w).
        height: height of the result in pixels.
        width: width of the result in pixels.

    Returns:
        The resized images; neither clipped nor rounded.
    """
    h, w = (int(side) for side in images.shape[-2:])  # tensors while tracing
    rows = _matrix(h, height, images.dtype, images.device)
    columns = _matrix(w, width, images.dtype, images.device)
    with torch.autocast(images.device.type, enabled=False):  # bfloat16 is less precise than an 8-bit image
        return rows @ images @ columns.T


@lru_cache(maxsize=32)
def _matrix(size: int, target: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The matrix (target, size) that resizes a row or column of ``size`` pixels.

    NumPy computes it, so that it does not appear in a trace of a network (for an exporter or to count operations).
    """
    shrink = min(target / size, 1)  # antialiasing widens the kernel
    pad = math.ceil(REACH / shrink)
    places = np.arange(-pad, size + pad)
    centres = (np.arange(target) + 0.5) * size / target - 0.5
    weights = _cubic((centres[:, None] - places) * shrink)
    weights /= weights.sum(1, keepdims=True)
    around = places % (2 * size)  # the row and its mirror image, repeated
    mirrored = np.minimum(around, 2 * size - 1 - around)
    matrix = np.zeros((target, size))
    np.add.at(matrix.T, mirrored, weights.T)
    return torch.from_numpy(matrix).to(device, dtype)


def _cubic(x: np.ndarray) -> np.ndarray:
    """The cubic convolution kernel (Keys, 1981) with a = -0.5."""
    x = np.abs(x)
    return np.where(x <= 1, 1.5 * x**3 - 2.5 * x**2 + 1, np.where(x <= 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0))
