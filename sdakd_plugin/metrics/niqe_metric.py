"""NIQE as a metric that returns nan instead of raising an exception."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from basicsr.metrics.niqe import calculate_niqe
from basicsr.utils.registry import METRIC_REGISTRY

BLOCK = 96


@METRIC_REGISTRY.register()
def calculate_robust_niqe(img: np.ndarray, crop_border: int = 0, **kwargs: Any) -> float:
    """BasicSR's ``calculate_niqe`` (lower is better), or nan if NIQE is not defined for the image.

    NIQE compares statistics over blocks of 96x96 pixels. They are undefined for an image of fewer than two blocks or
    without contrast, such as the output of an untrained generator; BasicSR's function then raises an exception, which
    would end the validation.

    Args:
        img: (h, w, 3), BGR, 0..255.
        crop_border: number of pixels to crop at each edge.
        kwargs: further arguments of BasicSR's function; ``img2`` is ignored.
    """
    kwargs.pop('img2', None)
    if min(img.shape[:2]) - 2 * crop_border < BLOCK:
        return float('nan')
    try:
        with warnings.catch_warnings(), np.errstate(all='ignore'):
            warnings.simplefilter('ignore', RuntimeWarning)
            return float(calculate_niqe(img, crop_border, **kwargs))
    except (np.linalg.LinAlgError, ValueError):
        return float('nan')
