"""DISTS as a metric for BasicSR's ``val.metrics``. Lower is better."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.utils.registry import METRIC_REGISTRY
from torch import nn

from sdakd_plugin.errors import UserError

# The module, not its names: importing basicsr registers the plugin, so backbone may be only half imported here.
from sdakd_plugin.losses import backbone
from sdakd_plugin.metrics.images import as_tensors

INSTALL = 'pip install "sdakd-plugin[dists]"'
ARCH = 'vgg16'  # torchvision's name of the backbone
STAGES = ((0, 4), (5, 9), (10, 16), (17, 23), (24, 30))  # of VGG16's features, without its max poolings


@METRIC_REGISTRY.register()
def calculate_dists(
    img: np.ndarray,
    img2: np.ndarray,
    crop_border: int = 0,
    input_order: str = 'HWC',
    backbone_path: str | None = None,
    **kwargs: Any,
) -> float:
    """DISTS (Ding et al., TPAMI 2020) of two images; 0 if they are equal. Uses the current CUDA device if there is one.

    In an option file: ``dists: {type: calculate_dists, crop_border: 4, better: lower}``. Images are not resized; the
    authors' script can downsample them to 256 pixels first.

    Args:
        img, img2: images of the same shape, BGR or grey, uint8 or float, 0..255.
        crop_border: number of pixels to crop at each edge.
        input_order: ``'HWC'`` or ``'CHW'``.
        backbone_path: torchvision's weights of VGG16, whole or features only; ``None`` downloads them.
        kwargs: ignored, as in BasicSR's metrics (``better``, ``test_y_channel``).

    Raises:
        UserError: see ``build_dists`` and ``as_tensors``.
    """
    pred, reference = as_tensors(img, img2, crop_border=crop_border, input_order=input_order)
    with torch.no_grad():
        return _network(backbone_path, pred.device)(pred, reference).item()


@cache
def _network(backbone_path: str | None, device: torch.device) -> nn.Module:
    return build_dists(backbone_path).to(device)


def build_dists(backbone_path: str | Path | None = None) -> nn.Module:
    """Build the frozen network of ``dists-pytorch``, with VGG16 from a local file or torchvision's download.

    The package's constructor always downloads VGG16, so the network is assembled here instead. Its forward pass takes
    two batches (n, 3, h, w), RGB, 0..1. Draws no random numbers and prints nothing.

    Raises:
        UserError: the package is not installed, or the backbone is missing or of another network.
    """
    dists = package()
    features = backbone.load_features(ARCH, backbone_path, 'backbone_path')
    model: Any = dists.DISTS.__new__(dists.DISTS)
    nn.Module.__init__(model)
    for number, (first, end) in enumerate(STAGES, 1):
        pooling = [dists.L2pooling(channels=features[first].in_channels)] if first else []
        setattr(model, f'stage{number}', nn.Sequential(*pooling, *features[first:end]))
    for name, values in (('mean', (0.485, 0.456, 0.406)), ('std', (0.229, 0.224, 0.225))):  # ImageNet's
        model.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))
    weights = torch.load(Path(dists.__file__).with_name('weights.pt'), map_location='cpu', weights_only=True)
    for name in ('alpha', 'beta'):  # weights of structure and texture, for each channel of the image and of the stages
        model.register_buffer(name, weights[name])
    model.chns = [3, *(features[end - 2].out_channels for _, end in STAGES)]
    frozen: nn.Module = backbone.freeze(model)
    return frozen


def package() -> Any:
    """Import the module of ``dists-pytorch`` with the network.

    Raises:
        UserError: the package is not installed.
    """
    try:
        from DISTS_pytorch import DISTS_pt
    except ImportError as error:
        raise UserError(f'DISTS needs the package dists-pytorch ({error}); {INSTALL}') from error
    return DISTS_pt
