"""A folder of images through several models: every image once, its numbers kept, its pictures only while there is room.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
import torch
from basicsr.utils import img2tensor, tensor2img
from torch import Tensor

from sdakd_plugin.errors import UserError
from sdakd_plugin.evaluation import cost, quality
from sdakd_plugin.evaluation.challenge_score import challenge_score
from sdakd_plugin.evaluation.pairs import Pair, read_pair
from sdakd_plugin.evaluation.table import Row
from sdakd_plugin.inference.model import Model, load_model
from sdakd_plugin.inference.upscale import Upscaler

BICUBIC = 'bicubic'
SCORE = 'score'
COST_SIZE = 64  # pixels: the side of the LQ image for which work and time are given
Values = dict[str, float]


@dataclass
class Comparison:
    """What was found.

    Attributes:
        scale: GT's size over LQ's; ``None`` where images have their own.
        metrics: BasicSR's ``val.metrics`` block, with ``better``.
        costs: method -> ``parameters``, ``multiply_adds`` and ``seconds``, none for bicubic.
        networks: method -> its network in words.
        machine: where the seconds were measured.
        images: image name -> method -> values.
        failed: image name -> what is wrong with it.
    """

    scale: int | None
    metrics: quality.Metrics
    costs: dict[str, Values]
    networks: dict[str, str]
    machine: str
    images: dict[str, dict[str, Values]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def mean(self) -> dict[str, Values]:
        """The mean of each metric over the images for which every method has a value; NIQE has none for small ones."""
        means: dict[str, Values] = {method: {} for method in self.costs}
        for metric in self.metrics:
            whole = [values for values in self.images.values()
                     if not any(np.isnan(values[method][metric]) for method in means)]
            for method, found in means.items():
                found[metric] = float(np.mean([values[method][metric] for values in whole])) if whole else float('nan')
        return means

    def scored(self) -> dict[str, Values]:
        """The mean metrics, with the challenge's score where all its parts are known; the first model's speed is 1."""
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
        """The model that the score's speed is relative to: the first that has a time."""
        return next((method for method, found in self.costs.items() if found.get('seconds')), None)

    def notes(self) -> str:
        """What the table is about."""
        scale = f', x{self.scale}' if self.scale else ''
        score = (f" score: the NTIRE 2026 mobile challenge's, of the means, its speed-up that over {self.reference()} "
                 'here.') if any(SCORE in values for values in self.scored().values()) else ''
        return (f'{len(self.images)} images{scale}. Multiply-adds and seconds are those of one LQ image of '
                f'{COST_SIZE}x{COST_SIZE}, on {self.machine}.{score}')

    def rows(self) -> list[Row]:
        """A table: a line for each method, its mean metrics and its costs."""
        names = {'parameters': 'parameters', 'multiply_adds': 'multiply-adds', 'seconds': 's/pass'}
        return [{'method': method, **values, **{name: self.costs[method].get(key) for key, name in names.items()}}
                for method, values in self.scored().items()]

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs and for the page; what is not a number is ``None``."""
        mean = self.scored()
        score = {SCORE: {'better': 'higher', 'reference': self.reference()}} \
            if any(SCORE in values for values in mean.values()) else {}
        return {
            'scale': self.scale, 'cost_size': COST_SIZE, 'machine': self.machine,
            'metrics': {name: dict(block) for name, block in self.metrics.items()} | score,
            'methods': {name: {'network': self.networks.get(name), **costs} for name, costs in self.costs.items()},
            'mean': {method: _finite(values) for method, values in mean.items()},
            'images': {name: {method: _finite(values) for method, values in found.items()}
                       for name, found in self.images.items()},
            'failed': self.failed}


def load_models(sources: Sequence[str]) -> dict[str, Model]:
    """The models by name: the known name or the file's, or, where two are alike, the path as it was given.

    Raises:
        UserError: as ``load_model``; one model is given twice, or their scales differ.
    """
    models = [load_model(source, '--model') for source in sources]
    short = [model.name for model in models]
    names = [name if short.count(name) == 1 and name not in (BICUBIC, 'GT', 'LQ') else source
             for name, source in zip(short, sources, strict=True)]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f'--model: {name} is given twice')
    found = dict(zip(names, models, strict=True))
    scales = {name: model.identity.scale for name, model in found.items() if model.identity.scale}
    if len(set(scales.values())) > 1:
        listed = ', '.join(f'{name} x{scale}' for name, scale in scales.items())
        raise UserError(f'--model: the models must have one scale, but have {listed}; compare those of each by '
                        'themselves')
    return found


def common_scale(models: Iterable[Model]) -> int | None:
    """The scale of models that have one; ``None`` if all are GCFSR's, which enlarge any image to their own size."""
    return next((model.identity.scale for model in models if model.identity.scale), None)


def metrics(crop_border: int, backbone: str | None, vgg: str | None = None,
            iqa: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """PSNR and SSIM on luma and NIQE, without the border; LPIPS, DISTS and pyiqa's metrics, where asked for, of all the
    image.

    Args:
        crop_border: pixels at each edge that do not count.
        backbone: the file of LPIPS' AlexNet, ``None``: no LPIPS.
        vgg: the file of DISTS' VGG16, ``None``: no DISTS.
        iqa: pyiqa's metric -> ``'higher'`` or ``'lower'``, what is better; its NIQE takes the place of BasicSR's.
    """
    found = {name: {**block, 'better': 'higher'} for name, block in quality.default_metrics(crop_border).items()}
    if backbone is not None:
        found['lpips'] = {'type': 'calculate_lpips', 'crop_border': 0, 'net': 'alex',
                          'backbone_path': backbone, 'better': 'lower'}
    if vgg is not None:
        found['dists'] = {'type': 'calculate_dists', 'crop_border': 0, 'backbone_path': vgg, 'better': 'lower'}
    found['niqe'] = {'type': 'calculate_robust_niqe', 'crop_border': crop_border, 'better': 'lower'}
    return found | {name: {'type': 'calculate_iqa', 'metric': name, 'crop_border': 0, 'better': better}
                    for name, better in (iqa or {}).items()}


def costs(models: Mapping[str, Model], device: torch.device, repeat: int = 3) -> dict[str, Values]:
    """Parameters, multiply-adds and median seconds of a pass of each model, at ``COST_SIZE``; nothing for bicubic."""
    nets = {name: model.net.to(device) for name, model in models.items()}
    times = cost.interleaved(nets, torch.rand(1, 3, COST_SIZE, COST_SIZE, device=device), repeat)
    found: dict[str, Values] = {BICUBIC: {}}
    for name, net in nets.items():
        counted = cost.count(net, (3, COST_SIZE, COST_SIZE))
        found[name] = {'parameters': counted.parameters, 'multiply_adds': counted.multiply_adds,
                       'seconds': median(times[name])}
    return found


def methods(models: Mapping[str, Model], device: torch.device, tile: int = 0) -> dict[str, quality.Method]:
    """Bicubic and the models, which enlarge as ``sdakd upscale`` does."""
    return {BICUBIC: quality.bicubic,
            **{name: _enlarger(Upscaler(model, device, tile)) for name, model in models.items()}}


def run(pairs: Iterable[Pair], methods: Mapping[str, quality.Method], comparison: Comparison,
        show: Callable[[str, dict[str, np.ndarray]], None], complain: Callable[[str], None]) -> None:
    """Fill a comparison, one image after the other; one that fails does not keep the others from it.

    Args:
        pairs: the images.
        methods: the same names as in the comparison's ``costs``.
        comparison: where the values go.
        show: gets an image's name and its pictures, (H, W, 3) uint8 BGR, by method, and ``'LQ'`` and ``'GT'``.
        complain: gets one line for each image that fails.
    """
    for pair in pairs:
        try:
            lq, gt = read_pair(pair, comparison.scale)
            found = quality.compare_image(methods, _tensor(lq), gt, comparison.metrics)
        except (UserError, MemoryError, RuntimeError) as error:
            reason = str(error).strip().split('\n')[0]
            comparison.failed[pair.name] = reason if str(pair.gt) in reason else f'{pair.gt}: {reason}'
            complain(comparison.failed[pair.name])
            continue
        comparison.images[pair.name] = {name: outcome.metrics for name, outcome in found.items()}
        show(pair.name, {'LQ': lq, **{name: outcome.image for name, outcome in found.items()}, 'GT': gt})


def _enlarger(upscaler: Upscaler) -> quality.Method:
    return lambda lq, _size, _lq_scale: _tensor(upscaler.enlarge(tensor2img([lq])))


def _tensor(image: np.ndarray) -> Tensor:
    """(h, w, 3) uint8 BGR as (1, 3, h, w), range 0..1, RGB."""
    return img2tensor(image.astype(np.float32) / 255).unsqueeze(0)


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has neither nan nor infinity."""
    return {key: value if np.isfinite(value) else None for key, value in values.items()}
