"""Checks the data of a run: folders that are there, images that open, LQ and GT that fit the scale."""
from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from basicsr.data import build_dataset
from basicsr.utils.registry import DATASET_REGISTRY
from PIL import Image

from sdakd_plugin.data.whole_image_dataset import WholeImageDataset
from sdakd_plugin.distillation.build import registered
from sdakd_plugin.errors import UserError, nearest

DISK = {'type': 'disk'}
MOST_PAIRS = 2000  # opening a header takes about 0.1 ms; of larger sets, so many images evenly spread


def check_datasets(opt: Mapping[str, Any]) -> None:
    """Build every data set of the options once, and look at its images.

    Raises:
        UserError: a folder is missing or empty, an image does not open, LQ and GT do not fit the scale, or the
            training set is smaller than a batch.
    """
    for phase, block in opt['datasets'].items():
        key = f'datasets.{phase}'
        known = registered(DATASET_REGISTRY)
        if block.get('type') not in known:
            raise UserError(f"{key}.type: there is no '{block.get('type')}'" + nearest(block.get('type'), known))
        if 'name' not in block:
            raise UserError(f'{key}.name: this key is missing')
        # BasicSR adds phase and scale in parse_options
        dataset = _build({'phase': phase.split('_')[0], 'scale': opt.get('scale', 1), **deepcopy(block)}, key)
        folder = block.get('dataroot_gt') or block.get('dataroot_lq') or block['type']
        if len(dataset) == 0:
            raise UserError(f'{key}: {folder} holds no images')
        if isinstance(dataset, WholeImageDataset) and not opt.get('scales'):
            raise UserError(f"scales: this key is missing; {block['type']} under {key} has no LQ images")
        if phase == 'train':
            _check_batch(len(dataset), block, opt.get('world_size', 1))
        paths = getattr(dataset, 'paths', None)
        if isinstance(paths, list) and paths and (block.get('io_backend') or DISK).get('type') == 'disk':
            for path in paths[::math.ceil(len(paths) / MOST_PAIRS)]:
                _check_images(path, block, key, opt.get('scale') or block.get('scale', 1), phase == 'train')
                if block['type'] == 'SingleImageDataset' and 'out_size' in opt['network_g']:
                    _check_lq(path, key, opt['network_g']['out_size'], opt.get('scales'))


def _build(block: dict[str, Any], key: str) -> Any:
    try:
        return build_dataset(block)
    except UserError as error:
        raise UserError(f'{key}.{error}') from None
    except KeyError as error:
        raise UserError(f"{key}.{error.args[0]}: this key is missing; {block['type']} needs it") from error
    except (AssertionError, OSError, TypeError, ValueError) as error:
        raise UserError(f"{key}: {block['type']} cannot be built: {error}") from error


def _check_batch(length: int, block: Mapping[str, Any], world_size: int) -> None:
    batch = int(block.get('batch_size_per_gpu', 1))
    images = math.ceil(length * block.get('dataset_enlarge_ratio', 1) / world_size)
    if images < batch:
        ratio = math.ceil(batch * world_size / length)
        raise UserError(f'datasets.train: {images} images for a process make no batch of {batch}; set '
                        f'dataset_enlarge_ratio: {ratio} or more')


def _check_images(path: Any, block: Mapping[str, Any], key: str, scale: int, train: bool) -> None:
    """Check one image, or one pair: the sizes are read from the headers."""
    gt_path = path['gt_path'] if isinstance(path, Mapping) else path
    gt = _size(gt_path, key)
    gt_size = block.get('gt_size') if train else None
    if block['type'] == 'WholeImageDataset' and min(gt) < block['gt_size']:
        raise UserError(f"{key}: {path} ({gt[0]}x{gt[1]}) is smaller than gt_size {block['gt_size']}; remove it")
    if isinstance(path, Mapping) and 'lq_path' in path:
        lq = _size(path['lq_path'], key)
        fits = [side * scale for side in lq]
        # outside training BasicSR crops the ground truth to what the LQ image covers
        if (train and fits != gt) or any(have < want for have, want in zip(gt, fits, strict=True)):
            raise UserError(f"{key}: {path['lq_path']} ({lq[0]}x{lq[1]}) times scale {scale} is not {gt_path} "
                            f'({gt[0]}x{gt[1]})')
        if gt_size and min(gt) < gt_size:
            raise UserError(f'{key}.gt_size: {gt_path} ({gt[0]}x{gt[1]}) is smaller than the crop {gt_size}; use '
                            f'{min(gt) // scale * scale} or less, or remove the image')


def _check_lq(path: str, key: str, out_size: int, scales: list[int] | None) -> None:
    """Check an LQ image for a network that makes images of one size: its size tells the scale."""
    width, height = _size(path, key)
    if width != height or width > out_size:
        raise UserError(f'{key}: {path} is {width}x{height}; network_g takes square images of at most {out_size}')
    if scales and out_size / width not in scales:
        listed = ', '.join(map(str, sorted(set(scales))))
        raise UserError(f'{key}: {path} ({width}x{height}) has the scale {out_size / width:g}, which is not in scales '
                        f'({listed})')


def _size(path: str, key: str) -> list[int]:
    """Width and height of an image file."""
    try:
        with Image.open(path) as image:
            return list(image.size)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f'{key}: {path} is no readable image: {error}') from error
