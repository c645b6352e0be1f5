"""Compares super-resolution methods on a paired data set of BasicSR."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.utils import tensor2img
from torch import Tensor, nn

from sdakd_plugin.evaluation.quality import Metrics, Size, measure
from sdakd_plugin.families.calling import super_resolve

TensorMethod = Callable[[Tensor, Size, Tensor | None], Tensor]
"""Turns an LQ image (1, c, h, w), range 0..1, into an SR image (1, c, H, W). The second argument is the size (H, W) of
GT, which a network does not need; the third is ``lq_scale``, (1,), where the data set gives one."""


@dataclass
class Result:
    """One method on one data set.

    Attributes:
        metrics: the mean of each metric over the images.
        images: image name -> SR image, (H, W, 3) uint8 BGR, of the first few images.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    images: dict[str, np.ndarray] = field(default_factory=dict)


def network(net: nn.Module, device: torch.device) -> TensorMethod:
    """A generator in evaluation mode."""
    net = net.to(device).eval()

    @torch.no_grad()
    def enlarge(lq: Tensor, _size: Size, lq_scale: Tensor | None = None) -> Tensor:
        return super_resolve(net, lq.to(device), lq_scale)

    return enlarge


def compare(methods: Mapping[str, TensorMethod], dataset: Any, metrics: Metrics, keep: int = 3) -> dict[str, Result]:
    """Run every method on every image of a paired data set.

    Args:
        methods: by name.
        dataset: gives ``lq`` and ``gt`` (c, h, w), range 0..1, ``lq_path``, and perhaps ``lq_scale``.
        metrics: what to calculate.
        keep: how many images are kept in the results; a validation set may be larger than the memory.

    Returns:
        The result of each method, and under ``'GT'`` and ``'LR'`` the images themselves.

    Raises:
        UserError: an SR image does not have GT's size.
    """
    results = {name: Result() for name in (*methods, 'LR', 'GT')}
    for index in range(len(dataset)):
        item = dataset[index]
        name = Path(item['lq_path']).stem
        lq, gt = item['lq'].unsqueeze(0), tensor2img([item['gt'].unsqueeze(0)])
        lq_scale = torch.tensor([item['lq_scale']]) if 'lq_scale' in item else None
        images = {
            method: tensor2img([enlarge(lq, gt.shape[:2], lq_scale).float().cpu()])
            for method, enlarge in methods.items()
        }
        for method, values in measure(images, gt, lq.shape[-2:], metrics).items():
            means = results[method].metrics
            for metric, value in values.items():
                means[metric] = means.get(metric, 0.0) + value / len(dataset)
        if index < keep:
            for method, image in {'LR': tensor2img([lq]), 'GT': gt, **images}.items():
                results[method].images[name] = image if image.ndim == 3 else image[..., None].repeat(3, 2)
    return results
