"""How far an int8 network's images are from the float network's, and from the ground truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from basicsr.metrics.psnr_ssim import calculate_psnr_pt
from torch import Tensor, nn

from sdakd_plugin.export.calibration import Sample
from sdakd_plugin.export.limits import Limits

Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Fidelity:
    """Means over the images, PSNR in dB.

    Attributes: psnr (between both networks' images, RGB), lowest (of one image), largest (difference of a value, range
    0..1), of_float and of_int8 (PSNR to the ground truth on luma without the border, as in ``sdakd compare``), lpips
    (between both networks' images, float's and int8's to the ground truth) or ``None``.
    """

    limits: Limits
    psnr: float
    lowest: float
    largest: float
    of_float: float
    of_int8: float
    lpips: tuple[float, float, float] | None = None

    @property
    def loss(self) -> float:
        """How much PSNR to the ground truth int8 costs, in dB."""
        return self.of_float - self.of_int8

    @property
    def good(self) -> bool:
        """Whether both limits are kept."""
        return self.loss <= self.limits.max_loss and self.psnr >= self.limits.min_fidelity


class Judge:
    """Compares int8 networks with a float one, whose images are made once.

    Args:
        samples: images, of which some have a ground truth.
        float_net: images (1, c, h, w) to enlarged ones.
        scale: of the network.
        limits: see ``Limits``.
        lpips: a network that compares two images of range 0..1, or ``None``.
    """

    def __init__(
        self, samples: Sequence[Sample], float_net: Run, scale: int, limits: Limits, lpips: nn.Module | None = None
    ) -> None:
        self._samples, self._scale, self._limits, self._lpips = samples, scale, limits, lpips
        self._references = [float_net(sample.lq).clamp(0, 1) for sample in samples]

    @torch.no_grad()
    def fidelity(self, int8_net: Run) -> Fidelity:
        """Compare."""
        images = [int8_net(sample.lq).clamp(0, 1) for sample in self._samples]
        between = [psnr(image, reference) for image, reference in zip(images, self._references, strict=True)]
        with_gt = [
            (reference, image, sample.gt)
            for reference, image, sample in zip(self._references, images, self._samples, strict=True)
            if sample.gt is not None
        ]
        lpips = None
        if self._lpips is not None:
            lpips = (
                _mean(self._distance(a, b) for a, b in zip(images, self._references, strict=True)),
                _mean(self._distance(reference, gt) for reference, _, gt in with_gt),
                _mean(self._distance(image, gt) for _, image, gt in with_gt),
            )
        return Fidelity(
            self._limits,
            _mean(between),
            min(between),
            max((a - b).abs().max().item() for a, b in zip(images, self._references, strict=True)),
            _mean(self._quality(reference, gt) for reference, _, gt in with_gt),
            _mean(self._quality(image, gt) for _, image, gt in with_gt),
            lpips,
        )

    def _quality(self, image: Tensor, gt: Tensor) -> float:
        return calculate_psnr_pt(image, gt, self._scale, test_y_channel=image.shape[1] == 3).item()

    def _distance(self, image: Tensor, reference: Tensor) -> float:
        assert self._lpips is not None
        return self._lpips(*(one.expand(-1, 3, -1, -1) for one in (image, reference))).item()


def psnr(image: Tensor, reference: Tensor) -> float:
    """PSNR in dB of images of range 0..1; equal ones have 80."""
    return calculate_psnr_pt(image.clamp(0, 1), reference.clamp(0, 1), 0).item()


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)
