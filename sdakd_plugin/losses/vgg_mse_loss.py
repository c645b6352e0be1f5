"""SRGAN's content loss: the mean squared error of VGG features (Ledig et al., CVPR 2017, equation 5)."""

from __future__ import annotations

import os

import torch
from basicsr.archs.vgg_arch import NAMES, VGG_PRETRAIN_PATH, insert_bn
from basicsr.utils.registry import LOSS_REGISTRY
from torch.nn import functional as F

from sdakd_plugin.errors import UserError, nearest
from sdakd_plugin.losses.backbone import FrozenLoss, freeze, load_features


@LOSS_REGISTRY.register()
class VGGMSELoss(FrozenLoss):
    """``loss_weight * mean((phi(pred) - phi(reference))^2)``, where phi is one layer of an ImageNet VGG.

    BasicSR's ``VGGFeatureExtractor`` computes the same features, but requires the whole torchvision file at a fixed
    path or a download. Only its table of layer names is used here.

    Args:
        layer: BasicSR's name of the layer. ``conv5_4`` is before the activation, as in ESRGAN and BasicSR; SRGAN's
            text uses ``relu5_4``, after the activation.
        vgg_type: ``vgg11``, ``vgg13``, ``vgg16`` or ``vgg19``, each also with ``_bn``.
        use_input_norm: normalise images in 0..1 with ImageNet's mean and standard deviation, as in VGG's training.
        range_norm: whether images are in -1..1; they are first converted to 0..1.
        vgg_path: torchvision's weights, whole or features only, in any float precision. By default BasicSR's
            ``experiments/pretrained_models/vgg19-dcbb9e9d.pth`` if it exists (VGG19), otherwise a download.
        loss_weight: factor, at least 0; 6e-3 in SRGAN and LPIPS distillation, which corresponds to the scaling of the
            features by 1 / 12.75 in SRGAN's text.

    Raises:
        UserError: unknown layer or VGG, or a weight file that is missing or of another network.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        layer: str = 'conv5_4',
        vgg_type: str = 'vgg19',
        use_input_norm: bool = True,
        range_norm: bool = False,
        vgg_path: str | None = None,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(loss_weight)
        types = {**NAMES, **{f'{name}_bn': insert_bn(layers) for name, layers in NAMES.items()}}
        if vgg_type not in types:
            raise UserError(f'VGGMSELoss: no vgg_type {vgg_type!r}{nearest(vgg_type, types)}')
        if layer not in types[vgg_type]:
            raise UserError(f'VGGMSELoss: {vgg_type} has no layer {layer!r}{nearest(layer, types[vgg_type])}')
        if vgg_path is None and vgg_type == 'vgg19' and os.path.isfile(VGG_PRETRAIN_PATH):
            vgg_path = VGG_PRETRAIN_PATH
        depth = types[vgg_type].index(layer) + 1
        self.features = freeze(load_features(vgg_type, vgg_path, 'vgg_path')[:depth])
        self.min_size = 2 ** sum(name.startswith('pool') for name in types[vgg_type][:depth])
        self.use_input_norm = use_input_norm
        self.range_norm = range_norm
        self.register_buffer('mean', torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1), persistent=False)

    def forward(self, pred: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        """Compare images ``(n, 3, h, w)``, RGB; returns a scalar. Only ``pred`` receives a gradient."""
        self.check_images(pred, reference, self.min_size)
        with torch.no_grad():
            wanted = self._extract(reference)
        return self.loss_weight * F.mse_loss(self._extract(pred), wanted)

    def _extract(self, images: torch.Tensor) -> torch.Tensor:
        if self.range_norm:
            images = (images + 1) / 2
        if self.use_input_norm:
            images = (images - self.mean) / self.std
        return self.features(images)
