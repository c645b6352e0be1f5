"""Checks the data of a run: folders exist, images can be read, sizes of LQ and GT match the scale."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import partial
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import numpy as np
from basicsr.data import build_dataloader, build_dataset
from basicsr.utils import imfrombytes
from basicsr.utils.registry import DATASET_REGISTRY, METRIC_REGISTRY
from PIL import Image

from sdakd_plugin.checks.places import check_places, unpaired
from sdakd_plugin.data.lq_photo_dataset import LQPhotoDataset, without_gt
from sdakd_plugin.data.photo_dataset import PhotoDataset
from sdakd_plugin.data.published import brings_kernels
from sdakd_plugin.data.sample_image_dataset import SampleImageDataset
from sdakd_plugin.data.whole_image_dataset import WholeImageDataset
from sdakd_plugin.errors import UserError, all_of, nearest
from sdakd_plugin.families.registry import family_named
from sdakd_plugin.inference.images import read_image
from sdakd_plugin.networks.build import registered
from sdakd_plugin.utils import random_state
from sdakd_plugin.utils.available_memory import available

DISK = {'type': 'disk'}
# Seconds for checking headers and pixels of images, which are sampled from each data set. A header takes 0.1 ms, all
# pixels of 480x320 about 5 ms. A bad image that is not found here is named in training (stock/named_errors.py).
HEADERS, PIXELS = 4.0, 2.0
LONGEST_EPOCH = 10**8  # images; BasicSR's sampler makes a list of their indices
CROPPED = 400  # pixels, to which RealESRGANDataset crops or pads all images before gt_size counts
GB = 1e9
ORIENTATION = 0x0112  # EXIF's tag for the orientation of the camera


def check_datasets(opt: Mapping[str, Any]) -> None:
    """Build every data set of the options once, and check its images.

    Raises:
        UserError: a folder is missing or empty, an image cannot be read, LQ and GT do not match the scale, or the
            training set is smaller than a batch.
    """
    all_of(*(partial(_check_block, opt, phase) for phase in opt['datasets']))


def _check_block(opt: Mapping[str, Any], phase: str) -> None:
    block, key = opt['datasets'][phase], f'datasets.{phase}'
    known = registered(DATASET_REGISTRY)
    if block.get('type') not in known:
        raise UserError(f"{key}.type: there is no '{block.get('type')}'" + nearest(block.get('type'), known))
    if 'name' not in block:
        raise UserError(f'{key}.name: this key is missing')
    try:
        _check_dataset(opt, phase, 1 / len(opt['datasets']))
    except UserError:
        check_places(block, key)  # a missing folder is the cause of most errors
        raise


def _check_dataset(opt: Mapping[str, Any], phase: str, share: float) -> None:
    block, key = opt['datasets'][phase], f'datasets.{phase}'
    # BasicSR adds phase and scale in parse_options
    full = {'phase': phase.split('_')[0], 'scale': opt.get('scale', 1), **deepcopy(block)}
    dataset = _build(full, key)
    if phase == 'train' and block['type'] == 'SingleImageDataset':
        raise UserError(f'{key}.type: SingleImageDataset makes no crops; use LQPhotoDataset for images without GT')
    folder = block.get('dataroot_gt') or block.get('dataroot_lq') or block['type']
    if len(dataset) == 0:
        raise UserError(f'{key}: {folder} holds no images')
    if isinstance(dataset, WholeImageDataset) and not opt.get('scales'):
        raise UserError(f'scales: this key is missing; {block["type"]} under {key} has no LQ images')
    if phase == 'train':
        _check_sizes(opt, full)
        _check_batch(len(dataset), block, opt.get('world_size', 1))
    _check_loader(dataset, full, key)
    paths = None if isinstance(dataset, SampleImageDataset) else getattr(dataset, 'paths', None)  # not files
    if isinstance(dataset, (PhotoDataset, LQPhotoDataset)):
        _check_photographs(dataset, key, share)
    elif isinstance(paths, list) and paths and (block.get('io_backend') or DISK).get('type') == 'disk':
        _check_files(paths, opt, phase, share)
    item = _first_item(dataset, block['type'], key)
    if phase == 'train' and 'gt' not in item and not without_gt(block):
        raise UserError(f'{key}: {block["type"]} has no GT images; use LQPhotoDataset for a folder of LQ images')
    taught = phase != 'train' and opt.get('train') and (opt.get('teacher') or opt.get('teachers'))
    if phase != 'train' and 'gt' not in item and not (taught and without_gt(block)):
        _check_metrics(opt, key)


def _check_files(paths: list[Any], opt: Mapping[str, Any], phase: str, share: float) -> None:
    """Check a sample of a data set's image files, in its share of the time."""
    block, key, network = opt['datasets'][phase], f'datasets.{phase}', opt['network_g']
    check_lq = family_named(network.get('type', '')).check_lq
    for path in sample(paths, HEADERS * share):
        _check_images(path, block, key, opt.get('scale') or block.get('scale', 1), phase == 'train')
        if block['type'] == 'SingleImageDataset' and check_lq is not None:
            width, height = _size(path, key)
            wrong = check_lq(network, width, height, opt.get('scales'))
            if wrong is not None:
                raise UserError(f'{key}: {path} {wrong}')
    for path in sample(paths, PIXELS * share):
        _check_pixels(path, key)


def _check_photographs(dataset: PhotoDataset | LQPhotoDataset, key: str, share: float) -> None:
    """Check a sample of the photographs of a data set, in its share of the time."""
    if dataset.photographs.backend['type'] != 'disk':
        return
    scale, lq = dataset.scale, isinstance(dataset, LQPhotoDataset)
    train = dataset.train and getattr(dataset, 'kernels', None) is None  # with kernels small ones are padded
    needed = dataset.opt['gt_size'] // (scale if lq else 1) if train else 1 if lq else scale
    sizes = {path: _size(path, key) for path in sample(dataset.photographs.paths, HEADERS * share)}
    small = {path: size for path, size in sizes.items() if min(size) < needed}
    if small:
        path, (width, height) = min(small.items())
        count = f'{len(small)} of {len(sizes)} photographs {"is" if len(small) == 1 else "are"} smaller than'
        least = min(map(min, sizes.values()))
        fits = least * scale if lq else least // scale * scale
        remedy = f'use {fits} or less, or remove them' if train and fits else 'remove them'
        what = (
            f'gt_size: {count} {"gt_size / scale," if lq else "the crop"}'
            if train
            else f'dataroot_gt: {count} the scale'
        )
        raise UserError(f'{key}.{what} {needed}, such as {path} ({width}x{height}); {remedy}')
    for path in sample(dataset.photographs.paths, PIXELS * share):
        _check_pixels(path, key)


def sample(paths: list[Any], seconds: float) -> Iterator[Any]:
    """Yield paths in a random order, which is always the same, until the time is over."""
    end = time.monotonic() + seconds
    for index in np.random.default_rng(0).permutation(len(paths)):
        yield paths[index]
        if time.monotonic() > end:
            return


def _build(block: dict[str, Any], key: str) -> Any:
    try:
        return build_dataset(block)
    except UserError as error:
        raise UserError(f'{key}.{error}') from None
    except KeyError as error:
        raise UserError(f'{key}.{error.args[0]}: this key is missing; {block["type"]} needs it') from error
    except (AssertionError, AttributeError, ImportError, IndexError, OSError, TypeError, ValueError) as error:
        reason = unpaired(block, key) if isinstance(error, AssertionError) else None
        raise UserError(reason or f'{key}: {block["type"]} cannot be built: {error}') from error


def _check_metrics(opt: Mapping[str, Any], key: str) -> None:
    """Check the metrics for a data set without ground truth."""
    for name, block in ((opt.get('val') or {}).get('metrics') or {}).items():
        parameters = signature(METRIC_REGISTRY.get(block['type'])).parameters
        if 'img2' in parameters and parameters['img2'].default is Parameter.empty:
            raise UserError(
                f'val.metrics.{name}: compares with GT images, but {key} has none; leave the metrics out, '
                'or use PairedImageDataset'
            )


def _first_item(dataset: Any, kind: str, key: str) -> Mapping[str, Any]:
    """Read the first image as in training: many keys are read only then."""
    before = random_state.capture()
    try:
        item: Mapping[str, Any] = dataset[0]
        return item
    except UserError as error:
        raise UserError(f'{key}: {error}') from None
    except KeyError as error:
        raise UserError(f'{key}.{error.args[0]}: this key is missing; {kind} needs it') from error
    except Exception as error:  # whatever the user's own data sets may raise
        raise UserError(f'{key}: {kind} fails to return an image: {type(error).__name__}: {error}') from error
    finally:
        random_state.restore(before)


def _check_loader(dataset: Any, block: dict[str, Any], key: str) -> None:
    """Build BasicSR's data loader, which does not start workers yet."""
    try:
        build_dataloader(dataset, block, num_gpu=0)
    except (TypeError, ValueError) as error:
        raise UserError(f'{key}: {error}') from error
    if block.get('prefetch_mode') == 'cuda' and not block.get('pin_memory'):
        raise UserError(f'{key}.pin_memory: must be true for prefetch_mode: cuda')


def _check_sizes(opt: Mapping[str, Any], block: Mapping[str, Any]) -> None:
    """Check the crop size against the scale, and the images that are kept in memory against the available memory."""
    kind, scale, room = block['type'], opt.get('scale', 1), available()
    cropped = brings_kernels(block)
    holder, key = (opt, 'gt_size') if kind == 'RealESRGANDataset' else (block, 'datasets.train.gt_size')
    size = holder.get('gt_size')
    if size is None:
        return
    if size % scale:
        raise UserError(f'{key}: {size} is not a multiple of the scale {scale}; use {max(size // scale, 1) * scale}')
    if cropped and size > CROPPED:
        raise UserError(f'{key}: {size} is more than {CROPPED}, to which {kind} crops all images')
    for name, images in (
        ('queue_size', opt.get('queue_size', 180) if cropped else 0),
        ('datasets.train.batch_size_per_gpu', block.get('batch_size_per_gpu', 1)),
    ):
        needed = images * 3 * 4 * (size**2 + (size // scale) ** 2)
        if room is not None and needed > room / 2:
            raise UserError(
                f'{name}: {images} images of {size}x{size} take {needed / GB:,.0f} GB, and '
                f'{room / GB:,.1f} GB are available; use less'
            )


def _check_batch(length: int, block: Mapping[str, Any], world_size: int) -> None:
    batch, ratio = block.get('batch_size_per_gpu', 1), block.get('dataset_enlarge_ratio', 1)
    if ratio < 1:
        raise UserError(
            f'datasets.train.dataset_enlarge_ratio: with {ratio} BasicSR trains on the same '
            f'{math.ceil(length * ratio):,} of {length:,} images in every epoch; use 1 or more'
        )
    images = math.ceil(length * ratio / world_size)
    if images > LONGEST_EPOCH:
        raise UserError(
            f'datasets.train.dataset_enlarge_ratio: {ratio} makes an epoch of {images:,} images; use '
            f'{LONGEST_EPOCH // length:,} or less'
        )
    if images < batch:
        raise UserError(
            f'datasets.train: {images} images per process are less than a batch of {batch}; set '
            f'dataset_enlarge_ratio: {math.ceil(batch * world_size / length)} or more'
        )


def _check_images(path: Any, block: Mapping[str, Any], key: str, scale: int, train: bool) -> None:
    """Check the size of an image or of a pair, which are read from the headers."""
    gt_path = path['gt_path'] if isinstance(path, Mapping) else path
    gt = _size(gt_path, key)
    gt_size = block.get('gt_size') if train else None
    if block['type'] == 'WholeImageDataset' and min(gt) < block['gt_size']:
        raise UserError(f'{key}: {path} ({gt[0]}x{gt[1]}) is smaller than gt_size {block["gt_size"]}; remove it')
    if isinstance(path, Mapping) and 'lq_path' in path:
        lq = _size(path['lq_path'], key)
        fits = [side * scale for side in lq]
        # outside training BasicSR crops the ground truth to what the LQ image covers
        if (train and fits != gt) or any(have < want for have, want in zip(gt, fits, strict=True)):
            raise UserError(
                f'{key}: {path["lq_path"]} ({lq[0]}x{lq[1]}) times scale {scale} is not {gt_path} ({gt[0]}x{gt[1]})'
            )
        if gt_size and min(gt) < gt_size:
            raise UserError(
                f'{key}.gt_size: {gt_path} ({gt[0]}x{gt[1]}) is smaller than the crop {gt_size}; use '
                f'{min(gt) // scale * scale} or less, or remove the image'
            )


def _check_pixels(path: Any, key: str) -> None:
    """Read an image or a pair completely: a truncated file has a valid header."""
    for file in path.values() if isinstance(path, Mapping) else [path]:
        try:
            read_image(file)
        except UserError as error:
            raise UserError(f'{key}: {error}') from None


def _size(path: str, key: str) -> list[int]:
    """Width and height of an image file as BasicSR reads it, that is, rotated according to EXIF."""
    try:
        with Image.open(path) as image:
            size = list(image.size)
            if 'exif' in image.info and image.getexif().get(ORIENTATION, 1) > 4:  # a quarter turn
                pixels = imfrombytes(Path(path).read_bytes())  # only OpenCV knows which formats it rotates
                size = size if pixels is None else [pixels.shape[1], pixels.shape[0]]
            return size
    except FileNotFoundError:
        raise UserError(f'{key}: {path} is in the list of images, but does not exist') from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f'{key}: {path} is not a readable image: {error}') from error
