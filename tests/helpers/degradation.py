"""Options and batches of a run with Real-ESRGAN's on-the-fly degradation."""

import copy
import random

import numpy as np
import torch
from basicsr.data import build_dataset

KERNELS = {
    'blur_kernel_size': 21,
    'kernel_list': ['iso', 'aniso'],
    'kernel_prob': [0.5, 0.5],
    'sinc_prob': 0.1,
    'blur_sigma': [0.2, 3],
    'betag_range': [0.5, 4],
    'betap_range': [1, 2],
    'blur_kernel_size2': 21,
    'kernel_list2': ['iso', 'aniso'],
    'kernel_prob2': [0.5, 0.5],
    'sinc_prob2': 0.1,
    'blur_sigma2': [0.2, 1.5],
    'betag_range2': [0.5, 4],
    'betap_range2': [1, 2],
    'final_sinc_prob': 0.8,
}
DEGRADATION = {
    'resize_prob': [0.2, 0.7, 0.1],
    'resize_range': [0.15, 1.5],
    'gaussian_noise_prob': 0.5,
    'noise_range': [1, 30],
    'poisson_scale_range': [0.05, 3],
    'gray_noise_prob': 0.4,
    'jpeg_range': [30, 95],
    'second_blur_prob': 0.8,
    'resize_prob2': [0.3, 0.4, 0.3],
    'resize_range2': [0.3, 1.2],
    'gaussian_noise_prob2': 0.5,
    'noise_range2': [1, 25],
    'poisson_scale_range2': [0.05, 2.5],
    'gray_noise_prob2': 0.4,
    'jpeg_range2': [30, 95],
    'gt_size': 64,
    'queue_size': 4,
    'l1_gt_usm': True,
    'percep_gt_usm': True,
    'gan_gt_usm': False,
}


def degradation_options(options, photos):
    """The options of a run that makes LQ images on the fly."""
    options = copy.deepcopy(options) | DEGRADATION
    train = options['datasets']['train']
    options['datasets']['train'] = {
        'name': 'photos',
        'type': 'RealESRGANDataset',
        'dataroot_gt': train['dataroot_gt'],
        'meta_info': str(photos / 'meta.txt'),
        'io_backend': {'type': 'disk'},
        'gt_size': 64,
        'use_hflip': True,
        'use_rot': False,
        'num_worker_per_gpu': 1,
        'batch_size_per_gpu': 2,
        'dataset_enlarge_ratio': 1,
        **KERNELS,
    }
    return options


def batches(options, count):
    """Batches of GT images and kernels as the data loader collates them."""
    dataset = build_dataset({**options['datasets']['train'], 'phase': 'train', 'scale': 4})
    return [torch.utils.data.default_collate([dataset[(2 * i) % 4], dataset[(2 * i + 1) % 4]]) for i in range(count)]


def seed(number):
    """Seed all random numbers."""
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)
