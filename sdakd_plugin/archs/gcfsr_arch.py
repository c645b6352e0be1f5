"""The GCFSR networks (He et al., "GCFSR: a Generative and Controllable Face Super Resolution Method Without Facial and
GAN Priors", CVPR 2022), built from BasicSR's StyleGAN2 layers (Karras et al., CVPR 2020).

An encoder turns the face into the latent codes of a StyleGAN2 decoder that starts at 16x16, and passes its features at
every resolution to the decoder. The condition, which is the scale, weights the decoder's output against those features.
Keys and shapes match the authors' released weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import inf

import torch
from basicsr.archs.stylegan2_arch import ConvLayer, EqualConv2d, EqualLinear, ResBlock, StyleConv, ToRGB
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from sdakd_plugin.archs.stylegan2_native import ActivatedLinear, to_native
from sdakd_plugin.errors import UserError

SIZES = (32, 64, 128, 256, 512, 1024)  # the decoder starts at 16x16 and has at least one more level
NOISE_TILING = 4  # the stored noise starts at 4x4, the features at 16x16


@ARCH_REGISTRY.register()
class GCFSR(nn.Module):
    """GCFSR's generator: ``(b, 3, out_size, out_size)`` to the same, images -1..1.

    The input is the low-resolution face, resized bicubically to ``out_size`` by the caller. Layers for feature
    alignment: ``conv_body_down.i`` and ``final_conv`` in the encoder, ``style_convs.j`` and ``to_rgbs.j`` in the
    decoder.

    Args:
        out_size: height and width of input and output in pixels: 32, 64, 128, 256, 512 or 1024.
        num_style_feat: length of a latent code.
        channel_multiplier: factor on the channels from 64x64 on.
        resample_kernel: the FIR filter of up- and down-sampling, along one axis.
        narrow: factor on all channels; latent codes keep their length.

    Raises:
        UserError: an argument is invalid.
    """

    latent_divisor = 2  # of the channels that are flattened into the latent codes

    def __init__(
        self,
        out_size: int,
        num_style_feat: int = 512,
        channel_multiplier: float = 2,
        resample_kernel: Sequence[float] = (1, 3, 3, 1),
        narrow: float = 1,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        channels = _channels(name, out_size, channel_multiplier, narrow)
        _check_kernel(name, resample_kernel)
        if isinstance(num_style_feat, bool) or not isinstance(num_style_feat, int) or num_style_feat < 1:
            raise UserError(f'{name}: num_style_feat must be a whole number above 0, not {num_style_feat!r}')
        widths = [count for size, count in channels.items() if size >= 16]  # from low to high resolution
        self.out_size = out_size
        self.num_style_feat = num_style_feat
        self.num_layers = 2 * len(widths) - 1  # style convolutions
        self.num_latent = self.num_layers + 1  # one for each, and one for the last to_rgb
        self._make_encoder(widths[::-1], channels[4], resample_kernel)
        self._make_conditions(widths[::-1])
        self._make_decoder(widths, resample_kernel)
        to_native(self)

    def _make_encoder(self, widths: list[int], last: int, resample_kernel: Sequence[float]) -> None:
        """``widths`` from high to low resolution."""

        def down(num_in: int, num_out: int) -> ConvLayer:
            return ConvLayer(num_in, num_out, 3, downsample=True, resample_kernel=resample_kernel)

        flat = last // self.latent_divisor
        self.conv_body_first = ConvLayer(3, widths[0], 3)
        self.conv_body_down = nn.ModuleList(down(before, after) for before, after in pairwise(widths))
        self.final_conv = ConvLayer(widths[-1], last, 3)
        self.final_down1 = down(last, last)
        self.final_down2 = down(last, flat)
        self.final_linear = ActivatedLinear(flat * 4 * 4, self.num_style_feat * self.num_latent)

    def _make_conditions(self, widths: list[int]) -> None:
        """``widths`` from high to low resolution."""
        self.condition_scale1 = nn.ModuleList(EqualLinear(1, width, bias_init_val=1) for width in widths)
        self.condition_scale2 = nn.ModuleList(EqualLinear(1, width, bias_init_val=1) for width in widths)
        self.condition_shift = nn.ModuleList(nn.Sequential(EqualConv2d(width, width, 3, padding=1)) for width in widths)

    def _make_decoder(self, widths: list[int], resample_kernel: Sequence[float]) -> None:
        """``widths`` from low to high resolution."""
        style = self.num_style_feat
        self.style_conv1 = ConditionedStyleConv(widths[0], widths[0], 3, style)
        self.to_rgb1 = ToRGB(widths[0], style, upsample=False)
        self.style_convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        for before, after in pairwise(widths):
            self.style_convs.append(
                StyleConv(before, after, 3, style, sample_mode='upsample', resample_kernel=resample_kernel)
            )
            self.style_convs.append(ConditionedStyleConv(after, after, 3, style))
            self.to_rgbs.append(ToRGB(after, style, resample_kernel=resample_kernel))
        self.noises = nn.Module()
        for index in range(self.num_layers):
            size = 2 ** ((index + 5) // 2)
            self.noises.register_buffer(f'noise{index}', torch.randn(1, 1, size, size))

    def forward(
        self,
        x: Tensor,
        in_size: Tensor | None = None,
        noise: Sequence[Tensor | None] | None = None,
        randomize_noise: bool = True,
        return_latents: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the image ``(b, 3, out_size, out_size)`` and, on request, the latents ``(b, num_latent, s)``.

        Args:
            x: image, ``(b, 3, out_size, out_size)``, -1..1.
            in_size: condition, ``(b, 1)``: the scale (``out_size`` over the size before resizing) divided by the
                largest scale of the training, 64 at 1024 pixels and 32 at 512.
            noise: one tensor ``(b or 1, 1, h, w)`` per style convolution; ``None`` among them means random noise.
            randomize_noise: without ``noise``, draw it at random; otherwise use the stored noise, for reproducible
                results.
            return_latents: whether to return the latents; otherwise the second element is ``None``.

        Raises:
            UserError: the image has the wrong size, the condition is missing or has the wrong shape, or the number of
                noise tensors is wrong.
        """
        _check_image(self, x)
        batch = x.shape[0]
        if in_size is None or in_size.shape != (batch, 1):
            given = 'none' if in_size is None else f'one of shape {tuple(in_size.shape)}'
            raise UserError(
                f'{type(self).__name__} needs a condition in_size of shape ({batch}, 1), the scale divided '
                f'by the largest scale of the training, but got {given}'
            )
        noises = self._noises(noise, randomize_noise)
        features = self.encode(x)
        latent = self.final_linear(self.final_down2(self.final_down1(features[0])).flatten(1))
        latent = latent.view(-1, self.num_latent, self.num_style_feat)
        image = self.decode(self.final_conv(features[0]), features, latent, in_size, noises)
        return image, latent if return_latents else None

    def encode(self, x: Tensor) -> list[Tensor]:
        """The features of the image at every resolution, from 16x16 to ``out_size``."""
        features = [self.conv_body_first(x)]
        for down in self.conv_body_down:
            features.append(down(features[-1]))
        return features[::-1]

    def decode(
        self, feat: Tensor, features: list[Tensor], latent: Tensor, in_size: Tensor, noises: Sequence[Tensor | None]
    ) -> Tensor:
        """Generate the image from ``feat`` at 16x16, guided by ``features`` from 16x16 to ``out_size``."""
        conditions = (  # from low to high resolution, each made when it is needed
            (scale1(in_size), scale2(in_size), shift(feature))
            for scale1, scale2, shift, feature in zip(
                self.condition_scale1[::-1],
                self.condition_scale2[::-1],
                self.condition_shift[::-1],
                features,
                strict=True,
            )
        )
        out = self.style_conv1(feat, latent[:, 0], *next(conditions), noise=noises[0])
        image = self.to_rgb1(out, latent[:, 1])
        for level, to_rgb in enumerate(self.to_rgbs):
            first = 2 * level + 1  # the latent of to_rgb is that of the next level's first convolution
            out = self.style_convs[first - 1](out, latent[:, first], noise=noises[first])
            out = self.style_convs[first](out, latent[:, first + 1], *next(conditions), noise=noises[first + 1])
            image = to_rgb(out, latent[:, first + 2], image)
        return image

    def _noises(self, noise: Sequence[Tensor | None] | None, randomize: bool) -> Sequence[Tensor | None]:
        """One tensor per style convolution; stored noise is tiled to the size of the features, which keeps it white."""
        if noise is None and randomize:
            return [None] * self.num_layers
        if noise is None:
            return [stored.repeat(1, 1, NOISE_TILING, NOISE_TILING) for stored in self.noises.buffers()]
        if len(noise) != self.num_layers:
            raise UserError(
                f'{type(self).__name__}: noise must have {self.num_layers} entries, one per style '
                f'convolution, not {len(noise)}'
            )
        return noise


@ARCH_REGISTRY.register()
class GCFSRBlind(GCFSR):
    """GCFSR's generator for faces of unknown scale: the condition is fixed at 1 and cannot be set."""

    latent_divisor = 1

    def forward(
        self,
        x: Tensor,
        in_size: Tensor | None = None,
        noise: Sequence[Tensor | None] | None = None,
        randomize_noise: bool = True,
        return_latents: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """See ``GCFSR.forward``; ``in_size`` must be ``None``."""
        if in_size is not None:
            raise UserError('GCFSRBlind has no condition in_size: it is fixed at 1; use GCFSR to set a scale')
        return super().forward(x, x.new_ones(x.shape[0], 1), noise, randomize_noise, return_latents)


class ConditionedStyleConv(StyleConv):
    """StyleGAN2's convolution plus weighted features of the encoder (GCFSR's scale and shift).

    Computes ``act(out * s1 + shift * s2)``, where ``(s1, s2)`` of every channel has length 1.
    """

    def forward(
        self, x: Tensor, style: Tensor, scale1: Tensor, scale2: Tensor, shift: Tensor, noise: Tensor | None = None
    ) -> Tensor:
        """``x`` and ``shift``: ``(b, c, h, w)``, ``style``: ``(b, s)``, scales: ``(b, c)``."""
        out = self.modulated_conv(x, style)
        if noise is None:
            noise = torch.randn_like(out[:, :1])
        out = out + self.weight * noise
        length = torch.sqrt(scale1**2 + scale2**2 + 1e-8)
        out = out * (scale1 / length)[:, :, None, None] + shift * (scale2 / length)[:, :, None, None]
        return self.activate(out)


@ARCH_REGISTRY.register()
class GCFSRDiscriminator(nn.Module):
    """StyleGAN2's discriminator without the minibatch standard deviation.

    It maps images ``(b, 3, out_size, out_size)``, -1..1, to logits ``(b, 1)``. Each logit depends only on its image.

    Args:
        out_size: height and width of the image in pixels: 32, 64, 128, 256, 512 or 1024.
        channel_multiplier: factor on the channels from 64x64 on.
        resample_kernel: the FIR filter of down-sampling, along one axis.
        narrow: factor on all channels.

    Raises:
        UserError: an argument is invalid, or the images have another size than ``out_size``.
    """

    def __init__(
        self,
        out_size: int,
        channel_multiplier: float = 2,
        resample_kernel: Sequence[float] = (1, 3, 3, 1),
        narrow: float = 1,
    ) -> None:
        super().__init__()
        channels = _channels(type(self).__name__, out_size, channel_multiplier, narrow)
        _check_kernel(type(self).__name__, resample_kernel)
        widths = list(channels.values())[::-1]
        self.out_size = out_size
        self.conv_body = nn.Sequential(
            ConvLayer(3, widths[0], 1),
            *(ResBlock(before, after, resample_kernel) for before, after in pairwise(widths)),
        )
        self.final_conv = ConvLayer(channels[4], channels[4], 3)
        self.final_linear = nn.Sequential(
            ActivatedLinear(channels[4] * 4 * 4, channels[4]), EqualLinear(channels[4], 1)
        )
        to_native(self)

    def forward(self, x: Tensor) -> Tensor:
        _check_image(self, x)
        return self.final_linear(self.final_conv(self.conv_body(x)).flatten(1))


def _channels(network: str, out_size: int, multiplier: float, narrow: float) -> dict[int, int]:
    """StyleGAN2's channels at each resolution from 4 to ``out_size``; from 64 on, each level has half as many.

    Raises:
        UserError: an option is out of range.
    """
    if out_size not in SIZES:
        raise UserError(f'{network}: out_size must be one of {", ".join(map(str, SIZES))}, not {out_size!r}')
    for option, value in (('channel_multiplier', multiplier), ('narrow', narrow)):
        if not _is_number(value) or not 0 < value < inf:
            raise UserError(f'{network}: {option} must be a number above 0, not {value!r}')
    channels = {
        size: int(512 * narrow) if size < 64 else int(2**14 // size * multiplier * narrow)
        for size in (4, 8, 16, *SIZES)
        if size <= out_size
    }
    least = min(channels, key=lambda size: channels[size])
    if channels[least] < 2:  # half of the channels at 4x4 become latent codes
        raise UserError(
            f'{network}: narrow {narrow} is too small: it leaves {channels[least]} of the channels at '
            f'{least}x{least}, but at least 2 are required'
        )
    return channels


def _check_kernel(network: str, kernel: Sequence[float]) -> None:
    if not isinstance(kernel, (list, tuple)) or not all(map(_is_number, kernel)) or not 0 < sum(kernel) < inf:
        raise UserError(f'{network}: resample_kernel must be a list of numbers with a sum above 0, not {kernel!r}')


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_image(network: GCFSR | GCFSRDiscriminator, x: Tensor) -> None:
    size = network.out_size
    if x.dim() != 4 or x.shape[1:] != (3, size, size):
        raise UserError(
            f'{type(network).__name__}: expected images of shape (b, 3, {size}, {size}), but got '
            f'{tuple(x.shape)}; resize them bicubically to out_size first'
        )
