"""Metrics without a reference (MUSIQ, CLIPIQA, TOPIQ, NIQE, MANIQA, ...) through the package ``pyiqa``."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from basicsr.utils.registry import METRIC_REGISTRY
from torch import nn

from sdakd_plugin.errors import UserError, nearest
from sdakd_plugin.metrics.images import as_tensors

NAMES = {'topiq': 'topiq_nr'}  # names in papers -> names in pyiqa, if they differ


@METRIC_REGISTRY.register()
def calculate_iqa(img: np.ndarray, metric: str, crop_border: int = 0, input_order: str = 'HWC', **kwargs: Any) -> float:
    """A no-reference metric of pyiqa. Uses the current CUDA device if there is one.

    In an option file: ``musiq: {type: calculate_iqa, metric: musiq, better: higher}``.

    Args:
        img: BGR or grey, uint8 or float, 0..255.
        metric: pyiqa's name, such as ``'musiq'``, ``'clipiqa'``, ``'maniqa'``, ``'niqe'``; ``'topiq'`` is its topiq_nr.
        crop_border: number of pixels to crop at each edge.
        input_order: ``'HWC'`` or ``'CHW'``.
        kwargs: ignored, as in BasicSR's metrics; so is ``img2``.

    Raises:
        UserError: see ``load_metric`` and ``as_tensors``; or the metric rejects the image.
    """
    (image,) = as_tensors(img, crop_border=crop_border, input_order=input_order)
    network = load_metric(metric, image.device)
    try:
        with _undisturbed_rng():  # some metrics use random crops
            return float(network(image))
    except (ArithmeticError, AssertionError, IndexError, RuntimeError, ValueError) as error:
        reason = str(error).strip().split('\n')[0] or type(error).__name__
        raise UserError(f'{metric}: pyiqa rejects an image of {image.shape[3]}x{image.shape[2]} ({reason})') from error


@cache
def load_metric(metric: str, device: torch.device) -> nn.Module:
    """Build a metric of pyiqa, once; its attribute ``lower_better`` tells whether lower is better.

    Raises:
        UserError: pyiqa is not installed, has no such no-reference metric, or cannot load its weights.
    """
    try:
        import pyiqa  # here, because it is optional and heavy
    except ImportError as error:
        raise UserError(f'{metric} needs the package pyiqa ({error}); pip install "sdakd-plugin[iqa]"') from error
    name = NAMES.get(metric, metric)
    known = pyiqa.list_models(metric_mode='NR')
    if name not in known:
        raise UserError(f'pyiqa has no metric {metric!r} without a reference{nearest(metric, [*NAMES, *known])}')
    try:
        with _undisturbed_rng():
            network: nn.Module = pyiqa.create_metric(name, device=device)
    except Exception as error:  # its various download clients raise different exceptions
        reason = str(error).strip().split('\n')[0] or type(error).__name__
        raise UserError(
            f"{metric}: pyiqa cannot load it ({reason}); it downloads weights once, into torch's and "
            f"Hugging Face's caches: go online for the first use, or leave {metric} out"
        ) from error
    return network


def _undisturbed_rng() -> Any:
    from sdakd_plugin.utils.random_state import undisturbed_rng  # here: it imports basicsr, which imports this

    return undisturbed_rng()
