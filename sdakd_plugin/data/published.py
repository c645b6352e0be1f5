"""Real-ESRGAN's published degradation settings (x4plus), the defaults for what an option file leaves out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# https://github.com/xinntao/Real-ESRGAN, options/train_realesrgan_x4plus.yml
KERNELS: dict[str, Any] = {
    'blur_kernel_size': 21,
    'kernel_list': ['iso', 'aniso', 'generalized_iso', 'generalized_aniso', 'plateau_iso', 'plateau_aniso'],
    'kernel_prob': [0.45, 0.25, 0.12, 0.03, 0.12, 0.03],
    'sinc_prob': 0.1,
    'blur_sigma': [0.2, 3],
    'betag_range': [0.5, 4],
    'betap_range': [1, 2],
    'blur_kernel_size2': 21,
    'kernel_list2': ['iso', 'aniso', 'generalized_iso', 'generalized_aniso', 'plateau_iso', 'plateau_aniso'],
    'kernel_prob2': [0.45, 0.25, 0.12, 0.03, 0.12, 0.03],
    'sinc_prob2': 0.1,
    'blur_sigma2': [0.2, 1.5],
    'betag_range2': [0.5, 4],
    'betap_range2': [1, 2],
    'final_sinc_prob': 0.8,
}
SETTINGS: dict[str, Any] = {
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
}
POOL = 180  # images; the default of BasicSR's RealESRGANModel


def brings_kernels(block: Mapping[str, Any]) -> bool:
    """Whether a training data set provides blur kernels instead of LQ images; the model then makes the LQ images."""
    online = block.get('degradation') == 'real' and block.get('degradation_seed') is None
    return block.get('type') == 'RealESRGANDataset' or (block.get('type') == 'PhotoDataset' and online)


def completed(opt: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a run, completed with the settings of the degradation of photographs.

    - ``RealESRGANDataset`` without ``meta_info`` becomes a ``PhotoDataset``, which gives the same items for a whole
      folder.
    - A ``PhotoDataset`` with ``degradation: real`` gets the settings that it leaves out, from the top level or, if they
      are missing there too, from the published ones.
    - If the model makes the LQ images, the top level gets the settings of the training set.

    Completing options that are complete changes nothing.

    Args:
        opt: the result of BasicSR's ``parse_options``, or the bare YAML; not changed.
    """
    blocks = opt.get('datasets')
    if not isinstance(blocks, Mapping) or not all(isinstance(block, Mapping) for block in blocks.values()):
        return dict(opt)  # parse() reports the error
    top = {key: opt[key] for key in SETTINGS if opt.get(key) is not None}
    blocks = {phase: _with_settings(_listed(block, opt), top) for phase, block in blocks.items()}
    opt, train = {**opt, 'datasets': blocks}, blocks.get('train', {})
    if train.get('type') != 'PhotoDataset' or not brings_kernels(train):
        return opt
    batch = train.get('batch_size_per_gpu', 1)
    more = {key: train[key] for key in SETTINGS}
    if opt.get('gt_size') is None and 'gt_size' in train:
        more['gt_size'] = train['gt_size']
    if opt.get('queue_size') is None and isinstance(batch, int) and batch > 0:
        more['queue_size'] = -(-POOL // batch) * batch
    return {**opt, **more}


def _listed(block: Mapping[str, Any], opt: Mapping[str, Any]) -> Mapping[str, Any]:
    backend = block.get('io_backend')
    lmdb = isinstance(backend, Mapping) and backend.get('type') == 'lmdb'  # contains its own meta_info.txt
    if block.get('type') != 'RealESRGANDataset' or block.get('meta_info') is not None or lmdb:
        return block
    kept = {key: value for key, value in block.items() if key != 'meta_info'}
    size = {} if opt.get('gt_size') is None else {'gt_size': opt['gt_size']}  # RealESRGANModel crops to this size
    return {**kept, **size, 'type': 'PhotoDataset', 'degradation': 'real'}


def _with_settings(block: Mapping[str, Any], top: Mapping[str, Any]) -> Mapping[str, Any]:
    if block.get('type') != 'PhotoDataset' or block.get('degradation') != 'real':
        return block
    own = {key: block[key] for key in SETTINGS if block.get(key) is not None}
    return {**block, **SETTINGS, **top, **own}
