"""Paired training data together with the cached images of the teacher."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from basicsr.data.transforms import augment, paired_random_crop
from basicsr.utils import img2tensor
from basicsr.utils.registry import DATASET_REGISTRY
from torch.utils.data import Dataset

from sdakd_plugin.errors import UserError
from sdakd_plugin.utils.registries import look_up

# the data sets whose LQ images are always the same
FIXED = ('PairedImageDataset', 'RealESRGANPairedDataset', 'PhotoDataset', 'SampleImageDataset', 'LQPhotoDataset')
OWN_KEYS = ('paired_type', 'dataroot_teacher')


@DATASET_REGISTRY.register()
class CachedTeacherDataset(Dataset[dict[str, Any]]):
    """A paired data set for training whose items also contain ``teacher``.

    ``teacher`` is the teacher's image (c, gt_size, gt_size) of the same crop, with the same flips and rotation,
    float32, range 0..1 but not clamped. ``lq`` and ``gt``, if there is one, are exactly those of the paired data set.

    With ``teacher.cache`` this class replaces the data set of the option file automatically.

    Args:
        opt: the block of the paired data set, with ``type`` set to this class, ``paired_type`` to the original type,
            and ``dataroot_teacher`` to the folder that ``sdakd cache`` has filled.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        paired = {key: deepcopy(value) for key, value in opt.items() if key not in OWN_KEYS}
        self.paired = look_up(DATASET_REGISTRY, opt['paired_type'])({**paired, 'type': opt['paired_type']})
        self.opt = self.paired.opt  # with its defaults filled in
        self.paths = self.paired.paths
        self.folder = self.paired.lq_cache = Path(opt['dataroot_teacher'])  # PhotoDataset finds its LQ images there

    def __len__(self) -> int:
        return len(self.paired)

    def __getitem__(self, index: int) -> dict[str, Any]:
        before = random.getstate()
        item = self.paired[index]
        after = random.getstate()
        name = image_name(self.paths[index]['lq_path'], lq_folder(self.opt))
        image = np.load(image_file(self.folder, name), mmap_mode='r')  # reads only the crop from disk
        random.setstate(before)  # to draw the same crop and augmentation
        item['teacher'] = img2tensor(self._augmented(image), bgr2rgb=False)
        assert random.getstate() == after, f'{self.opt["paired_type"]} draws random numbers in another order'
        return item

    def _augmented(self, image: np.ndarray) -> np.ndarray:
        scale, gt_size = self.opt['scale'], self.opt['gt_size']
        lq = np.empty((image.shape[0] // scale, image.shape[1] // scale, 0))  # only its size matters
        crop, _ = paired_random_crop(image, lq, gt_size, scale, self.folder)
        return augment(np.array(crop, np.float32), self.opt['use_hflip'], self.opt['use_rot'])


def lq_folder(block: Mapping[str, Any]) -> str:
    """The folder of a data set's LQ images, or of the GT images that it makes them from.

    ``'.'`` for the embedded photographs, which are not in a folder.
    """
    return str(block.get('dataroot_lq') or block.get('dataroot_gt') or '.')


def image_name(lq_path: str, folder: str) -> str:
    """The name of an LQ image in the cache: its path relative to its folder, or its key in an LMDB.

    Raises:
        UserError: the image is not in the folder.
    """
    if folder.endswith('.lmdb'):
        return lq_path
    path = Path(os.path.relpath(lq_path, folder))
    if path.parts[0] == '..':
        raise UserError(f'teacher.cache: {lq_path} is not in {folder}, the folder of datasets.train')
    return path.as_posix()


def image_file(folder: Path, name: str) -> Path:
    """The file of a cached teacher image: NumPy format, float16, (H, W, c), RGB."""
    return folder / f'{name}.npy'


def lq_file(folder: Path, name: str) -> Path:
    """The file of the LQ image, stored when it is costly to make: NumPy format, uint8, (h, w, c), RGB."""
    return folder / f'{name}.lq.npy'
