"""Training and validation at several scales: LQ images made from GT alone (GCFSR, He et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from sdakd_plugin.data.published import brings_kernels
from sdakd_plugin.errors import UserError
from sdakd_plugin.options import Options
from sdakd_plugin.utils.bicubic import resize

USM_KEYS = ('l1_gt_usm', 'percep_gt_usm', 'gan_gt_usm')


class ScaleDraw:
    """Makes the LQ images of a batch, each at a scale of its own, drawn from a list, as often as it is listed.

    Args:
        scales: the list.
        device: where the images are made.

    After ``feed_data(data)`` the attributes ``lq`` and ``gt`` hold the batch, (n, c, H, W), range 0..1, and
    ``lq_scale`` the scale of each image, (n,). A batch that has an ``lq`` is passed on, with its ``lq_scale`` if any.
    """

    def __init__(self, scales: Sequence[int], device: torch.device) -> None:
        self.scales, self.device = scales, device
        self.gt_usm = None

    def feed_data(self, data: Mapping[str, Any]) -> None:
        self.gt = data['gt'].to(self.device, non_blocking=True)
        self.lq_scale = data.get('lq_scale')
        if 'lq' in data:
            self.lq = data['lq'].to(self.device, non_blocking=True)
            return
        drawn = torch.randint(len(self.scales), (len(self.gt),))  # on the CPU: nothing waits for the device
        scales = [self.scales[index] for index in drawn.tolist()]
        self.lq = torch.stack([degrade(image, scale) for image, scale in zip(self.gt, scales, strict=True)])
        self.lq_scale = torch.tensor(scales).to(self.device, non_blocking=True)


class AtScale(Dataset[dict[str, Any]]):
    """A data set without LQ images as one with them, at one scale, made as in training: of GT's size, with
    ``lq_scale``. ``_xSCALE`` ends its name and those of its images.
    """

    def __init__(self, dataset: Any, scale: int) -> None:
        self.dataset, self.scale = dataset, scale
        self.opt = {**dataset.opt, 'name': f'{dataset.opt["name"]}_x{scale}'}

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = self.dataset[index]
        stem, dot, ending = item['gt_path'].rpartition('.')
        path = f'{stem}_x{self.scale}.{ending}' if dot else f'{item["gt_path"]}_x{self.scale}'
        return {**item, 'lq': degrade(item['gt'], self.scale), 'lq_scale': self.scale, 'lq_path': path}


def at_scales(dataset: Any, scales: Sequence[int] | None) -> list[Any]:
    """What to validate on: the data set itself where it has LQ images, else one view of it for each scale.

    Raises:
        UserError: it has none, and there are no scales.
    """
    if len(dataset) and 'lq' in dataset[0]:
        return [dataset]
    if not scales:
        raise UserError(f'scales: this key is missing; the data set {dataset.opt["name"]} has no LQ images')
    return [AtScale(dataset, scale) for scale in sorted(set(scales))]


def degrade(gt: Tensor, scale: int) -> Tensor:
    """The LQ image of a GT image (c, h, w), range 0..1, as GCFSR's data set makes it: reduced, enlarged to GT's size,
    and rounded to 8 bits there, not in between."""
    height, width = gt.shape[-2:]
    lq = resize(resize(gt, height // scale, width // scale), height, width)
    return (lq * 255).round().clamp(0, 255) / 255


def lq_scales(options: Options) -> set[int]:
    """The scales that LQ images may have: those of ``scales``, and for the blind network 1, which takes images that
    have the output's size already."""
    blind = options.network_g.get('type') == 'GCFSRBlind'
    return {*(options.scales or ()), *([1] if blind else ())}


def check_out_size(options: Options, out_size: int | None) -> None:
    """Raise a UserError where a data set's images do not have the size that a network of one size makes."""
    for phase, block in options.datasets.items():
        size = block.get('gt_size')
        if out_size is not None and size not in (None, out_size):
            raise UserError(
                f'datasets.{phase}.gt_size: is {size}, but network_g makes images of {out_size} pixels; '
                'give both the same size'
            )


def check_scales(options: Options, largest: int | None) -> None:
    """Check ``scales`` and what does not go with it.

    Args:
        options: the run's options.
        largest: the largest scale that the network knows (``families.calling.largest_scale``), if it knows one.

    Raises:
        UserError: a network of one scale, a scale that the network was not made for, a data set of a scale that is not
            listed, or an option for another way of making LQ images.
    """
    if options.scales is None:
        return
    if largest is None:
        raise UserError(
            f'scales: is for GCFSR, not for network_g ({options.network_g["type"]}), which has one scale; '
            'leave it out, and use a data set with LQ images, such as PairedImageDataset'
        )
    for scale in options.scales:
        if scale > largest or scale & (scale - 1):
            valid = ', '.join(str(2**power) for power in range(largest.bit_length()))
            raise UserError(f'scales: {scale} is not one of {valid}, the scales of network_g')
    for phase, block in options.datasets.items():
        if 'scale' in block and block['scale'] not in lq_scales(options):
            listed = ', '.join(map(str, sorted(lq_scales(options))))
            raise UserError(f'datasets.{phase}.scale: {block["scale"]} is not in scales ({listed})')
    for key in USM_KEYS:
        if getattr(options, key):
            raise UserError(f'{key}: is for the on-the-fly degradation of Real-ESRGAN, not for scales')
    if options.high_order_degradation or brings_kernels(options.datasets.get('train', {})):
        raise UserError(
            'scales: LQ is made bicubically at these scales; leave it out for the on-the-fly '
            'degradation, which takes scale'
        )
