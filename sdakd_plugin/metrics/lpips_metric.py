"""LPIPS as a metric of BasicSR's ``val.metrics``, beside PSNR and SSIM. Lower is better."""
from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from basicsr.metrics.metric_util import reorder_image
from basicsr.utils import img2tensor
from basicsr.utils.registry import METRIC_REGISTRY

# The module, not its names: importing basicsr registers the plugin, so lpips_loss may be only half imported here.
from sdakd_plugin.losses import lpips_loss


@METRIC_REGISTRY.register()
def calculate_lpips(img: np.ndarray, img2: np.ndarray, crop_border: int = 0, input_order: str = 'HWC',
                    net: str = 'alex', backbone_path: str | None = None, **kwargs: Any) -> float:
    """LPIPS 0.1 (Zhang et al., CVPR 2018) of two images, on the current CUDA device where there is one.

    In an option file: ``lpips: {type: calculate_lpips, crop_border: 4, net: alex, better: lower}``.

    Args:
        img, img2: images of one shape, BGR or grey, uint8 or float, 0..255.
        crop_border: pixels to cut off at each edge.
        input_order: ``'HWC'`` or ``'CHW'``.
        net: ``'alex'`` (what papers report), ``'vgg'`` or ``'squeeze'``.
        backbone_path: torchvision's weights of the backbone, whole or features only; None: torchvision downloads.
        kwargs: ignored, as in BasicSR's metrics (``better``, ``test_y_channel``).

    Raises:
        UserError: see ``LPIPSLoss``.
    """
    images = [reorder_image(image, input_order=input_order) for image in (img, img2)]
    if crop_border:
        images = [image[crop_border:-crop_border, crop_border:-crop_border] for image in images]
    device = f'cuda:{torch.cuda.current_device()}' if torch.cuda.is_available() else 'cpu'
    pred, reference = (image.unsqueeze(0).to(device) for image in
                       img2tensor([image.astype(np.float32) / 255 for image in images], bgr2rgb=True, float32=True))
    with torch.no_grad():
        return _network(net, backbone_path, device)(pred, reference).item()


@cache
def _network(net: str, backbone_path: str | None, device: str) -> torch.nn.Module:
    return lpips_loss.LPIPSLoss(net, backbone_path=backbone_path).to(device)
