"""LPIPS (Zhang et al., CVPR 2018) as a loss: the network of the ``lpips`` package, frozen."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import nn

from sdakd_plugin.errors import UserError, nearest
from sdakd_plugin.losses.backbone import FrozenLoss, freeze, load_features

BACKBONES = {'alex': 'alexnet', 'vgg': 'vgg16', 'squeeze': 'squeezenet1_1'}  # lpips' and torchvision's names
MIN_SIZE = {'alex': 31, 'vgg': 16, 'squeeze': 17}  # pixels; a pooling layer needs at least one
TARGETS = ('teacher', 'gt', 'both')


@LOSS_REGISTRY.register()
class LPIPSLoss(FrozenLoss):
    """``loss_weight * mean_n LPIPS(pred_n, reference_n)``, the ``L_lpips`` of Hussain, Shin and Cho's distillation.

    Their text compares the student with teacher and ground truth, but their equation 8 only with the ground truth, so
    ``target`` is an option. It is only stored; the caller selects the reference.

    Args:
        net: backbone, ``'alex'``, ``'vgg'`` or ``'squeeze'``.
        target: what the student is compared with, ``'teacher'``, ``'gt'`` or ``'both'``.
        backbone_path: torchvision's weights of the backbone, whole or features only; ``None`` downloads them.
        loss_weight: factor, at least 0; 1e-6 in the paper.
        max_shift: crop a random number of rows and columns, up to this many, from the top and left of both images
            (drawn on the CPU, from torch's generator). AlexNet's first convolution has a stride of 4. In the output of
            an x4 generator it always sees the same pixels of each 4x4 square from the pixel shuffle; the others form
            a grid in flat areas. 3 prevents that; 0 is the paper's setting.

    Raises:
        UserError: unknown ``net`` or ``target``, negative ``max_shift``, or a backbone file that is missing or of
            another network.
    """

    def __init__(
        self,
        net: str = 'alex',
        target: str = 'teacher',
        backbone_path: str | None = None,
        loss_weight: float = 1.0,
        max_shift: int = 0,
    ) -> None:
        super().__init__(loss_weight)
        if not isinstance(max_shift, int) or max_shift < 0:
            raise UserError(f'LPIPSLoss: max_shift must be a number of pixels, 0 or more, not {max_shift!r}')
        self.max_shift = max_shift
        if target not in TARGETS:
            raise UserError(f'LPIPSLoss: no target {target!r}{nearest(target, TARGETS)}')
        self.target = target
        self.model = freeze(build_lpips(net, backbone_path))
        self.min_size = MIN_SIZE[net]

    def forward(self, pred: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        """Compare images ``(n, 3, h, w)``, RGB, 0..1; returns a scalar. Only ``pred`` receives a gradient."""
        self.check_images(pred, reference, self.min_size + self.max_shift)
        if self.max_shift:
            top, left = torch.randint(
                self.max_shift + 1, (2,)
            ).tolist()  # on the CPU, so that nothing waits for the device
            pred, reference = pred[..., top:, left:], reference[..., top:, left:]
        return self.loss_weight * self.model(pred, reference.detach(), normalize=True).mean()


def build_lpips(net: str = 'alex', backbone_path: str | Path | None = None) -> nn.Module:
    """Build ``lpips.LPIPS(net=net)``, version 0.1, with the backbone from a local file or torchvision's download.

    Draws no random numbers and prints nothing.

    Raises:
        UserError: see ``LPIPSLoss``.
    """
    if net not in BACKBONES:
        raise UserError(f'LPIPS: no net {net!r}{nearest(net, BACKBONES)}')
    features = load_features(BACKBONES[net], backbone_path, 'backbone_path')
    import lpips  # here, because it imports scikit-image and more, which not every use of basicsr needs

    with torch.device('meta'), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # lpips calls torchvision with a deprecated argument
        model = lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False)
    heads = Path(lpips.__file__).parent / 'weights' / 'v0.1' / f'{net}.pth'
    model.load_state_dict(torch.load(heads, map_location='cpu', weights_only=True), strict=False, assign=True)
    model.scaling_layer = lpips.ScalingLayer()
    for part in model.net.children():  # lpips slices torchvision's features and keeps their indices as names
        for name in dict(part.named_children()):
            setattr(part, name, features[int(name)])
    return model.requires_grad_(False).eval()
