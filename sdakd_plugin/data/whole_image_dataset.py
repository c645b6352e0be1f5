"""Aligned images such as faces: used whole, at one size, without LQ images."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from basicsr.data.data_util import paths_from_lmdb
from basicsr.data.transforms import augment
from basicsr.utils import FileClient, imfrombytes, img2tensor, scandir
from basicsr.utils.registry import DATASET_REGISTRY
from skimage import data as photographs
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import Dataset

from sdakd_plugin.data.sample_image_dataset import BASICSR_KEYS, center_crop, chosen
from sdakd_plugin.errors import UserError, nearest

OWN_KEYS = {'dataroot_gt', 'gt_size', 'use_hflip', 'io_backend', 'images'}
ENDINGS = ('.png', '.jpg', '.jpeg', '.webp', '.bmp', '.tif', '.tiff')
EMBEDDED = 2  # side of the squares cut from an embedded photograph, as a multiple of gt_size


@DATASET_REGISTRY.register()
class WholeImageDataset(Dataset[dict[str, Any]]):
    """GT images without LQ: ``gt`` (3, gt_size, gt_size), float32 RGB 0..1, and ``gt_path``.

    The central square of an image is downsampled to ``gt_size``, bicubically with antialiasing. The LQ image is made
    later, at one of the ``scales`` of the option file.

    Args:
        opt: the block under ``datasets``, with ``phase``, which BasicSR adds. Keys:

            - ``gt_size``: height and width of the images, the ``out_size`` of the network.
            - ``dataroot_gt``: a folder of images, searched recursively. By default, squares cut from scikit-image's
              photographs, which are not faces: for trying things out.
            - ``images``: which of those photographs to use, as in ``SampleImageDataset``; ignored with
              ``dataroot_gt``.
            - ``io_backend``: BasicSR's; ``{type: disk}`` by default. With ``{type: lmdb}``, ``dataroot_gt`` is an LMDB
              written by BasicSR's ``make_lmdb_from_imgs``, and the path of an image is its key.

            For ``phase: train`` also ``use_hflip``.

    Raises:
        UserError: unknown key, a folder that does not exist, or one that is not an LMDB.
        KeyError: a key is missing.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        for key in opt:
            if key not in OWN_KEYS | BASICSR_KEYS:
                raise UserError(f'{key}: unknown key for WholeImageDataset{nearest(key, OWN_KEYS | BASICSR_KEYS)}')
        self.opt = opt
        self.size = opt['gt_size']
        self.hflip = opt['phase'] == 'train' and opt['use_hflip']
        self.paths: list[str] = []
        self.squares: list[np.ndarray] = []
        if opt.get('dataroot_gt'):
            self.client = dict(opt.get('io_backend') or {'type': 'disk'})
            self.paths = self._find(opt['dataroot_gt'])
            if opt.get('images'):
                logging.getLogger('basicsr').warning('images: ignored, because dataroot_gt is set')
        else:
            self.squares = [
                square
                for name in chosen(opt.get('images'))
                for square in cut(getattr(photographs, name)(), EMBEDDED * self.size)
            ]
            if not self.squares:
                raise UserError(
                    f'dataroot_gt: this key is missing; the embedded photographs are too small for gt_size {self.size}'
                )
        self._files: FileClient | None = None

    def _find(self, folder: str) -> list[str]:
        """The paths of the images or, in an LMDB, their keys."""
        if self.client['type'] != 'lmdb':
            found = scandir(folder, recursive=True, full_path=True)
            return sorted(path for path in found if path.lower().endswith(ENDINGS))
        if not folder.endswith('.lmdb') or not os.path.isfile(os.path.join(folder, 'meta_info.txt')):
            raise UserError(
                f'dataroot_gt: {folder} is not an LMDB, a folder NAME.lmdb that contains meta_info.txt; make one '
                'with make_lmdb_from_imgs of basicsr.utils.lmdb_util, or use io_backend: {type: disk} for '
                'a folder of images'
            )
        self.client.update(db_paths=[folder], client_keys=['gt'])
        return sorted(paths_from_lmdb(folder))

    def __len__(self) -> int:
        return len(self.paths or self.squares)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self.paths:
            path, image = self.paths[index], self._read(self.paths[index])
        else:
            path, image = f'square_{index:03d}.png', self.squares[index].astype(np.float32) / 255
        image = np.ascontiguousarray(center_crop(image, min(image.shape[:2])))  # a copy: augment flips in place
        gt = fit(img2tensor(augment(image, self.hflip, rotation=False), bgr2rgb=False), self.size)
        return {'gt': gt, 'gt_path': path}

    def _read(self, path: str) -> np.ndarray:
        """Read an image file as (h, w, 3), RGB, range 0..1."""
        if self._files is None:  # each worker opens its own, as in BasicSR's data sets
            self._files = FileClient(self.client.pop('type'), **self.client)
        image = imfrombytes(self._files.get(path, 'gt'), float32=True)
        if min(image.shape[:2]) < self.size:
            raise UserError(f'{path}: {image.shape[1]}x{image.shape[0]} is smaller than gt_size {self.size}')
        return image[..., ::-1]


def fit(image: Tensor, size: int) -> Tensor:
    """Downsample a square image (c, s, s), range 0..1, to (c, size, size); unchanged if it has that size."""
    if image.shape[-1] == size:
        return image
    return interpolate(image[None], size, mode='bicubic', antialias=True, align_corners=False)[0].clamp(0, 1)


def cut(photo: np.ndarray, side: int) -> list[np.ndarray]:
    """The complete squares of a photograph (h, w, 3), row by row."""
    height, width = photo.shape[:2]
    return [
        photo[top : top + side, left : left + side]
        for top in range(0, height - side + 1, side)
        for left in range(0, width - side + 1, side)
    ]
