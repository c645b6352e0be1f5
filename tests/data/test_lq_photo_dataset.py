"""LQ images without ground truth."""

import random

import pytest
import torch
from basicsr.data import build_dataset
from basicsr.utils.lmdb_util import make_lmdb_from_imgs

from sdakd_plugin.data.against_teacher import AgainstTeacher
from tests.helpers.mistakes import change, complaint


@pytest.fixture
def block(photos):
    return {
        'name': 'lq',
        'type': 'LQPhotoDataset',
        'phase': 'train',
        'scale': 4,
        'dataroot_lq': str(photos / 'LR'),
        'gt_size': 64,
    }


def items(block):
    dataset = build_dataset(block)
    dataset.paths.sort(key=lambda paths: paths['lq_path'])  # BasicSR has them in the order of the file system
    random.seed(1)
    return [dataset[index % len(dataset)] for index in range(20)]


def test_crops_flips_and_turns_are_those_of_paired_data(block, photos):
    paired = {
        **block,
        'type': 'PairedImageDataset',
        'dataroot_gt': str(photos / 'HR'),
        'io_backend': {'type': 'disk'},
        'use_hflip': True,
        'use_rot': True,
    }
    for own, other in zip(items(block), items(paired), strict=True):
        assert set(own) == {'lq', 'lq_path'} and own['lq'].shape == (3, 16, 16)
        assert torch.equal(own['lq'], other['lq']) and own['lq_path'] == other['lq_path']


def test_outside_training_images_are_whole(block):
    dataset = build_dataset({**block, 'phase': 'val'})
    assert len(dataset) == 4 and all(item['lq'].shape == (3, 48, 48) for item in (dataset[0], dataset[3]))


def test_an_lmdb_has_the_same_images(block, photos, tmp_path):
    keys = ['astronaut', 'chelsea', 'coffee', 'rocket']
    folder = str(tmp_path / 'lq.lmdb')
    make_lmdb_from_imgs(str(photos / 'LR'), folder, [f'{key}.png' for key in keys], keys)
    lmdb = {**block, 'phase': 'val', 'dataroot_lq': folder, 'io_backend': {'type': 'lmdb'}}
    pairs = zip(build_dataset({**block, 'phase': 'val'}), build_dataset(lmdb), strict=True)
    assert all(torch.equal(first['lq'], second['lq']) for first, second in pairs)


def test_the_image_of_the_teacher_takes_the_place_of_gt_and_is_computed_once(block):
    calls = []

    def enlarge(lq):
        calls.append(lq.shape)
        return torch.nn.functional.interpolate(lq, scale_factor=4) * 1.5 - 0.1  # beyond 0..1

    view = AgainstTeacher(build_dataset({**block, 'phase': 'val'}), enlarge)
    first, second = view[1], view[1]
    assert view.opt['name'] == 'lq_to_teacher' and len(view) == 4 and calls == [(1, 3, 48, 48)]
    assert torch.equal(first['gt'], second['gt']) and first['gt'].shape == (3, 192, 192)
    levels = first['gt'] * 255
    assert (levels - levels.round()).abs().max() < 1e-4 and levels.min() >= 0 and levels.max() <= 255


@pytest.mark.parametrize(
    'path, value, expected',
    [
        ('dataroot_lq', '/no/folder', 'datasets.train.dataroot_lq: /no/folder does not exist'),
        ('dataroot_lq', ..., 'datasets.train.dataroot_lq: this key is missing'),
        ('dataroot', 'x', "datasets.train.dataroot: unknown key for LQPhotoDataset; did you mean 'dataroot_lq'"),
        ('gt_size', 62, 'datasets.train.gt_size: 62 is not a multiple of the scale 4; use 60'),
        ('gt_size', 256, 'datasets.train.gt_size: 4 of 4 photographs are smaller than gt_size / scale, 64, such as'),
        ('gt_size', 256, '(48x48); use 192 or less'),
        ('type', 'SingleImageDataset', 'datasets.train.type: SingleImageDataset makes no crops; use LQPhotoDataset'),
    ],
)
def test_mistakes(options, block, path, value, expected):
    del block['phase'], block['scale']
    more = {'num_worker_per_gpu': 0, 'batch_size_per_gpu': 1, 'io_backend': {'type': 'disk'}}
    options['datasets']['train'] = {**block, **more}
    assert expected in complaint(change(options, f'datasets/train/{path}', value))
