"""SampleImageDataset gives the items of PairedImageDataset, and its LR equals the common files of Set5 and Set14."""

import random
import sys

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataloader, build_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from sdakd_plugin.data.sample_image_dataset import PHOTOGRAPHS, SampleImageDataset, bicubic_reduction
from sdakd_plugin.errors import UserError

VAL = {'name': 'sample', 'type': 'SampleImageDataset', 'phase': 'val', 'scale': 4}
TRAIN = {**VAL, 'phase': 'train', 'gt_size': 64, 'use_hflip': True, 'use_rot': True, 'center_crop': 128}


def test_serves_whole_photographs():
    dataset = build_dataset(VAL)
    assert len(dataset) == 4
    for name, item in zip(PHOTOGRAPHS, dataset, strict=False):
        assert set(item) == {'lq', 'gt', 'lq_path', 'gt_path'}
        assert item['lq_path'] == item['gt_path'] == f'{name}.png'  # validation takes the stem as the image's name
        assert item['gt'].dtype == item['lq'].dtype == torch.float32
        assert item['gt'].shape == (3, *(side * 4 for side in item['lq'].shape[1:]))
        photo = torch.from_numpy(getattr(data, name)()).permute(2, 0, 1).float() / 255
        height, width = item['gt'].shape[1:]
        assert 0 <= photo.shape[1] - height < 4 and 0 <= photo.shape[2] - width < 4
        assert torch.equal(item['gt'], photo[:, :height, :width])
        assert item['lq'].min() >= 0 and item['lq'].max() <= 1
        assert torch.equal(item['lq'], (item['lq'] * 255).round() / 255)  # as read from a file


@pytest.mark.parametrize('opt', [VAL, TRAIN, {**TRAIN, 'use_hflip': False, 'use_rot': False}])
def test_is_paired_image_dataset(tmp_path, opt):
    """The same images as files, the same seed: the same items, crops and flips included."""
    dataset = SampleImageDataset(opt)
    for folder, column in (('gt', 0), ('lq', 1)):
        (tmp_path / folder).mkdir()
        for name, pair in zip(dataset.names, dataset.pairs, strict=True):
            cv2.imwrite(str(tmp_path / folder / f'{name}.png'), pair[column][:, :, ::-1])
    files = build_dataset(
        {
            **opt,
            'type': 'PairedImageDataset',
            'io_backend': {'type': 'disk'},
            'dataroot_gt': str(tmp_path / 'gt'),
            'dataroot_lq': str(tmp_path / 'lq'),
        }
    )
    files.paths.sort(key=lambda path: path['gt_path'])  # BasicSR takes a folder in no particular order
    items = []
    for source in (dataset, files):
        random.seed(3)
        items.append([source[index] for index in list(range(len(source))) * 3])
    for ours, stock in zip(*items, strict=True):
        assert set(ours) == set(stock)
        assert torch.equal(ours['lq'], stock['lq']) and torch.equal(ours['gt'], stock['gt'])


def test_augmentation_leaves_the_images_alone():
    dataset = SampleImageDataset(TRAIN)
    before = [(gt.copy(), lq.copy()) for gt, lq in dataset.pairs]
    random.seed(0)
    for index in range(len(dataset)):
        dataset[index]
    for (gt, lq), (gt_before, lq_before) in zip(dataset.pairs, before, strict=True):
        assert np.array_equal(gt, gt_before) and np.array_equal(lq, lq_before)


def test_loads_in_workers():
    opt = {**TRAIN, 'batch_size_per_gpu': 2, 'num_worker_per_gpu': 1}
    for batch in build_dataloader(build_dataset(opt), opt, num_gpu=0):
        assert batch['lq'].shape == (2, 3, 16, 16) and batch['gt'].shape == (2, 3, 64, 64)


@pytest.mark.parametrize('scale', [1, 2, 3, 4, 8])
def test_center_crop_and_scale(scale):
    item = SampleImageDataset({**VAL, 'scale': scale, 'images': ['rocket'], 'center_crop': 48})[0]
    assert item['gt'].shape == (3, 48, 48) and item['lq'].shape == (3, 48 // scale, 48 // scale)
    photo = data.rocket()[189:237, 296:344]  # of 427 x 640
    assert torch.equal((item['gt'] * 255).round().byte(), torch.from_numpy(photo).permute(2, 0, 1))


@pytest.mark.parametrize(
    'block, message',
    [
        (
            {'images': ['astronout']},
            "images: scikit-image has no photograph 'astronout' here; did you mean 'astronaut'?",
        ),
        ({'images': ['cat', 'rocket']}, "no photograph 'cat' here; valid: astronaut, chelsea, coffee, rocket"),
        ({'images': 'rocket'}, 'images: expected a list of names; valid: astronaut, chelsea, coffee, rocket'),
        ({'images': []}, 'images: expected a list of names'),
        ({'use_hfilp': True}, "use_hfilp: unknown key for SampleImageDataset; did you mean 'use_hflip'"),
        (
            {'center_crop': 130},
            'center_crop: 130 is not a multiple of scale 4 up to 300, the most that the images allow',
        ),
        ({'center_crop': 304}, 'center_crop: 304 is not a multiple of scale 4 up to 300'),
        ({'gt_size': 66}, 'gt_size: 66 is not a multiple of scale 4 up to 128'),
        ({'gt_size': 132}, 'gt_size: 132 is not a multiple of scale 4 up to 128'),
        ({'gt_size': 0}, 'gt_size: 0 is not a multiple'),
        ({'gt_size': None}, 'gt_size: None is not a multiple'),
    ],
)
def test_bad_option(block, message):
    with pytest.raises(UserError) as caught:
        SampleImageDataset({**TRAIN, **block})
    assert message in str(caught.value)


@pytest.mark.parametrize('key', ['gt_size', 'use_hflip', 'use_rot'])
def test_missing_option_is_found_at_start(key):
    with pytest.raises(KeyError, match=key):
        SampleImageDataset({name: value for name, value in TRAIN.items() if name != key})


def test_needs_no_download(monkeypatch):
    monkeypatch.setitem(sys.modules, 'pooch', None)
    monkeypatch.setattr('socket.socket.connect', lambda *_: pytest.fail('connected'))
    assert len(SampleImageDataset(VAL)) == len(PHOTOGRAPHS)


@pytest.mark.parametrize('dataset', ['Set5', 'Set14'])
def test_lr_equals_the_files_in_use(shared, dataset):
    folder = shared / 'data' / dataset
    paths = sorted((folder / 'HR').iterdir())
    assert paths
    for path in paths:
        hr, lr = (cv2.imread(str(file)) for file in (path, folder / 'LR_bicubic_x4' / path.name))
        hr = hr[: lr.shape[0] * 4, : lr.shape[1] * 4]
        assert np.array_equal(bicubic_reduction(hr, 4), lr), path


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 255), st.integers(1, 8), st.tuples(st.integers(1, 6), st.integers(1, 6)))
def test_reduction_keeps_a_plain_colour(value, scale, size):
    image = np.full((size[0] * scale, size[1] * scale, 3), value, np.uint8)
    assert np.array_equal(bicubic_reduction(image, scale), np.full((*size, 3), value, np.uint8))


def test_reduction_is_matlab_s():
    """A step from 0 to 200: at scale 2 the kernel's weights are (-3, -9, 29, 111, 111, 29, -9, -3) / 256."""
    step = np.zeros((4, 12, 3), np.uint8)
    step[:, 6:] = 200
    want = [0, -3 * 200 / 256, 17 * 200 / 256, (256 - 17) * 200 / 256, 259 * 200 / 256, 200]
    want = [max(0, int(value + 0.5)) for value in want]
    assert want == [0, 0, 13, 187, 202, 200]
    assert (bicubic_reduction(step, 2) == np.array(want)[None, :, None]).all()
