"""Pairs of LQ and GT from the photographs in scikit-image's wheel: real images without a download."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from basicsr.data.transforms import augment, mod_crop, paired_random_crop
from basicsr.utils import img2tensor
from basicsr.utils.registry import DATASET_REGISTRY
from skimage import data as photographs
from torch import Tensor
from torch.nn.functional import interpolate, pad
from torch.utils.data import Dataset

from sdakd_plugin.errors import UserError, nearest

Image = npt.NDArray[np.uint8]

PHOTOGRAPHS = ('astronaut', 'chelsea', 'coffee', 'rocket')
OWN_KEYS = {'images', 'center_crop', 'gt_size', 'use_hflip', 'use_rot'}
BASICSR_KEYS = {
    'name',
    'type',
    'phase',
    'scale',
    'use_shuffle',
    'num_worker_per_gpu',
    'batch_size_per_gpu',
    'dataset_enlarge_ratio',
    'prefetch_mode',
    'num_prefetch_queue',
    'pin_memory',
    'persistent_workers',
}


@DATASET_REGISTRY.register()
class SampleImageDataset(Dataset[dict[str, Any]]):
    """Paired data in the format of ``PairedImageDataset``, made from scikit-image's photographs.

    Each item has ``lq`` (3, h, w) and ``gt`` (3, h * scale, w * scale), float32 RGB 0..1, and ``lq_path`` and
    ``gt_path``, which are names such as ``astronaut.png``. LQ is made once, by ``bicubic_reduction``. The same seed
    gives the crops of ``PairedImageDataset``.

    Args:
        opt: the block under ``datasets``, with ``phase`` and ``scale``, which BasicSR adds. Optional keys:

            - ``images``: a list of ``astronaut`` (512x512), ``chelsea`` (451x300), ``coffee`` (600x400) and
              ``rocket`` (640x427); all of them by default.
            - ``center_crop``: side in GT pixels of a central square to use instead of the whole image, for example to
              validate quickly.

            For ``phase: train`` also ``gt_size``, the side of the random crop, and ``use_hflip`` and ``use_rot``.

    Attributes:
        pairs: GT and LQ of each photograph, (h, w, 3), uint8, RGB.
        paths: ``gt_path`` and ``lq_path`` of each item.

    Raises:
        UserError: unknown key or image, or a size that is not a multiple of ``scale`` or too large.
        KeyError: a key is missing.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        for key in opt:
            if key not in OWN_KEYS | BASICSR_KEYS:
                raise UserError(f'{key}: unknown key for SampleImageDataset{nearest(key, OWN_KEYS | BASICSR_KEYS)}')
        self.opt = opt
        scale = opt['scale']
        self.names = chosen(opt.get('images'))
        photos = [getattr(photographs, name)() for name in self.names]
        if opt.get('center_crop') is not None:
            _check_size('center_crop', opt['center_crop'], scale, photos)
            photos = [center_crop(photo, opt['center_crop']) for photo in photos]
        gts = [mod_crop(photo, scale) for photo in photos]
        self.train = opt['phase'] == 'train'
        if self.train:
            self.augmentation = opt['use_hflip'], opt['use_rot']
            _check_size('gt_size', opt['gt_size'], scale, gts)
        self.pairs = [(gt, bicubic_reduction(gt, scale)) for gt in gts]
        self.paths = [{'lq_path': f'{name}.png', 'gt_path': f'{name}.png'} for name in self.names]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> dict[str, Any]:
        gt, lq = self.pairs[index]
        if self.train:
            gt, lq = paired_random_crop(gt, lq, self.opt['gt_size'], self.opt['scale'], self.names[index])
        pair = [image.astype(np.float32, order='C') / 255 for image in (gt, lq)]  # copies: augment flips in place
        if self.train:
            pair = augment(pair, *self.augmentation)
        gt_tensor, lq_tensor = img2tensor(pair, bgr2rgb=False)
        return {'lq': lq_tensor, 'gt': gt_tensor, **self.paths[index]}


def bicubic_reduction(image: Image, scale: int) -> Image:
    """Downsample (h, w, c), both sides a multiple of ``scale``, to (h / scale, w / scale, c).

    This is MATLAB's antialiased bicubic ``imresize`` of a uint8 image: a vertical pass, then a horizontal one, each
    result rounded half up. The border is replicated; MATLAB mirrors it. The result equals the commonly used LR files of
    Set5 and Set14 in every pixel. BasicSR's ``imresize``, with a mirrored border and no rounding between the passes,
    has a PSNR of 56 dB against them.
    """
    levels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).unsqueeze(0)
    return reduced_levels(levels, scale)[0].permute(1, 2, 0).byte().numpy()


def reduced_levels(levels: Tensor, scale: int) -> Tensor:
    """``bicubic_reduction`` of a batch (n, c, h, w) of integers 0..255; the result is float64."""
    reach = 2  # output pixels: half the width of the cubic kernel
    x = pad(levels.double(), [reach * scale] * 4, mode='replicate')
    height, width = x.shape[-2:]
    for size in ((height // scale, width), (height // scale, width // scale)):
        x = interpolate(x, size, mode='bicubic', antialias=True).add(0.5).floor().clamp(0, 255)
    return x[..., reach:-reach, reach:-reach]


def center_crop(image: Image, size: int) -> Image:
    """The central ``size`` x ``size`` pixels of an (h, w, c) image."""
    height, width = image.shape[:2]
    top, left = (height - size) // 2, (width - size) // 2
    return image[top : top + size, left : left + size]


def chosen(images: Any) -> list[str]:
    """The photographs that the option ``images`` names, checked; all of ``PHOTOGRAPHS`` without it."""
    names = list(PHOTOGRAPHS) if images is None else images
    if not isinstance(names, list) or not names:
        raise UserError(f'images: expected a list of names{nearest("", PHOTOGRAPHS)}')
    for name in names:
        if name not in PHOTOGRAPHS:
            raise UserError(f"images: scikit-image has no photograph '{name}' here{nearest(name, PHOTOGRAPHS)}")
    return names


def _check_size(key: str, size: Any, scale: int, images: list[Image]) -> None:
    largest = min(min(image.shape[:2]) for image in images)
    if not isinstance(size, int) or size < 1 or size % scale or size > largest:
        raise UserError(
            f'{key}: {size} is not a multiple of scale {scale} up to {largest // scale * scale}, the most '
            'that the images allow'
        )
