"""Compares models on a folder of images: the work of ``sdakd compare``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from basicsr.utils import img2tensor, tensor2img

from sdakd_plugin.errors import UserError
from sdakd_plugin.evaluation import cost, quality
from sdakd_plugin.evaluation.challenge_score import challenge_score
from sdakd_plugin.evaluation.pairs import Pair, read_pair
from sdakd_plugin.evaluation.table import Row
from sdakd_plugin.inference.model import Model
from sdakd_plugin.inference.upscaler import Upscaler

BICUBIC = 'bicubic'
RESERVED = (BICUBIC, 'GT', 'LQ')  # columns that are always there
SCORE = 'score'
COST_SIZE = 64  # pixels: the side of the LQ image for which work and time are given
Values = dict[str, float]
ImageMethod = Callable[[np.ndarray, quality.Size], np.ndarray]
"""Turns an LQ image (h, w, 3) into an SR image (H, W, 3), both uint8 BGR. The second argument is the size (H, W) of GT,
which a model does not need."""


@dataclass
class Comparison:
    """The results of a comparison.

    Attributes:
        scale: GT's size divided by LQ's; ``None`` where it differs between the images.
        metrics: BasicSR's ``val.metrics`` block; each metric has the additional key ``better``.
        costs: method -> ``parameters``, ``multiply_adds`` and ``seconds``; empty for bicubic.
        networks: method -> a description of its network.
        machine: where the seconds were measured.
        images: image name -> method -> the value of each metric.
        failed: image name -> the error message.
    """

    scale: int | None
    metrics: quality.Metrics
    costs: dict[str, Values]
    networks: dict[str, str]
    machine: str
    images: dict[str, dict[str, Values]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def mean(self) -> dict[str, Values]:
        """The mean of each metric over the images for which every method has one: NIQE is undefined for small ones."""
        means: dict[str, Values] = {method: {} for method in self.costs}
        for metric in self.metrics:
            whole = [
                values
                for values in self.images.values()
                if not any(np.isnan(values[method][metric]) for method in means)
            ]
            for method, found in means.items():
                found[metric] = float(np.mean([values[method][metric] for values in whole])) if whole else float('nan')
        return means

    def mean_with_score(self) -> dict[str, Values]:
        """The mean metrics, with the challenge's score where all its parts are known. Speed is relative to
        ``reference``."""
        found = self.mean()
        reference = self.reference()
        for method, values in found.items():
            seconds = self.costs[method].get('seconds')
            speedup = self.costs[reference]['seconds'] / seconds if reference and seconds else None
            score = challenge_score(values, speedup)
            if score is not None:
                values[SCORE] = score
        return found

    def reference(self) -> str | None:
        """The model that the score's speed is relative to: the first one whose time was measured."""
        return next((method for method, found in self.costs.items() if found.get('seconds')), None)

    def notes(self) -> str:
        """The text below the table."""
        scale = f', x{self.scale}' if self.scale else ''
        score = (
            (
                f" score: the NTIRE 2026 mobile challenge's, of the means, its speed-up that over {self.reference()} "
                'here.'
            )
            if any(SCORE in values for values in self.mean_with_score().values())
            else ''
        )
        images = f'{len(self.images)} image{"s" * (len(self.images) != 1)}'
        return (
            f'{images}{scale}. Multiply-adds and seconds are those of one LQ image of '
            f'{COST_SIZE}x{COST_SIZE}, on {self.machine}.{score}'
        )

    def rows(self) -> list[Row]:
        """A table with one row for each method: its mean metrics and its costs."""
        names = {'parameters': 'parameters', 'multiply_adds': 'multiply-adds', 'seconds': 's/pass'}
        return [
            {'method': method, **values, **{name: self.costs[method].get(key) for key, name in names.items()}}
            for method, values in self.mean_with_score().items()
        ]

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs and for the HTML page; values that are not finite are ``None``."""
        mean = self.mean_with_score()
        score = (
            {SCORE: {'better': 'higher', 'reference': self.reference()}}
            if any(SCORE in values for values in mean.values())
            else {}
        )
        return {
            'scale': self.scale,
            'cost_size': COST_SIZE,
            'machine': self.machine,
            'metrics': {name: dict(block) for name, block in self.metrics.items()} | score,
            'methods': {name: {'network': self.networks.get(name), **costs} for name, costs in self.costs.items()},
            'mean': {method: _finite(values) for method, values in mean.items()},
            'images': {
                name: {method: _finite(values) for method, values in found.items()}
                for name, found in self.images.items()
            },
            'failed': self.failed,
        }


def split_name(argument: str) -> tuple[str | None, str]:
    """The name and the source of ``NAME=SOURCE``; a file whose path contains ``=`` has no name.

    Raises:
        UserError: the name is empty or that of a column which is always there.
    """
    name, sign, source = argument.partition('=')
    if not sign or Path(argument).exists():
        return None, argument
    if not name or name in RESERVED:
        raise UserError(f'--model {argument}: {name!r} cannot be the name of a model; choose another one')
    return name, source


def name_models(sources: Sequence[tuple[str | None, str]], models: Sequence[Model]) -> dict[str, Model]:
    """Give each model a name.

    Args:
        sources: as the user named the models: a name, if there is one, and a weight file or known name.
        models: those that were loaded from them.

    Returns:
        The models by name: the given name, otherwise the known name or the stem of the file, or, where two are the
        same, the path as given.

    Raises:
        UserError: one name is given twice, or the scales differ.
    """
    short = [name or model.name for (name, _), model in zip(sources, models, strict=True)]
    names = [
        name if given or (short.count(name) == 1 and name not in RESERVED) else source
        for name, (given, source) in zip(short, sources, strict=True)
    ]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f'--model: {name} is given twice; NAME=FILE gives a model another name')
    found = dict(zip(names, models, strict=True))
    scales = {name: model.identity.scale for name, model in found.items() if model.identity.scale}
    if len(set(scales.values())) > 1:
        listed = ', '.join(f'{name} x{scale}' for name, scale in scales.items())
        raise UserError(
            f'--model: the models must have one scale, but have {listed}; compare the models of each scale separately'
        )
    return found


def common_scale(models: Iterable[Model]) -> int | None:
    """The scale of the models; ``None`` if all are GCFSR, whose output size is fixed instead."""
    return next((model.identity.scale for model in models if model.identity.scale), None)


def metrics(
    crop_border: int, backbone: str | None, vgg: str | None = None, iqa: Mapping[str, str] | None = None
) -> dict[str, dict[str, Any]]:
    """The metrics of a comparison: PSNR and SSIM on luma and NIQE, with the border cropped; if requested, LPIPS, DISTS
    and metrics of pyiqa on the whole image.

    Args:
        crop_border: pixels that are cropped from each edge.
        backbone: the file of LPIPS' AlexNet; ``None``: no LPIPS.
        vgg: the file of DISTS' VGG16; ``None``: no DISTS.
        iqa: name of pyiqa's metric -> ``'higher'`` or ``'lower'``, what is better; ``niqe`` replaces BasicSR's.
    """
    found = {name: {**block, 'better': 'higher'} for name, block in quality.default_metrics(crop_border).items()}
    if backbone is not None:
        found['lpips'] = {
            'type': 'calculate_lpips',
            'crop_border': 0,
            'net': 'alex',
            'backbone_path': backbone,
            'better': 'lower',
        }
    if vgg is not None:
        found['dists'] = {'type': 'calculate_dists', 'crop_border': 0, 'backbone_path': vgg, 'better': 'lower'}
    found['niqe'] = {'type': 'calculate_robust_niqe', 'crop_border': crop_border, 'better': 'lower'}
    return found | {
        name: {'type': 'calculate_iqa', 'metric': name, 'crop_border': 0, 'better': better}
        for name, better in (iqa or {}).items()
    }


def costs(models: Mapping[str, Model], device: torch.device, repeat: int = 3) -> dict[str, Values]:
    """Parameters, multiply-adds and median seconds of a forward pass at ``COST_SIZE``; empty for bicubic, seconds only
    for a file whose network is not known."""
    runners = {name: model.runner.to(device) for name, model in models.items()}
    times = cost.interleaved(runners, torch.rand(1, 3, COST_SIZE, COST_SIZE, device=device), repeat)
    found: dict[str, Values] = {BICUBIC: {}}
    for name, model in models.items():
        found[name] = {'seconds': median(times[name])}
        if next(model.net.parameters(), None) is not None:
            counted = cost.count(model.net, (3, COST_SIZE, COST_SIZE))
            found[name] |= {'parameters': counted.parameters, 'multiply_adds': counted.multiply_adds}
    return found


def methods_of(models: Mapping[str, Model], device: torch.device, tile: int = 0) -> dict[str, ImageMethod]:
    """Bicubic and the models, which enlarge images as ``sdakd upscale`` does."""
    return {BICUBIC: _bicubic, **{name: _upscale(Upscaler(model, device, tile)) for name, model in models.items()}}


def compare(
    pairs: Iterable[Pair],
    methods: Mapping[str, ImageMethod],
    comparison: Comparison,
    show: Callable[[str, dict[str, np.ndarray]], None],
    report_error: Callable[[str], None],
) -> None:
    """Run every method on every image, and add the results to a comparison. If an image fails, the next one follows.

    Args:
        pairs: the images.
        methods: by the names in the comparison's ``costs``.
        comparison: gets the values.
        show: called with an image's name and its pictures, (H, W, 3) uint8 BGR, by method, and ``'LQ'`` and ``'GT'``.
        report_error: called with a one-line message for each image that fails.
    """
    for pair in pairs:
        try:
            lq, gt = read_pair(pair, comparison.scale)
            size = (gt.shape[0], gt.shape[1])
            images = {name: enlarge(lq, size) for name, enlarge in methods.items()}
            values = quality.measure(images, gt, (lq.shape[0], lq.shape[1]), comparison.metrics)
        except (UserError, MemoryError, RuntimeError) as error:
            reason = str(error).strip().split('\n')[0]
            comparison.failed[pair.name] = reason if str(pair.gt) in reason else f'{pair.gt}: {reason}'
            report_error(comparison.failed[pair.name])
            continue
        comparison.images[pair.name] = values
        show(pair.name, {'LQ': lq, **images, 'GT': gt})


def _bicubic(lq: np.ndarray, size: quality.Size) -> np.ndarray:
    image: np.ndarray = tensor2img([quality.bicubic(img2tensor(lq.astype(np.float32) / 255).unsqueeze(0), size)])
    return image


def _upscale(upscaler: Upscaler) -> ImageMethod:
    return lambda lq, _size: upscaler.enlarge(lq)


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has neither NaN nor infinity."""
    return {key: value if np.isfinite(value) else None for key, value in values.items()}
