"""NIQE that cannot end a run."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from basicsr.metrics.niqe import calculate_niqe
from basicsr.utils.registry import METRIC_REGISTRY

BLOCK = 96


@METRIC_REGISTRY.register()
def calculate_robust_niqe(img: np.ndarray, crop_border: int = 0, **kwargs: Any) -> float:
    """BasicSR's ``calculate_niqe`` (lower is better), or nan where NIQE is not defined.

    NIQE compares statistics over blocks of 96x96 pixels. An image with fewer than two blocks, or one without contrast,
    as an untrained generator gives, has none, and BasicSR's function then raises in the middle of a validation.

    Args:
        img: (h, w, 3), BGR, 0..255.
        crop_border: pixels that do not count, on each side.
        kwargs: BasicSR's further arguments; ``img2`` is not used.
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
