"""The quality of super-resolution (SR) images: their metrics, and bicubic enlargement as the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from basicsr.metrics import calculate_metric
from basicsr.utils import img2tensor
from basicsr.utils.matlab_functions import imresize
from torch import Tensor

from sdakd_plugin.errors import UserError

Size = tuple[int, int]
"""Height and width in pixels."""

Metrics = Mapping[str, Mapping[str, Any]]
"""BasicSR's ``val.metrics`` block."""


def default_metrics(crop_border: int) -> dict[str, dict[str, Any]]:
    """PSNR and SSIM on the luma channel, without a border of usually ``scale`` pixels, as the field reports them."""
    return {
        name: {'type': f'calculate_{name}', 'crop_border': crop_border, 'test_y_channel': True}
        for name in ('psnr', 'ssim')
    }


def measure(
    images: Mapping[str, np.ndarray], gt: np.ndarray, lq_size: Size, metrics: Metrics
) -> dict[str, dict[str, float]]:
    """Calculate the metrics of the SR images that several methods made of one LQ image.

    Args:
        images: method -> SR image, uint8 BGR, (H, W, 3) or (H, W).
        gt: the ground truth, as the SR images.
        lq_size: size of the LQ image, for the error message.
        metrics: what to calculate.

    Returns:
        Method -> metric -> value.

    Raises:
        UserError: an SR image does not have GT's size.
    """
    for name, image in images.items():
        if image.shape != gt.shape:
            raise UserError(
                f'{name} makes {_shape(image)} of the LQ image, which is {lq_size[1]}x{lq_size[0]}, '
                f'but GT is {_shape(gt)}'
            )
    return {
        name: {
            metric: float(calculate_metric({'img': image, 'img2': gt}, dict(block)))
            for metric, block in metrics.items()
        }
        for name, image in images.items()
    }


def bicubic(lq: Tensor, size: Size, _lq_scale: Tensor | None = None) -> Tensor:
    """MATLAB's bicubic enlargement, the usual baseline of the field.

    Args:
        lq: (1, c, h, w), range 0..1.
        size: that of the result.
    """
    height, width = size
    enlarged = imresize(lq[0].permute(1, 2, 0).cpu().numpy(), height / lq.shape[-2])
    return img2tensor(enlarged[:height, :width], bgr2rgb=False).unsqueeze(0)  # a fraction rounds up to a pixel more


def _shape(image: np.ndarray) -> str:
    return 'x'.join(map(str, (image.shape[1], image.shape[0], *image.shape[2:])))
