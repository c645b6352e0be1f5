"""Methods side by side on pairs of LQ and GT images."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.metrics import calculate_metric
from basicsr.utils import img2tensor, tensor2img
from basicsr.utils.matlab_functions import imresize
from torch import Tensor, nn

from sdakd_plugin.errors import UserError
from sdakd_plugin.families.calling import super_resolve

Size = tuple[int, int]
Method = Callable[[Tensor, Size, Tensor | None], Tensor]
"""Turns an LQ image (1, c, h, w), range 0..1, into an SR image (1, c, H, W). It is told the size (H, W) that is wanted;
a network has its own. Last comes ``lq_scale``, (1,), where the data set gives one."""

Metrics = Mapping[str, Mapping[str, Any]]
"""BasicSR's ``val.metrics`` block."""


@dataclass(frozen=True)
class Outcome:
    """One method on one image. Attributes: image (H, W, 3), uint8 BGR (grey: (H, W)); metrics, the value of each."""

    image: np.ndarray
    metrics: dict[str, float]


@dataclass
class Result:
    """One method on one data set.

    Attributes:
        metrics: the mean of each metric over the images.
        images: image name -> SR image, (H, W, 3) uint8 BGR, of the first few images.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    images: dict[str, np.ndarray] = field(default_factory=dict)


def bicubic(lq: Tensor, size: Size, _lq_scale: Tensor | None = None) -> Tensor:
    """MATLAB's bicubic enlargement to a size, the usual baseline of the field."""
    height, width = size
    enlarged = imresize(lq[0].permute(1, 2, 0).cpu().numpy(), height / lq.shape[-2])
    return img2tensor(enlarged[:height, :width], bgr2rgb=False).unsqueeze(0)  # a fraction rounds up to a pixel more


def network(net: nn.Module, device: torch.device) -> Method:
    """A generator in evaluation mode."""
    net = net.to(device).eval()

    @torch.no_grad()
    def enlarge(lq: Tensor, _size: Size, lq_scale: Tensor | None = None) -> Tensor:
        return super_resolve(net, lq.to(device), lq_scale)
    return enlarge


def default_metrics(crop_border: int) -> dict[str, dict[str, Any]]:
    """PSNR and SSIM on the luma channel, without a border of usually ``scale`` pixels, as the field reports them."""
    return {name: {'type': f'calculate_{name}', 'crop_border': crop_border, 'test_y_channel': True}
            for name in ('psnr', 'ssim')}


def compare_image(methods: Mapping[str, Method], lq: Tensor, gt: np.ndarray, metrics: Metrics,
                  lq_scale: Tensor | None = None) -> dict[str, Outcome]:
    """Run every method on one image.

    Args:
        methods: by name.
        lq: (1, c, h, w), range 0..1.
        gt: (H, W, 3) or (H, W), uint8 BGR.
        metrics: what to calculate of each.
        lq_scale: (1,), the scale of an LQ image that has GT's size.

    Raises:
        UserError: what a method makes is not of GT's size.
    """
    outcomes = {}
    for name, enlarge in methods.items():
        image = tensor2img([enlarge(lq, gt.shape[:2], lq_scale).float().cpu()])
        if image.shape != gt.shape:
            raise UserError(f'{name} makes {_pixels(image)} of the LQ image, which is {lq.shape[-1]}x{lq.shape[-2]}, '
                            f'but GT is {_pixels(gt)}')
        outcomes[name] = Outcome(image, {metric: float(calculate_metric({'img': image, 'img2': gt}, dict(block)))
                                         for metric, block in metrics.items()})
    return outcomes


def compare(methods: Mapping[str, Method], dataset: Any, metrics: Metrics, keep: int = 3) -> dict[str, Result]:
    """Run every method on every image of a paired data set.

    Args:
        methods: by name.
        dataset: gives ``lq`` and ``gt`` (c, h, w), range 0..1, ``lq_path``, and perhaps ``lq_scale``.
        metrics: what to calculate.
        keep: of how many images the pictures are kept; a validation set may be larger than the memory.

    Returns:
        The result of each method, and under ``'GT'`` and ``'LR'`` the images themselves.
    """
    results = {name: Result() for name in (*methods, 'LR', 'GT')}
    for index in range(len(dataset)):
        item = dataset[index]
        name = Path(item['lq_path']).stem
        lq, gt = item['lq'].unsqueeze(0), tensor2img([item['gt'].unsqueeze(0)])
        lq_scale = torch.tensor([item['lq_scale']]) if 'lq_scale' in item else None
        outcomes = compare_image(methods, lq, gt, metrics, lq_scale)
        for method, outcome in outcomes.items():
            sums = results[method].metrics
            for metric, value in outcome.metrics.items():
                sums[metric] = sums.get(metric, 0.0) + value / len(dataset)
        pictures = {'LR': tensor2img([lq]), 'GT': gt, **{name: outcome.image for name, outcome in outcomes.items()}}
        for method, image in pictures.items() if index < keep else ():
            results[method].images[name] = image if image.ndim == 3 else image[..., None].repeat(3, 2)
    return results


def _pixels(image: np.ndarray) -> str:
    return 'x'.join(map(str, (image.shape[1], image.shape[0], *image.shape[2:])))
