"""Photographs that are LQ images themselves: there is no ground truth."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
from basicsr.data.transforms import augment
from basicsr.utils import img2tensor
from basicsr.utils.registry import DATASET_REGISTRY
from torch.utils.data import Dataset

from sdakd_plugin.data.photographs import Photographs, read_options
from sdakd_plugin.errors import UserError

OWN_KEYS = {'dataroot_lq', 'io_backend', 'gt_size', 'use_hflip', 'use_rot'}
WITHOUT_GT = ('LQPhotoDataset', 'SingleImageDataset')


@DATASET_REGISTRY.register()
class LQPhotoDataset(Dataset[dict[str, Any]]):
    """LQ images without ground truth: ``lq`` (3, h, w), float32 RGB 0..1, and ``lq_path``.

    In training an item is a random crop; the same seed gives the crops of ``PairedImageDataset``.

    Args:
        opt: the block under ``datasets``, with ``phase`` and ``scale``, which BasicSR adds. Keys:

            - ``dataroot_lq``: a folder, searched recursively, or an LMDB.
            - ``io_backend``: BasicSR's; ``{type: disk}`` by default.

            For ``phase: train`` also ``gt_size``, the side of the SR image of a crop, as in paired data sets (the crop
            has ``gt_size / scale``), and ``use_hflip`` and ``use_rot``, true by default.

    Attributes:
        paths: ``lq_path`` of each item.

    Raises:
        UserError: unknown key, invalid value, or a folder that does not exist or has no photographs.
        KeyError: a key is missing.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        opt = read_options(opt, OWN_KEYS, 'LQPhotoDataset')
        self.opt = opt
        self.scale, self.train = opt['scale'], opt['phase'] == 'train'
        self.photographs = Photographs(opt['dataroot_lq'], opt.get('io_backend', {}), 'dataroot_lq')
        self.paths = [{'lq_path': path} for path in self.photographs.paths]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.paths[index]['lq_path']
        image = self.photographs.read(path)
        if self.train:
            image = self._crop(image, path)
        lq = image.astype(np.float32, order='C') / 255  # a copy: augment flips in place
        if self.train:
            lq = augment(lq, self.opt['use_hflip'], self.opt['use_rot'])
        return {'lq': img2tensor(lq), 'lq_path': path}

    def _crop(self, image: np.ndarray, path: str) -> np.ndarray:
        side = self.opt['gt_size'] // self.scale
        height, width = image.shape[:2]
        if min(height, width) < side:
            raise UserError(
                f'{path} is smaller than {side} pixels, gt_size {self.opt["gt_size"]} / {self.scale}; remove it, or '
                'use smaller crops'
            )
        top, left = random.randint(0, height - side), random.randint(0, width - side)
        return image[top : top + side, left : left + side]


def without_gt(block: Mapping[str, Any]) -> bool:
    """Whether a block under ``datasets`` is of a data set that has LQ images only."""
    return block.get('paired_type', block.get('type')) in WITHOUT_GT
