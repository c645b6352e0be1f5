"""Pairs of LQ and GT from a folder of photographs: the LQ images are made on the fly."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.data.transforms import augment, mod_crop
from basicsr.utils import img2tensor
from basicsr.utils.registry import DATASET_REGISTRY
from torch.utils.data import Dataset

from sdakd_plugin.data.cached_teacher_dataset import image_name, lq_file
from sdakd_plugin.data.fixed_degradation import FixedDegradation, kernel_source
from sdakd_plugin.data.photographs import Photographs, read_options
from sdakd_plugin.data.published import KERNELS, SETTINGS, brings_kernels
from sdakd_plugin.data.sample_image_dataset import bicubic_reduction
from sdakd_plugin.errors import UserError

OWN_KEYS = {
    'dataroot_gt',
    'io_backend',
    'meta_info',
    'gt_size',
    'use_hflip',
    'use_rot',
    'degradation',
    'bicubic_prob',
    'degradation_seed',
    'versions',
    *KERNELS,
    *SETTINGS,
}
REAL_KEYS = ('bicubic_prob', 'degradation_seed', 'versions')  # those that need ``degradation: real``
MOST_KEPT = 2**28  # bytes of degraded images that a process keeps in memory
MARGIN = 2  # LQ pixels: half the width of the cubic kernel


@DATASET_REGISTRY.register()
class PhotoDataset(Dataset[dict[str, Any]]):
    """Paired data in the format of ``PairedImageDataset``, made from a folder of photographs.

    Each item has ``lq`` (3, h, w) and ``gt`` (3, h * scale, w * scale), float32 RGB 0..1, ``lq_path`` and ``gt_path``.
    GT is cropped to a multiple of ``scale``. LQ depends on ``degradation``:

    - ``bicubic``: LQ is made by ``bicubic_reduction``.
    - ``real`` with ``degradation_seed``, or outside training: LQ is made by Real-ESRGAN's degradation and is the same
      in every epoch.
    - ``real`` without ``degradation_seed``, in training: there is no LQ here. The items are those of
      ``RealESRGANDataset``, ``gt`` (3, 400, 400) with blur kernels, and the model makes new LQ images each time.

    The same seed gives the crops of ``PairedImageDataset``, in the third case those of ``RealESRGANDataset``.

    Args:
        opt: the block under ``datasets``, with ``phase`` and ``scale``, which BasicSR adds. Keys:

            - ``dataroot_gt``: a folder, searched recursively, or an LMDB.
            - ``io_backend``: BasicSR's; ``{type: disk}`` by default.
            - ``meta_info``: a list of the photographs to use, see ``Photographs``; all by default.
            - ``degradation``: ``bicubic`` (default) or ``real``.

            For ``degradation: real``:

            - ``bicubic_prob``: probability that an image is downsampled bicubically instead; 0 by default.
            - ``degradation_seed``: the seed of fixed LQ images; outside training 0 by default.
            - ``versions``: number of fixed LQ images of each photograph, each an item of its own; 1 by default.
            - the settings of the blur kernels and of the degradation, named as in Real-ESRGAN's option files; by
              default the published ones.

            For ``phase: train`` also ``gt_size``, the side of the random crop, and ``use_hflip`` and ``use_rot``, true
            by default.

    Attributes:
        paths: ``gt_path`` and ``lq_path`` of each item; with several versions ``lq_path`` contains ``@1``, ``@2``, ...
        degradation: makes the fixed degraded images; ``None`` if there are none.
        lq_cache: the folder where ``sdakd cache`` has stored the fixed degraded images; ``None`` if it has not.
        recipe: everything that the LQ images depend on, apart from the photographs; ``None`` if the model makes them.

    Raises:
        UserError: unknown key, invalid value, or a folder that does not exist or has no photographs.
        KeyError: a key is missing.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        opt = read_options(opt, OWN_KEYS, 'PhotoDataset')
        check_values(opt)
        self.opt = opt
        self.scale, self.train = opt['scale'], opt['phase'] == 'train'
        self.photographs = Photographs(opt['dataroot_gt'], opt.get('io_backend', {}), meta_info=opt.get('meta_info'))
        self.versions, self.bicubic_prob = opt.get('versions', 1), opt.get('bicubic_prob', 0)
        self.paths = [
            {'gt_path': path, 'lq_path': with_version(path, number, self.versions)}
            for path in self.photographs.paths
            for number in range(self.versions)
        ]
        self.kernels: Any = None
        self.degradation: FixedDegradation | None = None
        self.recipe: Any = 'bicubic'
        if self.train and brings_kernels({**opt, 'type': 'PhotoDataset'}):
            self.recipe = None
            self.kernels = kernel_source(self.opt, self.photographs, self.photographs.paths)
        elif opt.get('degradation') == 'real':
            self.degradation = FixedDegradation(opt, opt.get('degradation_seed', 0), self.bicubic_prob)
            self.recipe = self.degradation.recipe
        self.lq_cache: Path | None = None
        self.kept: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self.kernels is not None:
            return self._with_kernels(index)
        path = self.paths[index]['gt_path']
        gt = mod_crop(self.photographs.read(path), self.scale)
        top, left, height, width = self._window(gt, path)
        if self.degradation is None:
            lq = reduced_window(gt, self.scale, top, left, height, width)
        else:
            lq = self._degraded(gt, index)[top : top + height, left : left + width]
        gt = gt[top * self.scale : (top + height) * self.scale, left * self.scale : (left + width) * self.scale]
        pair = [image.astype(np.float32, order='C') / 255 for image in (gt, lq)]  # copies: augment flips in place
        if self.train:
            pair = augment(pair, self.opt['use_hflip'], self.opt['use_rot'])
        gt_tensor, lq_tensor = img2tensor(pair)
        return {'lq': lq_tensor, 'gt': gt_tensor, **self.paths[index]}

    def _with_kernels(self, index: int) -> dict[str, Any]:
        try:
            item: dict[str, Any] = self.kernels[index]
        except (AttributeError, cv2.error) as error:  # the decoder returned None, or the file is empty
            raise UserError(f'{self.paths[index]["gt_path"]} is not a readable image; remove it') from error
        if self.bicubic_prob:
            item['bicubic'] = torch.tensor(random.random() < self.bicubic_prob)
        return item

    def _degraded(self, gt: np.ndarray, index: int) -> np.ndarray:
        """The whole degraded image, uint8, BGR: from the teacher's cache, from memory, or computed now."""
        if self.lq_cache is not None:
            name = image_name(self.paths[index]['lq_path'], self.opt['dataroot_gt'])
            image: np.ndarray = np.load(lq_file(self.lq_cache, name), mmap_mode='r')
            return image[..., ::-1]
        if index in self.kept:
            return self.kept[index]
        assert self.degradation is not None
        photograph, version = divmod(index, self.versions)
        lq = self.degradation(gt, self.photographs.names[photograph], version)
        if sum(image.nbytes for image in self.kept.values()) + lq.nbytes <= MOST_KEPT:
            self.kept[index] = lq
        return lq

    def _window(self, gt: np.ndarray, path: str) -> tuple[int, int, int, int]:
        """The crop in LQ pixels (top, left, height, width), drawn as in BasicSR's ``paired_random_crop``."""
        height, width = (side // self.scale for side in gt.shape[:2])
        if not self.train:
            if not min(height, width):
                raise UserError(f'{path} is smaller than the scale {self.scale}; remove it')
            return 0, 0, height, width
        side = self.opt['gt_size'] // self.scale
        if min(height, width) < side:
            raise UserError(f'{path} is smaller than gt_size {self.opt["gt_size"]}; remove it, or use smaller crops')
        return random.randint(0, height - side), random.randint(0, width - side), side, side


def with_version(path: str, number: int, versions: int) -> str:
    """The path with the number of a version, such as ``a/photo@1.png``; unchanged if there is only one version."""
    stem, ending = os.path.splitext(path)
    return path if versions == 1 else f'{stem}@{number + 1}{ending}'


def check_values(opt: Mapping[str, Any]) -> None:
    """Raise a UserError if a value of ``PhotoDataset`` is invalid or belongs to another degradation."""
    kind = opt.get('degradation', 'bicubic')
    if kind not in ('bicubic', 'real'):
        raise UserError(f'degradation: there is no {kind!r}; valid: bicubic, real')
    for key in REAL_KEYS:
        if key not in opt:
            continue
        value = opt[key]
        if kind != 'real':
            raise UserError(f'{key}: requires degradation: real; leave it out')
        number = isinstance(value, int if key != 'bicubic_prob' else (int, float)) and not isinstance(value, bool)
        least, most, allowed = {
            'bicubic_prob': (0, 1, 'a number from 0 to 1'),
            'degradation_seed': (0, None, 'a whole number, 0 or more'),
            'versions': (1, None, 'a whole number, 1 or more'),
        }[key]
        if not number or value < least or (most is not None and value > most):
            raise UserError(f'{key}: expected {allowed}, not {value!r}')
    if opt.get('versions', 1) != 1 and 'degradation_seed' not in opt and opt['phase'] == 'train':
        raise UserError('versions: requires fixed LQ images; set degradation_seed, or leave it out')


def reduced_window(image: np.ndarray, scale: int, top: int, left: int, height: int, width: int) -> np.ndarray:
    """A window of ``bicubic_reduction(image, scale)``, identical in every pixel, without computing the rest.

    Args:
        image: (h, w, c), both sides a multiple of ``scale``.
        scale: downsampling factor.
        top, left, height, width: the window, in pixels of the downsampled image.
    """
    first = [max(0, start - MARGIN) for start in (top, left)]
    last = [start + size + MARGIN for start, size in ((top, height), (left, width))]
    part = bicubic_reduction(image[first[0] * scale : last[0] * scale, first[1] * scale : last[1] * scale], scale)
    return part[top - first[0] :, left - first[1] :][:height, :width]
