"""Paired data with the teacher's cached images: the batches of the paired data set itself, and a third image."""

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

PAIRED = ('PairedImageDataset', 'RealESRGANPairedDataset', 'PhotoDataset', 'SampleImageDataset')
OWN_KEYS = ('paired_type', 'dataroot_teacher')


@DATASET_REGISTRY.register()
class CachedTeacherDataset(Dataset[dict[str, Any]]):
    """A paired data set for training, whose items have ``teacher`` besides: the teacher's image (c, gt_size, gt_size)
    of the same crop, flipped and turned alike, float32, range 0..1 but not clamped.

    It takes the place of the set that an option file names where ``teacher.cache`` is given; nobody has to write it.

    Args:
        opt: the block of that set, in which ``type`` is this class, ``paired_type`` the set's own, and
            ``dataroot_teacher`` the folder that ``sdakd cache`` has filled.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        paired = {key: deepcopy(value) for key, value in opt.items() if key not in OWN_KEYS}
        self.paired = look_up(DATASET_REGISTRY, opt['paired_type'])({**paired, 'type': opt['paired_type']})
        self.opt = self.paired.opt  # with its defaults
        self.paths = self.paired.paths
        self.folder = self.paired.lq_cache = Path(opt['dataroot_teacher'])  # PhotoDataset finds its LQ images there

    def __len__(self) -> int:
        return len(self.paired)

    def __getitem__(self, index: int) -> dict[str, Any]:
        before = random.getstate()
        item = self.paired[index]
        after = random.getstate()
        name = image_name(self.paths[index]['lq_path'], lq_folder(self.opt))
        image = np.load(image_file(self.folder, name), mmap_mode='r')  # only the crop is read from the disk
        random.setstate(before)  # for the same crop and turns
        item['teacher'] = img2tensor(self._augmented(image), bgr2rgb=False)
        assert random.getstate() == after, f"{self.opt['paired_type']} draws otherwise than BasicSR's own"
        return item

    def _augmented(self, image: np.ndarray) -> np.ndarray:
        scale, gt_size = self.opt['scale'], self.opt['gt_size']
        lq = np.empty((image.shape[0] // scale, image.shape[1] // scale, 0))  # its size decides what is drawn
        crop, _ = paired_random_crop(image, lq, gt_size, scale, self.folder)
        return augment(np.array(crop, np.float32), self.opt['use_hflip'], self.opt['use_rot'])


def lq_folder(block: Mapping[str, Any]) -> str:
    """Where the LQ images of a data set are, or, where it makes them, those that they are made from; ``'.'`` for the
    embedded photographs, which are in no folder."""
    return str(block.get('dataroot_lq') or block.get('dataroot_gt') or '.')


def image_name(lq_path: str, folder: str) -> str:
    """What an LQ image is called in the cache: its path below its folder, or its key in an LMDB.

    Raises:
        UserError: it is elsewhere.
    """
    if folder.endswith('.lmdb'):
        return lq_path
    path = Path(os.path.relpath(lq_path, folder))
    if path.parts[0] == '..':
        raise UserError(f'teacher.cache: {lq_path} is not in {folder}, the folder of datasets.train')
    return path.as_posix()


def image_file(folder: Path, name: str) -> Path:
    """The cached image: NumPy's format, float16, (H, W, c), RGB."""
    return folder / f'{name}.npy'


def lq_file(folder: Path, name: str) -> Path:
    """The LQ image that it was made of, where that is costly to make: NumPy's format, uint8, (h, w, c), RGB."""
    return folder / f'{name}.lq.npy'
