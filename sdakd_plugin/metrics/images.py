"""Images as BasicSR hands them to metrics, as tensors that networks take."""

from __future__ import annotations

import numpy as np
import torch
from basicsr.metrics.metric_util import reorder_image
from basicsr.utils import img2tensor
from torch import Tensor

from sdakd_plugin.errors import UserError


def as_tensors(*images: np.ndarray, crop_border: int = 0, input_order: str = 'HWC') -> list[Tensor]:
    """Each image as (1, 3, h, w), range 0..1, RGB, on the current CUDA device where there is one.

    Args:
        images: of one shape, BGR or grey (three equal channels), uint8 or float, 0..255.
        crop_border: pixels to cut off at each edge.
        input_order: ``'HWC'`` or ``'CHW'``.

    Raises:
        UserError: the shapes differ, or the border leaves nothing.
    """
    if len({image.shape for image in images}) > 1:
        raise UserError(f'images of one shape are compared, not {" with ".join(str(image.shape) for image in images)}')
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
    """Where metrics work: the current CUDA device, else the CPU."""
    return torch.device('cuda', torch.cuda.current_device()) if torch.cuda.is_available() else torch.device('cpu')
