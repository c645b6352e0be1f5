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
from basicsr.models.realesrgan_model import RealESRGANModel
from basicsr.utils import img2tensor, tensor2img
from basicsr.utils.img_process_util import usm_sharp
from torch import Tensor

from sdakd_plugin.data.degradation import ContiguousJPEG
from sdakd_plugin.data.published import KERNELS, SETTINGS
from sdakd_plugin.data.sample_image_dataset import bicubic_reduction

LEAST = 400  # pixels of GT: Real-ESRGAN extends smaller ones; its blur cannot work on images that are smaller than it


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
        self.model = OneImage({**settings, 'scale': self.scale})

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


class OneImage(RealESRGANModel):
    """Calls ``RealESRGANModel.feed_data`` for one image, on the CPU; see ``OnlineDegradation``."""

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt, self.device, self.is_train = opt, torch.device('cpu'), True  # and no super().__init__()
        self.jpeger = ContiguousJPEG(differentiable=False)

    def degrade(self, gt: np.ndarray, kernels: Mapping[str, Tensor]) -> np.ndarray:
        """As ``FixedDegradation``, with blur kernels (1, k, k)."""
        height, width = gt.shape[:2]
        scale = self.opt['scale']
        side = -(-max(height, width, LEAST) // scale) * scale  # a square, since that is what BasicSR crops
        square = cv2.copyMakeBorder(gt, 0, side - height, 0, side - width, cv2.BORDER_REFLECT_101)
        self.opt['gt_size'] = side
        self.feed_data({'gt': img2tensor(square / np.float32(255))[None], **kernels})
        return tensor2img(self.lq)[:height // scale, :width // scale]

    def usm_sharpener(self, image: Tensor) -> Tensor:
        """BasicSR's own for NumPy, whose blur is separable: 50 times faster than its module on a CPU."""
        return img2tensor(usm_sharp(image[0].permute(1, 2, 0).numpy()), bgr2rgb=False)[None]

    def _dequeue_and_enqueue(self) -> None:
        """There is no pool."""


class OnePixel:
    """A source of images for a data set that is there for its blur kernels."""

    def get(self, _path: str, _client_key: str) -> bytes:
        """The image file."""
        content: bytes = cv2.imencode('.png', np.zeros((1, 1, 3), np.uint8))[1].tobytes()
        return content


def kernel_source(opt: Mapping[str, Any], files: Any, paths: list[str]) -> RealESRGANDataset:
    """BasicSR's ``RealESRGANDataset`` of the images that ``files.get(path, 'gt')`` gives, without a list of them."""
    dataset = RealESRGANDataset({**KERNELS, **opt, 'dataroot_gt': '', 'io_backend': {'type': 'disk'},
                                 'meta_info': os.devnull})
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
