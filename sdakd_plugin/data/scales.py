"""Training and validation at several scales, with LQ images made from GT (GCFSR, He et al., CVPR 2022)."""

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
    """Makes the LQ images of a batch, each at a scale drawn at random from a list.

    After ``feed_data(data)`` the attributes ``lq`` and ``gt`` hold the batch, (n, c, H, W), range 0..1, and
    ``lq_scale`` the scale of each image, (n,). If the batch already has ``lq``, it is passed on, with its ``lq_scale``
    if any.

    Args:
        scales: the scales; one that is listed twice is drawn twice as often.
        device: the device that makes the images.
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
        drawn = torch.randint(len(self.scales), (len(self.gt),))  # on the CPU, so that nothing waits for the device
        scales = [self.scales[index] for index in drawn.tolist()]
        self.lq = torch.stack([degrade(image, scale) for image, scale in zip(self.gt, scales, strict=True)])
        self.lq_scale = torch.tensor(scales).to(self.device, non_blocking=True)


class AtScale(Dataset[dict[str, Any]]):
    """A view of a data set without LQ images that adds them at one scale.

    The LQ images are made as in training: they have the size of GT and come with ``lq_scale``. The name of the view
    and those of its images get the suffix ``_xSCALE``.
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
    """The data sets to validate on: the data set itself if it has LQ images, otherwise one view for each scale.

    Raises:
        UserError: the data set has no LQ images, and there are no scales.
    """
    if len(dataset) and 'lq' in dataset[0]:
        return [dataset]
    if not scales:
        raise UserError(f'scales: this key is missing; the data set {dataset.opt["name"]} has no LQ images')
    return [AtScale(dataset, scale) for scale in sorted(set(scales))]


def degrade(gt: Tensor, scale: int) -> Tensor:
    """The LQ image of a GT image (c, h, w), range 0..1, as in GCFSR's data set.

    It is downsampled, upsampled to the size of GT, and rounded to 8 bits at the end, but not in between.
    """
    height, width = gt.shape[-2:]
    lq = resize(resize(gt, height // scale, width // scale), height, width)
    return (lq * 255).round().clamp(0, 255) / 255


def lq_scales(options: Options) -> set[int]:
    """The scales that LQ images may have: those of ``scales`` and, for the blind network, 1.

    The blind network also takes images that already have the size of the output.
    """
    blind = options.network_g.get('type') == 'GCFSRBlind'
    return {*(options.scales or ()), *([1] if blind else ())}


def check_out_size(options: Options, out_size: int | None) -> None:
    """Raise a UserError if the images of a data set differ in size from the output of a network of fixed size."""
    for phase, block in options.datasets.items():
        size = block.get('gt_size')
        if out_size is not None and size not in (None, out_size):
            raise UserError(
                f'datasets.{phase}.gt_size: is {size}, but network_g makes images of {out_size} pixels; '
                'give both the same size'
            )


def check_scales(options: Options, largest: int | None) -> None:
    """Check ``scales`` and the options that exclude it.

    Args:
        options: the options of the run.
        largest: the largest scale of the network (``families.calling.largest_scale``); ``None`` if it has one scale.

    Raises:
        UserError: the network has only one scale or does not support a listed one, a data set has a scale that is not
            listed, or an option asks for another way to make LQ images.
    """
    if options.scales is None:
        return
    if largest is None:
        raise UserError(
            f'scales: requires GCFSR, but network_g ({options.network_g["type"]}) has one scale; '
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
            raise UserError(f'{key}: requires the on-the-fly degradation of Real-ESRGAN, which excludes scales')
    if options.high_order_degradation or brings_kernels(options.datasets.get('train', {})):
        raise UserError(
            'scales: makes LQ bicubically at these scales; leave it out for the on-the-fly '
            'degradation, which uses scale'
        )
