"""Real-ESRGAN's on-the-fly degradation, built from the options of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from sdakd_plugin.data.published import brings_kernels
from sdakd_plugin.data.sample_image_dataset import reduced_levels
from sdakd_plugin.errors import UserError
from sdakd_plugin.options import DEGRADATION_KEYS, Options
from sdakd_plugin.stock.degradation import BatchDegradation


def make_degradation(opt: Mapping[str, Any], options: Options, device: torch.device) -> BatchDegradation:
    """Build the degradation of a run, or only its USM sharpening if the data set provides the LQ images.

    Args:
        opt: the option dictionary of the run.
        options: the same options, checked.
        device: the device that degrades the images.

    Raises:
        UserError: a setting is missing, or the training-pair pool does not fit the batch.
    """
    pool = None
    if makes_lq(options):
        check_settings(opt, options)
        assert options.gt_size is not None
        pool = options.queue_size, options.gt_size, options.gt_size // options.scale
    return BatchDegradation(opt, pool, device, reduced_levels)


def makes_lq(options: Options) -> bool:
    """Whether LQ images are made on the fly: set by ``high_order_degradation`` or, by default, by the data set.

    Raises:
        UserError: the option contradicts the data set, which provides either blur kernels or LQ images.
    """
    block = options.datasets.get('train', {})
    kind, kernels = block.get('type'), brings_kernels(block)
    if options.high_order_degradation is None:
        return kernels
    if options.high_order_degradation and not kernels:
        raise UserError(
            f'high_order_degradation: is true, but {kind} provides no blur kernels; use RealESRGANDataset, '
            'or set it to false for paired data'
        )
    if not options.high_order_degradation and kernels:
        raise UserError(
            f'high_order_degradation: is false, but {kind} provides no LQ images here; use '
            'PairedImageDataset or RealESRGANPairedDataset, or set it to true'
        )
    return options.high_order_degradation


def check_settings(opt: Mapping[str, Any], options: Options) -> None:
    """Raise a UserError if a setting of the degradation is missing or the pool does not fit the batch size."""
    for key in DEGRADATION_KEYS:
        if opt.get(key) is None:
            raise UserError(
                f'{key}: this key is missing; RealESRGANDataset needs the degradation settings of options/sdakd_x4.yml'
            )
    block = options.datasets['train']
    if block.get('type') == 'PhotoDataset' and block.get('gt_size') != options.gt_size:
        raise UserError(
            f'gt_size: {options.gt_size} is not datasets.train.gt_size, {block.get("gt_size")}; leave it '
            'out at the top level'
        )
    batch = block.get('batch_size_per_gpu', 1)
    if options.queue_size % batch:
        above = -(-options.queue_size // batch) * batch
        raise UserError(f'queue_size: {options.queue_size} is not a multiple of the batch size {batch}; use {above}')
    if options.gt_size is not None and options.gt_size % options.scale:
        raise UserError(
            f'gt_size: {options.gt_size} is not a multiple of the scale {options.scale}; use '
            f'{options.gt_size // options.scale * options.scale}'
        )
