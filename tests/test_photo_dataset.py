"""PhotoDataset: a folder of photographs is enough."""
import os
import random
import re
import shutil

import cv2
import numpy as np
import pytest
import torch
import yaml
from basicsr.data import build_dataloader, build_dataset
from basicsr.data.transforms import mod_crop
from skimage import data

from sdakd_plugin.checks.data import check_datasets
from sdakd_plugin.data.photo_dataset import PhotoDataset, reduced_window
from sdakd_plugin.data.sample_image_dataset import bicubic_reduction
from sdakd_plugin.distillation.teacher_cache import TeacherCache, with_cache
from sdakd_plugin.errors import UserError
from sdakd_plugin.options import parse
from tests.conftest import UNET
from tests.test_cache import fill, items, refused
from tests.test_resume import check_exact, equal, losses

NAMES = ['a b/coffee.2.png', 'astronaut.JPG', 'chelsea.jpeg', 'rocket.png']


@pytest.fixture
def folder(tmp_path):
    """Photographs in a folder and one below it, of odd sizes, and much that is none."""
    root = tmp_path / 'my photos'
    (root / 'a b').mkdir(parents=True)
    (root / '.hidden').mkdir()
    for name, image in zip(NAMES, (data.coffee()[:151, :130], data.astronaut()[50:250, 100:273],
                                   data.chelsea()[50:200, 100:261], data.rocket()[100:244, 200:390]), strict=True):
        cv2.imwrite(str(root / name), image[..., ::-1])
    shutil.copy(root / 'rocket.png', root / '.hidden/rocket.png')
    for stray in ('.DS_Store', '._rocket.png', 'Thumbs.db', 'notes.txt'):
        (root / stray).write_text('no image')
    return root


@pytest.fixture
def block(folder):
    return {'name': 'photos', 'type': 'PhotoDataset', 'phase': 'train', 'scale': 4, 'dataroot_gt': str(folder),
            'gt_size': 64}


@pytest.fixture
def run(options, block, tmp_path, small_teacher):
    """A run with such a folder for training and validation, that learns from the teacher's image alone."""
    weights = shutil.copy(small_teacher / 'net_g.pth', tmp_path / 'teacher.pth')
    options['teacher'].update(pretrain_network_g=str(weights), cache=str(tmp_path / 'cache'))
    train = {key: value for key, value in block.items() if key not in ('phase', 'scale')}
    options['datasets'] = {'train': {**train, 'num_worker_per_gpu': 1, 'batch_size_per_gpu': 2},
                           'val': {'name': 'val', 'type': 'PhotoDataset', 'dataroot_gt': block['dataroot_gt']}}
    options['train'] = {**options['train'], 'total_iter': 4, 'stages': None,
                        'teacher_pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'}}
    for loss in ('pixel_opt', 'feature_opt', 'gan_opt'):
        del options['train'][loss]
    del options['network_d']
    return options


def complains(options, message):
    with pytest.raises(UserError) as found:
        check_datasets(options)
    assert re.search(message, str(found.value)), found.value
    assert '\n' not in str(found.value)


# --------------------------------------------------------------------------------------------------- bicubic reduction

@pytest.mark.parametrize('scale', [1, 2, 3, 4, 8])
def test_a_part_is_reduced_as_the_whole_is(scale):
    image = mod_crop(data.coffee()[:97, :131], scale)
    whole = bicubic_reduction(image, scale)
    height, width = whole.shape[:2]
    rng = random.Random(0)
    parts = [[sorted(rng.sample(range(side + 1), 2)) for side in (height, width)] for _ in range(60)]
    corners = [[rows, columns] for rows in ([0, 3], [height - 3, height]) for columns in ([0, 5], [width - 1, width])]
    for (top, bottom), (left, right) in [*parts, *corners]:
        part = reduced_window(image, scale, top, left, bottom - top, right - left)
        assert np.array_equal(part, whole[top:bottom, left:right])


@pytest.mark.parametrize('more', [{}, {'use_hflip': False, 'use_rot': False}, {'phase': 'val'}])
def test_is_paired_image_dataset(block, tmp_path, more):
    """The same images as files, the same seed: the same items, crops and flips included."""
    block.update({'use_hflip': True, 'use_rot': True, **more})
    dataset = build_dataset(block)
    for name in ('gt', 'lq'):
        (tmp_path / name).mkdir()
    for number, path in enumerate(dataset.paths):
        gt = mod_crop(cv2.imread(path['gt_path']), 4)
        for name, image in (('gt', gt), ('lq', bicubic_reduction(gt, 4))):
            cv2.imwrite(str(tmp_path / name / f'{number}.png'), image)
    files = build_dataset({**block, 'type': 'PairedImageDataset', 'dataroot_gt': str(tmp_path / 'gt'),
                           'dataroot_lq': str(tmp_path / 'lq'), 'io_backend': {'type': 'disk'}})
    files.paths.sort(key=lambda path: path['gt_path'])
    served = []
    for source in (dataset, files):
        random.seed(3)
        served.append([source[index % 4] for index in range(30)])
    for ours, stock in zip(*served, strict=True):
        assert set(ours) == set(stock)
        assert torch.equal(ours['lq'], stock['lq']) and torch.equal(ours['gt'], stock['gt'])
    if block['phase'] == 'train':
        assert len({item['gt'].sum().item() for item in served[0]}) > 20


def test_finds_photographs_in_subfolders_and_nothing_else(block, folder):
    dataset = build_dataset(block)
    assert dataset.photographs.names == NAMES
    assert [path['gt_path'] for path in dataset.paths] == [str(folder / name) for name in NAMES]
    (folder / 'again').symlink_to(folder)
    elsewhere = folder.parent / 'elsewhere'
    elsewhere.mkdir()
    shutil.copy(folder / 'rocket.png', elsewhere)
    (folder / 'linked').symlink_to(elsewhere)
    assert build_dataset(block).photographs.names == [*NAMES[:3], 'linked/rocket.png', NAMES[3]]


def test_an_lmdb(block, folder, tmp_path):
    import lmdb
    root = tmp_path / 'photos.lmdb'
    with lmdb.open(str(root), map_size=2**24) as base, base.begin(write=True) as transaction:
        for name in NAMES:
            transaction.put(name.rpartition('.')[0].encode(), (folder / name).read_bytes())
    keys = [name.rpartition('.')[0] for name in NAMES]
    (root / 'meta_info.txt').write_text(''.join(f'{key}.png (192,192,3) 1\n' for key in keys))
    from_files = items(block, 12)
    in_lmdb = {**block, 'dataroot_gt': str(root), 'io_backend': {'type': 'lmdb'}}
    for ours, theirs in zip(items(in_lmdb, 12), from_files, strict=True):
        assert torch.equal(ours['lq'], theirs['lq']) and torch.equal(ours['gt'], theirs['gt'])
    assert [path['gt_path'] for path in build_dataset(in_lmdb).paths] == keys
    loader_opt = {**in_lmdb, 'num_worker_per_gpu': 2, 'batch_size_per_gpu': 1}
    assert len(list(build_dataloader(build_dataset(in_lmdb), loader_opt, num_gpu=0))) == 4
    (root / 'meta_info.txt').unlink()
    with pytest.raises(UserError, match=r"dataroot_gt: '.*photos\.lmdb' has no readable meta_info\.txt"):
        build_dataset(in_lmdb)


# ----------------------------------------------------------------------------------------------------------- bad input

@pytest.mark.parametrize(('change', 'message'), [
    ({'dataroot_gt': '/nowhere'}, r"datasets\.train\.dataroot_gt: there is no folder '/nowhere'$"),
    ({'dataroot_gt': ''}, r"datasets\.train\.dataroot_gt: there is no folder ''$"),
    ({'gt_size': 66}, r'datasets\.train\.gt_size: 66 is not a multiple of the scale 4; use 64$'),
    ({'gt_size': 148}, r'datasets\.train\.gt_size: 2 of 4 photographs are smaller than the crop 148, such as \S+ '
                       r'.*coffee\.2\.png \(130x151\); use 128 or less, or remove them$'),
    ({'gt_size': 132}, r'1 of 4 photographs is smaller than the crop 132'),
    ({'use_hfilp': True}, r"datasets\.train\.use_hfilp: unknown key for PhotoDataset; did you mean 'use_hflip' or"),
    ({'io_backend': {'type': 'lmdb'}}, r"dataroot_gt: '.*my photos' must end with \.lmdb"),
])
def test_bad_options_cost_a_line(run, change, message):
    run['datasets']['train'].update(change)
    complains(run, message)


@pytest.mark.parametrize('key', ['dataroot_gt', 'gt_size'])
def test_missing_keys(run, key):
    del run['datasets']['train'][key]
    complains(run, rf'datasets\.train\.{key}: this key is missing; PhotoDataset needs it')


def test_a_folder_without_photographs_and_files_that_are_broken(run, folder, tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'empty/readme.txt').write_text('nothing')
    run['datasets']['train']['dataroot_gt'] = str(tmp_path / 'empty')
    complains(run, r"datasets\.train\.dataroot_gt: no photograph in '\S+empty'; looked for \.png, \.jpg, ")
    run['datasets']['train']['dataroot_gt'] = str(folder)
    cv2.imwrite(str(folder / 'tiny.png'), np.zeros((3, 9, 3), np.uint8))
    complains({**run, 'datasets': {'val': run['datasets']['val']}},
              r'datasets\.val\.dataroot_gt: 1 of 5 photographs is smaller than the scale 4, .*tiny\.png \(9x3\)')
    (folder / 'tiny.png').write_text('not an image')
    complains(run, r'datasets\.train: .*tiny\.png is no readable image')
    content = (folder / 'rocket.png').read_bytes()
    (folder / 'tiny.png').write_bytes(content[:len(content) // 2])
    complains(run, r'datasets\.train: .*tiny\.png')
    for content in (b'', b'not an image'):
        (folder / 'tiny.png').write_bytes(content)
        dataset = PhotoDataset({**run['datasets']['train'], 'phase': 'train', 'scale': 4})
        with pytest.raises(UserError, match=r'tiny\.png is no readable image; remove it'):
            dataset[4]
    os.unlink(folder / 'tiny.png')
    with pytest.raises(UserError, match=r'tiny\.png cannot be read: No such file'):
        dataset[4]


# ----------------------------------------------------------------------------------------------------------- the cache

def test_cached_images_are_cut_and_turned_like_the_pair(run, folder):
    opt = fill({**run, 'datasets': {'train': run['datasets']['train']}})
    cached = with_cache(opt)['datasets']['train']
    for name in NAMES:  # the ground truth in the teacher's place shows where each pixel went
        image = mod_crop(cv2.imread(str(folder / name)), 4)[..., ::-1]
        np.save(f"{opt['teacher']['cache']}/{name}.npy", (image / np.float32(255)).astype(np.float16))
    plain = items(opt['datasets']['train'])
    end = random.getstate()
    with_teacher = items(cached)
    assert random.getstate() == end
    for before, item in zip(plain, with_teacher, strict=True):
        assert torch.equal(item.pop('teacher'), before['gt'].half().float())
        assert equal(before, item)


def test_a_changed_photograph_or_other_lq_images_make_the_cache_stale(run, folder, tmp_path):
    opt = fill({**run, 'datasets': {'train': run['datasets']['train']}})
    os.utime(folder / 'rocket.png')  # touched, but the same
    with_cache(opt)
    cv2.imwrite(str(folder / 'rocket.png'), cv2.imread(str(folder / 'rocket.png'))[::-1])
    refused(opt, 'before rocket.png changed', '`sdakd cache -opt FILE`')
    paired = {**opt['datasets']['train'], 'type': 'PairedImageDataset', 'dataroot_lq': str(folder), 'phase': 'train',
              'io_backend': {'type': 'disk'}, 'use_hflip': True, 'use_rot': True, 'scale': 4}
    flat = tmp_path / 'flat'
    flat.mkdir()
    shutil.copy(folder / 'rocket.png', flat)
    paired.update(dataroot_gt=str(flat), dataroot_lq=str(flat))
    refused({**opt, 'datasets': {'train': paired}}, 'was made with another datasets.train.degradation')
    assert TeacherCache(parse(opt)).lq_folder == str(folder)


@pytest.mark.slow
def test_from_the_command_to_training(stock, run):
    assert '4 images, 0.00 GB; 4 of them are new' in stock.ok('sdakd cache', run)
    os.unlink(run['teacher']['pretrain_network_g'])
    log = stock.ok('sdakd train', run)
    assert 'Dataset [CachedTeacherDataset] - photos is built' in log
    assert len(losses(log)) == 4 and 'Validation val' in log


@pytest.mark.slow
def test_resuming_is_exact(stock, run):
    run['teacher']['cache'] = None
    run['network_d'] = dict(UNET)
    run['train'].update(total_iter=5, gan_opt={'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1})
    del run['val'], run['datasets']['val']
    check_exact(stock, run, stops=(3,))


def test_the_option_file_may_be_short(stock, run):
    (stock.folder / 'opt.yml').write_text(yaml.safe_dump(run))
    run['teacher']['cache'] = None
    assert 'is fine' in stock.ok('sdakd check', run)
