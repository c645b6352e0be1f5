"""Real-ESRGAN's degradation of whole photographs, the same each time; the numbers are drawn and computed by BasicSR."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.data.realesrgan_dataset import RealESRGANDataset

from sdakd_plugin.data.published import KERNELS, SETTINGS
from sdakd_plugin.data.sample_image_dataset import bicubic_reduction
from sdakd_plugin.stock.degradation import PhotoDegradation


class FixedDegradation:
    """Makes the LQ image of a photograph: a function of the photograph, its name, the seed and the settings alone.

    It draws no random number of the process, and computes with one thread, so that the result does not depend on who
    computes it.

    Args:
        opt: a data set's block: ``scale``, and settings where they differ from Real-ESRGAN's.
        seed: the seed.
        bicubic_prob: how probable it is that an image is only reduced, bicubically.

    Attributes:
        recipe: what the images depend on besides the photographs and their names.
    """

    def __init__(self, opt: Mapping[str, Any], seed: int, bicubic_prob: float) -> None:
        settings = {key: opt.get(key, value) for key, value in {**KERNELS, **SETTINGS}.items()}
        self.scale, self.seed, self.bicubic_prob = opt['scale'], seed, bicubic_prob
        self.recipe = {'type': 'real', 'seed': seed, 'bicubic_prob': bicubic_prob, **settings}
        self.kernels = kernel_source({**settings, 'use_hflip': False, 'use_rot': False}, OnePixel(), [''])
        self.model = PhotoDegradation({**settings, 'scale': self.scale})

    def __call__(self, gt: np.ndarray, name: str, version: int = 0) -> np.ndarray:
        """Degrade an image.

        Args:
            gt: (h, w, 3), uint8, BGR, both sides a multiple of the scale.
            name: its name.
            version: each gives another image.

        Returns:
            (h / scale, w / scale, 3), uint8, BGR.
        """
        with own_random_numbers(f'{self.seed}/{version}/{name}'):
            if random.random() < self.bicubic_prob:
                return bicubic_reduction(gt, self.scale)
            kernels = {key: value[None] for key, value in self.kernels[0].items() if 'kernel' in key}
            return self.model.degrade(gt, kernels)


class OnePixel:
    """A source of images for a data set that is there for its blur kernels."""

    def get(self, _path: str, _client_key: str) -> bytes:
        """The image file."""
        content: bytes = cv2.imencode('.png', np.zeros((1, 1, 3), np.uint8))[1].tobytes()
        return content


def kernel_source(opt: Mapping[str, Any], files: Any, paths: list[str]) -> RealESRGANDataset:
    """BasicSR's ``RealESRGANDataset`` of the images that ``files.get(path, 'gt')`` gives, without a list of them."""
    dataset = RealESRGANDataset(
        {**KERNELS, **opt, 'dataroot_gt': '', 'io_backend': {'type': 'disk'}, 'meta_info': os.devnull}
    )
    dataset.file_client, dataset.paths = files, paths
    return dataset


@contextmanager
def own_random_numbers(seed: str) -> Iterator[None]:
    """Inside, the generators of Python, NumPy and torch on the CPU begin with a seed, and torch has one thread; outside
    nobody notices."""
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], 'big')  # NumPy takes 32 bits
    python, numpy, threads = random.getstate(), np.random.get_state(), torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        random.seed(number)
        np.random.seed(number)
        torch.default_generator.manual_seed(number)  # torch.manual_seed would seed the GPUs too
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            random.setstate(python)
            np.random.set_state(numpy)
