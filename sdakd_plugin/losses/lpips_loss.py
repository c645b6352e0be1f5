"""LPIPS (Zhang et al., CVPR 2018) as a loss: the ``lpips`` package, frozen, with a local backbone file as an option."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import nn

from sdakd_plugin.errors import UserError, nearest
from sdakd_plugin.losses.backbone import FrozenLoss, freeze, load_features

BACKBONES = {'alex': 'alexnet', 'vgg': 'vgg16', 'squeeze': 'squeezenet1_1'}  # lpips' and torchvision's names
MIN_SIZE = {'alex': 31, 'vgg': 16, 'squeeze': 17}  # pixels; below, a pooling has nothing left
TARGETS = ('teacher', 'gt', 'both')


@LOSS_REGISTRY.register()
class LPIPSLoss(FrozenLoss):
    """``loss_weight * mean_n LPIPS(pred_n, reference_n)``, the ``L_lpips`` of Hussain, Shin and Cho's distillation.

    Their text compares the student with teacher and ground truth, their equation 8 with the ground truth only: hence
    ``target``. It is only stored; the caller chooses the reference by it.

    Args:
        net: backbone, ``'alex'``, ``'vgg'`` or ``'squeeze'``.
        target: what the student is compared with, ``'teacher'``, ``'gt'`` or ``'both'``.
        backbone_path: torchvision's weights of the backbone, whole or features only; None: torchvision downloads.
        loss_weight: factor, at least 0; the paper's is 1e-6.
        max_shift: cut up to so many rows and columns off the upper left of both images, drawn anew each time (on the
            CPU, from torch's generator). AlexNet's first convolution has a stride of 4: of an x4 generator it sees the
            same pixels of each 4x4 square that a pixel shuffle makes, and what it does not see becomes a grid in flat
            areas. 3 prevents that. 0, the paper's, for images as they are.

    Raises:
        UserError: for an unknown ``net`` or ``target``, a negative ``max_shift``, or a backbone file that is missing or
            of another network.
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
        """Compare images ``(n, 3, h, w)``, RGB, 0..1; a scalar whose gradient reaches ``pred`` only."""
        self.check_images(pred, reference, self.min_size + self.max_shift)
        if self.max_shift:
            top, left = torch.randint(self.max_shift + 1, (2,)).tolist()  # on the CPU: nothing waits for the device
            pred, reference = pred[..., top:, left:], reference[..., top:, left:]
        return self.loss_weight * self.model(pred, reference.detach(), normalize=True).mean()


def build_lpips(net: str = 'alex', backbone_path: str | Path | None = None) -> nn.Module:
    """``lpips.LPIPS(net=net)`` in version 0.1, its backbone from a local file or torchvision's download.

    Draws no random numbers and prints nothing.

    Raises:
        UserError: see ``LPIPSLoss``.
    """
    if net not in BACKBONES:
        raise UserError(f'LPIPS: no net {net!r}{nearest(net, BACKBONES)}')
    features = load_features(BACKBONES[net], backbone_path, 'backbone_path')
    import lpips  # here, because it brings scikit-image and more into every process that imports basicsr

    with torch.device('meta'), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # lpips calls torchvision by a deprecated argument
        model = lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False)
    heads = Path(lpips.__file__).parent / 'weights' / 'v0.1' / f'{net}.pth'
    model.load_state_dict(torch.load(heads, map_location='cpu', weights_only=True), strict=False, assign=True)
    model.scaling_layer = lpips.ScalingLayer()
    for part in model.net.children():  # lpips cuts torchvision's features into slices and keeps their numbers as names
        for name in dict(part.named_children()):
            setattr(part, name, features[int(name)])
    return model.requires_grad_(False).eval()
