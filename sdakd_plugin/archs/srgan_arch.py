"""The SRGAN networks (Ledig et al., CVPR 2017, figure 4): SRResNet with BatchNorm, and the VGG-style discriminator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from basicsr.archs.arch_util import make_layer
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from sdakd_plugin.errors import UserError, nearest

UPSAMPLING = {2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}  # factors of the pixel shuffles for each scale
FUSIONS: dict[str, Callable[[int], nn.Module]] = {'bn': nn.BatchNorm2d, 'prelu': lambda num_feat: nn.PReLU()}
OUTPUTS = ('linear', 'tanh')


@ARCH_REGISTRY.register()
class SRGANGenerator(nn.Module):
    """SRResNet: ``(n, num_in_ch, h, w)`` to ``(n, num_out_ch, h * upscale, w * upscale)``, images 0..1.

    The default layout is that of the paper (figure 4). Its authors trained with ground truth in -1..1. Here, as
    everywhere in BasicSR, images are in 0..1 and the last convolution has no activation, so that nothing needs to be
    rescaled around the network.

    Args:
        num_in_ch, num_out_ch: channels of the input and the output image.
        num_feat: number of feature channels. Each PReLU has one shared slope, as in common implementations.
        num_block: residual blocks; 16 in the paper.
        upscale: 2, 3, 4 or 8.
        fusion: layer after the convolution that follows the blocks, before the long skip: ``'bn'`` (paper) or
            ``'prelu'``.
        output: ``'linear'`` (any value) or ``'tanh'``, which is ``(tanh(y) + 1) / 2`` and stays in 0..1.
            ``fusion='prelu', output='tanh'`` match leftthomas/SRGAN's weights, see ``weights/key_maps.py``.

    Raises:
        UserError: an argument is invalid.
    """

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_block: int = 16,
        upscale: int = 4,
        fusion: str = 'bn',
        output: str = 'linear',
    ) -> None:
        super().__init__()
        _check_at_least(1, num_in_ch=num_in_ch, num_out_ch=num_out_ch, num_feat=num_feat, num_block=num_block)
        for option, value, choices in (
            ('upscale', upscale, UPSAMPLING),
            ('fusion', fusion, FUSIONS),
            ('output', output, OUTPUTS),
        ):
            if value not in choices:
                raise UserError(f'SRGANGenerator: no {option} {value!r}{nearest(value, map(str, choices))}')
        self.upscale = upscale
        self.output = output
        self.conv_first = nn.Conv2d(num_in_ch, num_feat, 9, 1, 4)
        self.act_first = nn.PReLU()
        self.body = make_layer(ResidualBlock, num_block, num_feat=num_feat)
        self.conv_body = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.fuse = FUSIONS[fusion](num_feat)
        self.upsample = nn.Sequential(*(UpsampleBlock(num_feat, factor) for factor in UPSAMPLING[upscale]))
        self.conv_last = nn.Conv2d(num_feat, num_out_ch, 9, 1, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        feat = self.act_first(self.conv_first(x))
        feat = feat + self.fuse(self.conv_body(self.body(feat)))
        out = self.conv_last(self.upsample(feat))
        return (torch.tanh(out) + 1) / 2 if self.output == 'tanh' else out


class ResidualBlock(nn.Module):
    """A residual block, ``x + BN(conv(PReLU(BN(conv(x)))))``; keeps the shape."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.bn1 = nn.BatchNorm2d(num_feat)
        self.act = nn.PReLU()
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.bn2 = nn.BatchNorm2d(num_feat)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.bn2(self.conv2(self.act(self.bn1(self.conv1(x)))))


class UpsampleBlock(nn.Sequential):
    """Sub-pixel upsampling: ``(n, num_feat, h, w)`` to ``(n, num_feat, h * factor, w * factor)``."""

    def __init__(self, num_feat: int, factor: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_feat, num_feat * factor**2, 3, 1, 1)
        self.shuffle = nn.PixelShuffle(factor)
        self.act = nn.PReLU()


@ARCH_REGISTRY.register()
class SRGANDiscriminator(nn.Module):
    """VGG-style discriminator: ``(n, num_in_ch, input_size, input_size)``, images 0..1, to logits ``(n, 1)``.

    The layers for ``num_feat=64`` are those of the paper: 64-64s2-128-128s2-256-256s2-512-512s2, dense 1024, dense 1.
    All widths scale with ``num_feat``; the dense layer has ``16 * num_feat`` units. The paper's final sigmoid is part
    of the loss (``BCEWithLogits``, BasicSR's ``vanilla``).

    Args:
        num_in_ch: channels of the image.
        num_feat: number of feature channels of the first layer.
        input_size: height and width of the crops in pixels, the ``gt_size`` of the training; at least 16.

    Raises:
        UserError: an argument is invalid, or the images have another size than ``input_size``.
    """

    def __init__(self, num_in_ch: int = 3, num_feat: int = 64, input_size: int = 96) -> None:
        super().__init__()
        _check_at_least(1, num_in_ch=num_in_ch, num_feat=num_feat)
        _check_at_least(16, input_size=input_size)  # four halvings
        self.input_size = input_size
        widths = [num_feat * factor for factor in (1, 1, 2, 2, 4, 4, 8, 8)]
        self.features = nn.Sequential(
            *(
                conv_block(before, after, stride=1 + index % 2, norm=index > 0)
                for index, (before, after) in enumerate(zip([num_in_ch] + widths, widths, strict=False))
            )
        )
        side = -(-input_size // 16)  # a padded 3x3 convolution of stride 2 leaves half the pixels, rounded up
        self.classifier = nn.Sequential(
            nn.Linear(8 * num_feat * side**2, 16 * num_feat), nn.LeakyReLU(0.2), nn.Linear(16 * num_feat, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        if height != self.input_size or width != self.input_size:
            raise UserError(
                f'SRGANDiscriminator: input_size is {self.input_size}, but the images are {height}x{width}'
                '; set input_size to the gt_size of the data set'
            )
        return self.classifier(self.features(x).flatten(1))


def conv_block(num_in: int, num_out: int, stride: int, norm: bool) -> nn.Sequential:
    """3x3 convolution, BatchNorm if ``norm`` (which makes a bias redundant), LeakyReLU.

    The activation is not in place, so that features tapped before it do not change.
    """
    layers: list[nn.Module] = [nn.Conv2d(num_in, num_out, 3, stride, 1, bias=not norm)]
    if norm:
        layers.append(nn.BatchNorm2d(num_out))
    return nn.Sequential(*layers, nn.LeakyReLU(0.2))


def _check_at_least(least: int, **options: object) -> None:
    for name, value in options.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UserError(f'{name} must be a whole number of at least {least}, not {value!r}')
