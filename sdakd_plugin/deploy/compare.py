"""Methods side by side on the images of a data set."""
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

Method = Callable[[Tensor], Tensor]
"""Turns LQ images (1, c, h, w), range 0..1, into SR images (1, c, H, W)."""


@dataclass
class Result:
    """One method on one data set.

    Attributes:
        metrics: the mean of each metric over the images.
        images: image name -> SR image, (H, W, 3) uint8 BGR, of the first few images.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    images: dict[str, np.ndarray] = field(default_factory=dict)


def bicubic(scale: int) -> Method:
    """MATLAB's bicubic enlargement, the usual baseline of the field."""
    def enlarge(lq: Tensor) -> Tensor:
        image = lq[0].permute(1, 2, 0).cpu().numpy()
        return img2tensor(imresize(image, scale), bgr2rgb=False).unsqueeze(0)
    return enlarge


def network(net: nn.Module, device: torch.device) -> Method:
    """A network in evaluation mode."""
    net = net.to(device).eval()

    @torch.no_grad()
    def enlarge(lq: Tensor) -> Tensor:
        return net(lq.to(device))
    return enlarge


def default_metrics(scale: int) -> dict[str, dict[str, Any]]:
    """PSNR and SSIM on the luma channel without a border of ``scale`` pixels, as the field reports them."""
    return {name: {'type': f'calculate_{name}', 'crop_border': scale, 'test_y_channel': True}
            for name in ('psnr', 'ssim')}


def compare(methods: Mapping[str, Method], dataset: Any, metrics: Mapping[str, Mapping[str, Any]],
            keep: int = 3) -> dict[str, Result]:
    """Run every method on every image of a paired data set.

    Args:
        methods: by name.
        dataset: gives ``lq`` and ``gt`` (c, h, w), range 0..1, and ``lq_path``.
        metrics: BasicSR's ``val.metrics`` block.
        keep: of how many images the pictures are kept; a validation set may be larger than the memory.

    Returns:
        The result of each method, and under ``'GT'`` and ``'LR'`` the images themselves.
    """
    results = {name: Result() for name in (*methods, 'LR', 'GT')}
    for index in range(len(dataset)):
        item = dataset[index]
        name = Path(item['lq_path']).stem
        lq, gt = item['lq'].unsqueeze(0), tensor2img([item['gt'].unsqueeze(0)])
        pictures = {'LR': tensor2img([lq]), 'GT': gt}
        for method, enlarge in methods.items():
            image = pictures[method] = tensor2img([enlarge(lq).float().cpu()])
            for metric, block in metrics.items():
                value = float(calculate_metric({'img': image, 'img2': gt}, dict(block)))
                sums = results[method].metrics
                sums[metric] = sums.get(metric, 0.0) + value / len(dataset)
        for method, image in pictures.items() if index < keep else ():
            results[method].images[name] = image if image.ndim == 3 else image[..., None].repeat(3, 2)
    return results
