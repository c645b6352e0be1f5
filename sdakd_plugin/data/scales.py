"""Training and validation at several scales: LQ images made from GT alone (GCFSR, He et al., CVPR 2022)."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import Dataset

from sdakd_plugin.data.published import brings_kernels
from sdakd_plugin.errors import UserError
from sdakd_plugin.options import Options

USM_KEYS = ('l1_gt_usm', 'percep_gt_usm', 'gan_gt_usm')


class ScaleDraw:
    """Makes the LQ images of a batch at one scale, drawn from a list; each scale as often as it is listed.

    Args:
        scales: the list.
        device: where the images are reduced.

    After ``feed_data(data)`` the attributes ``lq`` and ``gt`` hold the batch, (n, c, h, w), range 0..1. A batch that
    has an ``lq`` is passed on.
    """

    def __init__(self, scales: Sequence[int], device: torch.device) -> None:
        self.scales, self.device = scales, device
        self.gt_usm = None

    def feed_data(self, data: Mapping[str, Any]) -> None:
        self.gt = data['gt'].to(self.device, non_blocking=True)
        if 'lq' in data:
            self.lq = data['lq'].to(self.device, non_blocking=True)
        else:
            scale = self.scales[int(torch.randint(len(self.scales), ()))]  # on the CPU: nothing waits for the device
            self.lq = reduce(self.gt, scale)


class AtScale(Dataset[dict[str, Any]]):
    """A data set without LQ images as one with them, at one scale; ``_xSCALE`` ends its name and those of its images.
    """

    def __init__(self, dataset: Any, scale: int) -> None:
        self.dataset, self.scale = dataset, scale
        self.opt = {**dataset.opt, 'name': f"{dataset.opt['name']}_x{scale}"}

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = self.dataset[index]
        stem, dot, ending = item['gt_path'].rpartition('.')
        path = f"{stem}_x{self.scale}.{ending}" if dot else f"{item['gt_path']}_x{self.scale}"
        return {**item, 'lq': reduce(item['gt'].unsqueeze(0), self.scale)[0], 'lq_path': path}


def at_scales(dataset: Any, scales: Sequence[int] | None) -> list[Any]:
    """What to validate on: the data set itself where it has LQ images, else one view of it for each scale.

    Raises:
        UserError: it has none, and there are no scales.
    """
    if len(dataset) and 'lq' in dataset[0]:
        return [dataset]
    if not scales:
        raise UserError(f"scales: this key is missing; the data set {dataset.opt['name']} has no LQ images")
    return [AtScale(dataset, scale) for scale in sorted(set(scales))]


def reduce(gt: Tensor, scale: int) -> Tensor:
    """Reduce images (n, c, h, w), range 0..1, bicubically with antialiasing, and round them to 8 bits, as in a file."""
    size = [side // scale for side in gt.shape[-2:]]
    lq = interpolate(gt, size, mode='bicubic', antialias=True, align_corners=False)
    return (lq * 255).round().clamp(0, 255) / 255


def check_out_size(options: Options, out_size: int | None) -> None:
    """Raise a UserError where a data set's images do not have the size that a network of one size makes."""
    for phase, block in options.datasets.items():
        size = block.get('gt_size')
        if out_size is not None and size not in (None, out_size):
            raise UserError(f'datasets.{phase}.gt_size: is {size}, but network_g makes images of {out_size} pixels; '
                            'give both the same size')


def check_scales(options: Options, largest: int | None) -> None:
    """Check ``scales`` and what does not go with it.

    Args:
        options: the run's options.
        largest: the largest scale that the network knows (``calling.largest_scale``), if it knows one.

    Raises:
        UserError: a scale that the network was not made for, a data set of a scale that is not listed, or an option
            for another way of making LQ images.
    """
    if options.scales is None:
        return
    for scale in options.scales:
        if largest is not None and (scale > largest or scale & (scale - 1)):
            valid = ', '.join(str(2**power) for power in range(largest.bit_length()))
            raise UserError(f'scales: {scale} is not one of {valid}, the scales of network_g')
    for phase, block in options.datasets.items():
        if 'scale' in block and block['scale'] not in options.scales:
            listed = ', '.join(map(str, sorted(set(options.scales))))
            raise UserError(f"datasets.{phase}.scale: {block['scale']} is not in scales ({listed})")
    for key in USM_KEYS:
        if getattr(options, key):
            raise UserError(f'{key}: is for the on-the-fly degradation of Real-ESRGAN, not for scales')
    if options.high_order_degradation or brings_kernels(options.datasets.get('train', {})):
        raise UserError('scales: LQ is reduced bicubically at these scales; leave it out for the on-the-fly '
                        'degradation, which takes scale')
