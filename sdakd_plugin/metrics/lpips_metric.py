"""LPIPS as a metric for BasicSR's ``val.metrics``. Lower is better."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from basicsr.utils.registry import METRIC_REGISTRY

# The module, not its names: importing basicsr registers the plugin, so lpips_loss may be only half imported here.
from sdakd_plugin.losses import lpips_loss
from sdakd_plugin.metrics.images import as_tensors


@METRIC_REGISTRY.register()
def calculate_lpips(
    img: np.ndarray,
    img2: np.ndarray,
    crop_border: int = 0,
    input_order: str = 'HWC',
    net: str = 'alex',
    backbone_path: str | None = None,
    **kwargs: Any,
) -> float:
    """LPIPS 0.1 (Zhang et al., CVPR 2018) of two images. Uses the current CUDA device if there is one.

    In an option file: ``lpips: {type: calculate_lpips, crop_border: 4, net: alex, better: lower}``.

    Args:
        img, img2: images of the same shape, BGR or grey, uint8 or float, 0..255.
        crop_border: number of pixels to crop at each edge.
        input_order: ``'HWC'`` or ``'CHW'``.
        net: ``'alex'`` (usual in papers), ``'vgg'`` or ``'squeeze'``.
        backbone_path: torchvision's weights of the backbone, whole or features only; ``None`` downloads them.
        kwargs: ignored, as in BasicSR's metrics (``better``, ``test_y_channel``).

    Raises:
        UserError: see ``LPIPSLoss`` and ``as_tensors``.
    """
    pred, reference = as_tensors(img, img2, crop_border=crop_border, input_order=input_order)
    with torch.no_grad():
        return _network(net, backbone_path, pred.device)(pred, reference).item()


@cache
def _network(net: str, backbone_path: str | None, device: torch.device) -> torch.nn.Module:
    return lpips_loss.LPIPSLoss(net, backbone_path=backbone_path).to(device)
