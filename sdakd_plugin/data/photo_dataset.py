"""Pairs of LQ and GT from photographs alone: the LQ image is made here."""
from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
from basicsr.data.transforms import augment, mod_crop
from basicsr.utils import img2tensor
from basicsr.utils.registry import DATASET_REGISTRY
from torch.utils.data import Dataset

from sdakd_plugin.data.photographs import Photographs
from sdakd_plugin.data.sample_image_dataset import BASICSR_KEYS, bicubic_reduction
from sdakd_plugin.errors import UserError, nearest

OWN_KEYS = {'dataroot_gt', 'io_backend', 'gt_size', 'use_hflip', 'use_rot'}
ADDED_KEYS = {'paired_type', 'dataroot_teacher'}  # by ``CachedTeacherDataset``
MARGIN = 2  # LQ pixels: half the width of the cubic kernel


@DATASET_REGISTRY.register()
class PhotoDataset(Dataset[dict[str, Any]]):
    """Paired data as ``PairedImageDataset`` serves it, from a folder of photographs: ``lq`` (3, h, w) and ``gt``
    (3, h * scale, w * scale), float32 RGB 0..1, and ``lq_path`` and ``gt_path``.

    The LQ image is that of ``bicubic_reduction``; the same seed gives the crops of ``PairedImageDataset``. GT is cut to
    a multiple of ``scale`` first.

    Args:
        opt: the block under ``datasets``, with ``phase`` and ``scale``, which BasicSR adds. Keys:

            - ``dataroot_gt``: a folder, searched with its subfolders, or an LMDB.
            - ``io_backend``: BasicSR's; ``{type: disk}`` by default.

            For ``phase: train`` also ``gt_size``, the side of the random crop, and ``use_hflip`` and ``use_rot``, true
            by default.

    Raises:
        UserError: an unknown key, no such folder, or no photograph in it.
        KeyError: a key is missing.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        known = OWN_KEYS | BASICSR_KEYS
        for key in opt:
            if key not in known | ADDED_KEYS:
                raise UserError(f'{key}: unknown key for PhotoDataset{nearest(key, known)}')
        self.opt = {'use_hflip': True, 'use_rot': True, **opt}
        self.scale, self.train = opt['scale'], opt['phase'] == 'train'
        if self.train and opt['gt_size'] % self.scale:
            raise UserError(f"gt_size: {opt['gt_size']} is not a multiple of the scale {self.scale}; use "
                            f"{max(opt['gt_size'] // self.scale, 1) * self.scale}")
        self.photographs = Photographs(opt['dataroot_gt'], opt.get('io_backend') or {})
        self.paths = [{'gt_path': path, 'lq_path': path} for path in self.photographs.paths]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.paths[index]['gt_path']
        gt = mod_crop(self.photographs.read(path), self.scale)
        top, left, height, width = self._window(gt, path)
        lq = reduced_window(gt, self.scale, top, left, height, width)
        gt = gt[top * self.scale:(top + height) * self.scale, left * self.scale:(left + width) * self.scale]
        pair = [image.astype(np.float32, order='C') / 255 for image in (gt, lq)]  # copies: augment flips in place
        if self.train:
            pair = augment(pair, self.opt['use_hflip'], self.opt['use_rot'])
        gt_tensor, lq_tensor = img2tensor(pair)
        return {'lq': lq_tensor, 'gt': gt_tensor, **self.paths[index]}

    def _window(self, gt: np.ndarray, path: str) -> tuple[int, int, int, int]:
        """What to cut out, in LQ pixels: top, left, height and width; drawn as BasicSR's ``paired_random_crop`` does.
        """
        height, width = (side // self.scale for side in gt.shape[:2])
        if not self.train:
            if not min(height, width):
                raise UserError(f'{path} is smaller than the scale {self.scale}; remove it')
            return 0, 0, height, width
        side = self.opt['gt_size'] // self.scale
        if min(height, width) < side:
            raise UserError(f"{path} is smaller than gt_size {self.opt['gt_size']}; remove it, or use smaller crops")
        return random.randint(0, height - side), random.randint(0, width - side), side, side


def reduced_window(image: np.ndarray, scale: int, top: int, left: int, height: int, width: int) -> np.ndarray:
    """A part of ``bicubic_reduction(image, scale)``, without reducing the rest: pixel by pixel the same.

    Args:
        image: (h, w, c), both sides a multiple of ``scale``.
        scale: the factor.
        top, left, height, width: the part, in pixels of the reduced image.
    """
    first = [max(0, start - MARGIN) for start in (top, left)]
    last = [start + size + MARGIN for start, size in ((top, height), (left, width))]
    part = bicubic_reduction(image[first[0] * scale:last[0] * scale, first[1] * scale:last[1] * scale], scale)
    return part[top - first[0]:, left - first[1]:][:height, :width]
