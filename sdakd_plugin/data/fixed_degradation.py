"""Real-ESRGAN's degradation of whole photographs, reproducible; BasicSR draws its parameters and computes it."""

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
    """Makes the LQ image of a photograph, which depends only on the photograph, its name, the seed and the settings.

    It does not use the random numbers of the process, and it computes on one thread, so that the result is the same in
    every process.

    Args:
        opt: the block of a data set: ``scale``, and the settings that differ from Real-ESRGAN's.
        seed: the seed.
        bicubic_prob: probability that an image is only downsampled, bicubically.

    Attributes:
        recipe: everything that the images depend on, apart from the photographs and their names.
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
            name: name of the image.
            version: number of the version; each gives a different LQ image.

        Returns:
            (h / scale, w / scale, 3), uint8, BGR.
        """
        with own_random_numbers(f'{self.seed}/{version}/{name}'):
            if random.random() < self.bicubic_prob:
                return bicubic_reduction(gt, self.scale)
            kernels = {key: value[None] for key, value in self.kernels[0].items() if 'kernel' in key}
            return self.model.degrade(gt, kernels)


class OnePixel:
    """A stand-in for a file client, for a data set that is used only for its blur kernels."""

    def get(self, _path: str, _client_key: str) -> bytes:
        """The content of a PNG file of one black pixel."""
        content: bytes = cv2.imencode('.png', np.zeros((1, 1, 3), np.uint8))[1].tobytes()
        return content


def kernel_source(opt: Mapping[str, Any], files: Any, paths: list[str]) -> RealESRGANDataset:
    """BasicSR's ``RealESRGANDataset`` of the images that ``files.get(path, 'gt')`` returns; needs no ``meta_info``."""
    dataset = RealESRGANDataset(
        {**KERNELS, **opt, 'dataroot_gt': '', 'io_backend': {'type': 'disk'}, 'meta_info': os.devnull}
    )
    dataset.file_client, dataset.paths = files, paths
    return dataset


@contextmanager
def own_random_numbers(seed: str) -> Iterator[None]:
    """Seed the random generators of Python, NumPy and torch (CPU) and use one torch thread inside the block.

    Their states and the number of threads are restored afterwards.
    """
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
