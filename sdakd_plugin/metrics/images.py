"""Converts the images that BasicSR passes to metrics to tensors."""

from __future__ import annotations

import numpy as np
import torch
from basicsr.metrics.metric_util import reorder_image
from basicsr.utils import img2tensor
from torch import Tensor

from sdakd_plugin.errors import UserError


def as_tensors(*images: np.ndarray, crop_border: int = 0, input_order: str = 'HWC') -> list[Tensor]:
    """Convert images to tensors (1, 3, h, w), RGB, range 0..1, on the current CUDA device if there is one.

    Args:
        images: images of the same shape, BGR or grey, uint8 or float, 0..255; grey becomes three equal channels.
        crop_border: number of pixels to crop at each edge.
        input_order: ``'HWC'`` or ``'CHW'``.

    Raises:
        UserError: the shapes differ, or nothing is left after cropping.
    """
    if len({image.shape for image in images}) > 1:
        raise UserError(f'images must have the same shape, not {" and ".join(str(image.shape) for image in images)}')
    ordered = [reorder_image(image, input_order=input_order) for image in images]
    if crop_border:
        ordered = [image[crop_border:-crop_border, crop_border:-crop_border] for image in ordered]
    if not all(image.size for image in ordered):
        raise UserError(f'a border of {crop_border} pixels leaves nothing of an image of shape {images[0].shape}')
    scaled = [image.astype(np.float32) / 255 for image in ordered]
    return [
        image.expand(3, -1, -1).unsqueeze(0).to(current_device())
        for image in img2tensor(scaled, bgr2rgb=True, float32=True)
    ]


def current_device() -> torch.device:
    """The device of the metrics: the current CUDA device, or the CPU if there is none."""
    return torch.device('cuda', torch.cuda.current_device()) if torch.cuda.is_available() else torch.device('cpu')
