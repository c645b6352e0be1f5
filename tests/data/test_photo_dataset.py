"""PhotoDataset: training from just a folder of photographs."""

import os
import random
import re
import shutil
from copy import deepcopy

import cv2
import numpy as np
import pytest
import torch
import yaml
from basicsr.data import build_dataloader, build_dataset
from basicsr.data.transforms import mod_crop
from basicsr.utils.options import ordered_yaml
from skimage import data

from sdakd_plugin.checks.data import check_datasets
from sdakd_plugin.data.degradation import make_degradation
from sdakd_plugin.data.photo_dataset import PhotoDataset, reduced_window
from sdakd_plugin.data.published import KERNELS, SETTINGS, completed
from sdakd_plugin.data.sample_image_dataset import bicubic_reduction
from sdakd_plugin.errors import UserError
from sdakd_plugin.networks.frozen import load_frozen
from sdakd_plugin.options import DEGRADATION_KEYS, parse
from sdakd_plugin.stock.degradation import PhotoDegradation
from sdakd_plugin.teacher_cache.cache import TeacherCache, with_cache
from tests.helpers.caching import fill, items, refused
from tests.helpers.degradation import seed
from tests.helpers.exact_resume import check_exact, equal, losses
from tests.helpers.networks import TEACHER, UNET
from tests.helpers.paths import ROOT

NAMES = ['a b/coffee.2.png', 'astronaut.JPG', 'chelsea.jpeg', 'rocket.png']


@pytest.fixture
def folder(tmp_path):
    """Photographs in a folder and one below it, of odd sizes, and much that is none."""
    root = tmp_path / 'my photos'
    (root / 'a b').mkdir(parents=True)
    (root / '.hidden').mkdir()
    for name, image in zip(
        NAMES,
        (
            data.coffee()[:151, :130],
            data.astronaut()[50:250, 100:273],
            data.chelsea()[50:200, 100:261],
            data.rocket()[100:244, 200:390],
        ),
        strict=True,
    ):
        cv2.imwrite(str(root / name), image[..., ::-1])
    shutil.copy(root / 'rocket.png', root / '.hidden/rocket.png')
    for stray in ('.DS_Store', '._rocket.png', 'Thumbs.db', 'notes.txt'):
        (root / stray).write_text('no image')
    return root


@pytest.fixture
def block(folder):
    return {
        'name': 'photos',
        'type': 'PhotoDataset',
        'phase': 'train',
        'scale': 4,
        'dataroot_gt': str(folder),
        'gt_size': 64,
    }


@pytest.fixture
def run(options, block, tmp_path, small_teacher):
    """A run with such a folder for training and validation, that learns from the teacher's image alone."""
    weights = shutil.copy(small_teacher / 'net_g.pth', tmp_path / 'teacher.pth')
    options['teacher'].update(pretrain_network_g=str(weights), cache=str(tmp_path / 'cache'))
    train = {key: value for key, value in block.items() if key not in ('phase', 'scale')}
    options['datasets'] = {
        'train': {**train, 'num_worker_per_gpu': 1, 'batch_size_per_gpu': 2},
        'val': {'name': 'val', 'type': 'PhotoDataset', 'dataroot_gt': block['dataroot_gt']},
    }
    options['train'] = {
        **options['train'],
        'total_iter': 4,
        'stages': None,
        'teacher_pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
    }
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
    files = build_dataset(
        {
            **block,
            'type': 'PairedImageDataset',
            'dataroot_gt': str(tmp_path / 'gt'),
            'dataroot_lq': str(tmp_path / 'lq'),
            'io_backend': {'type': 'disk'},
        }
    )
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


def test_an_lmdb(run, block, folder, tmp_path):
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
    run['datasets'] = {'train': {**run['datasets']['train'], 'dataroot_gt': str(root), 'io_backend': {'type': 'lmdb'}}}
    cached = with_cache(fill(run))['datasets']['train']
    assert items(cached, 1)[0]['teacher'].shape == (3, 64, 64)
    assert (tmp_path / 'cache/a b/coffee.2.npy').is_file()
    with pytest.raises(UserError, match=r"dataroot_gt: '.*my photos' must end with \.lmdb"):
        build_dataset({**in_lmdb, 'dataroot_gt': str(folder)})
    with pytest.raises(UserError, match=r"dataroot_gt: there is no folder '.*my photos/rocket\.png'"):
        build_dataset({**block, 'dataroot_gt': str(folder / 'rocket.png')})
    (root / 'meta_info.txt').unlink()
    with pytest.raises(UserError, match=r"dataroot_gt: '.*photos\.lmdb' has no readable meta_info\.txt"):
        build_dataset(in_lmdb)


# --------------------------------------------------------------------------------------- Real-ESRGAN's, new each time


def test_the_settings_that_are_left_out_are_those_published():
    opt = yaml.load((ROOT / 'options/sdakd_x4.yml').read_text(), Loader=ordered_yaml()[0])
    assert {key: opt[key] for key in SETTINGS} == SETTINGS
    assert {key: opt['datasets']['train'][key] for key in KERNELS} == KERNELS
    assert {*SETTINGS, 'gt_size'} == set(DEGRADATION_KEYS)


def test_is_realesrgan_dataset(block, folder, tmp_path):
    """The same images, the same seed: the same images, crops and kernels."""
    block.update(degradation='real', use_rot=False)
    (tmp_path / 'meta.txt').write_text('')
    stock = build_dataset(
        {
            **block,
            'type': 'RealESRGANDataset',
            'meta_info': str(tmp_path / 'meta.txt'),
            **KERNELS,
            'use_hflip': True,
            'io_backend': {'type': 'disk'},
        }
    )
    stock.paths = [str(folder / name) for name in NAMES]
    served = []
    for dataset in (build_dataset(block), stock):
        seed(3)
        served.append([dataset[index % 4] for index in range(12)])
    assert equal(*served) and set(served[0][0]) == {'gt', 'kernel1', 'kernel2', 'sinc_kernel', 'gt_path'}


def test_the_mix_is_drawn_as_often_as_it_says(block):
    dataset = build_dataset({**block, 'degradation': 'real', 'bicubic_prob': 0.3})
    seed(0)
    share = np.mean([dataset[index % 4]['bicubic'].item() for index in range(400)])
    assert 0.23 < share < 0.37


def test_images_of_the_mix_are_reduced_and_the_others_degraded(run, block):
    run['datasets']['train'].update(degradation='real', bicubic_prob=0.5)
    run['queue_size'] = 4
    opt = completed(run)
    made = make_degradation(opt, parse(opt), torch.device('cpu'))
    dataset = build_dataset({**opt['datasets']['train'], 'phase': 'train', 'scale': 4})
    seed(1)
    batch = torch.utils.data.default_collate([dataset[0], dataset[1]])
    for choice in ([True, False], [False, True]):
        made.feed_data({**batch, 'bicubic': torch.tensor(choice)})
        for gt, lq, bicubic in zip(made.gt, made.lq, choice, strict=True):
            levels = (gt * 255).round().byte().permute(1, 2, 0).numpy()
            want = torch.from_numpy(bicubic_reduction(levels, 4)).permute(2, 0, 1).float() / 255
            assert torch.equal(lq, want) == bicubic


def test_what_is_completed(run):
    run['datasets']['train'].update(degradation='real', gt_size=64, jpeg_range=[50, 60], batch_size_per_gpu=7)
    run.update(noise_range=[2, 3])
    before = deepcopy(run)
    opt = completed(run)
    assert run == before and completed(opt) == opt
    assert (opt['gt_size'], opt['queue_size'], opt['noise_range'], opt['jpeg_range']) == (64, 182, [2, 3], [50, 60])
    assert opt['resize_prob'] == [0.2, 0.7, 0.1] and opt['datasets']['val'] == run['datasets']['val']
    run['datasets']['val']['degradation'] = 'real'
    opt = completed(run)
    assert opt['datasets']['val']['noise_range'] == [2, 3]
    assert opt['datasets']['val']['jpeg_range'] == [30, 95]  # that of the training set is its own
    assert completed(opt) == opt
    run['datasets']['train'].update(degradation='bicubic')
    assert 'resize_prob' not in completed(run)


def test_an_empty_key_is_one_that_is_left_out(run):
    empty = dict.fromkeys(('degradation', 'bicubic_prob', 'degradation_seed', 'versions', 'io_backend', 'sinc_prob'))
    train = {**run['datasets']['train'], **empty, 'use_hflip': True, 'phase': 'train', 'scale': 4}
    assert equal(items(train, 4), items({**run['datasets']['train'], 'phase': 'train', 'scale': 4}, 4))
    opt = completed({**run, 'datasets': {'train': {**train, 'degradation': 'real', 'jpeg_range': None}}})
    assert opt['jpeg_range'] == [30, 95] and 'kernel1' in build_dataset(opt['datasets']['train'])[0]


def test_realesrgan_dataset_takes_a_folder_without_a_list(run):
    train = run['datasets']['train']
    train.update(type='RealESRGANDataset', io_backend={'type': 'disk'}, use_hflip=True, use_rot=False, meta_info=None)
    opt = completed({**run, 'gt_size': 32})
    assert opt['datasets']['train']['type'] == 'PhotoDataset' and opt['datasets']['train']['gt_size'] == 32
    dataset = build_dataset({**opt['datasets']['train'], 'phase': 'train', 'scale': 4})
    assert len(dataset) == 4 and 'kernel1' in dataset[0]
    for unchanged in ({**train, 'meta_info': 'list.txt'}, {**train, 'io_backend': {'type': 'lmdb'}}):
        assert completed({**run, 'datasets': {'train': unchanged}})['datasets']['train'] == unchanged


# ------------------------------------------------------------------------------------------ Real-ESRGAN's, always alike


@pytest.fixture
def fixed(block):
    return {**block, 'degradation': 'real', 'degradation_seed': 1}


def whole(block, **more):
    """The LQ images of a data set, by their names."""
    dataset = build_dataset({**block, 'phase': 'val', **more})
    return {item['lq_path']: item['lq'] for item in dataset}


def test_fixed_images_depend_on_seed_and_name_alone(fixed, folder, tmp_path):
    seed(5)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    images = whole(fixed)
    assert equal((random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()), before)
    for path, lq in images.items():
        gt = mod_crop(cv2.imread(path), 4)
        assert lq.shape == (3, gt.shape[0] // 4, gt.shape[1] // 4)
        assert torch.equal(lq, (lq * 255).round() / 255)
        reduced = torch.from_numpy(bicubic_reduction(gt, 4)[..., ::-1].copy()).permute(2, 0, 1) / 255
        assert 0.01 < (lq - reduced).abs().mean() < 0.15  # degraded, but the same photograph
    seed(6)
    dataset = build_dataset({**fixed, 'phase': 'val'})
    for index in (3, 0, 2, 1, 3):
        assert torch.equal(dataset[index]['lq'], images[str(folder / NAMES[index])])
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    assert equal(whole(fixed), images) and torch.get_num_threads() == 2
    torch.set_num_threads(threads)

    moved = shutil.copytree(folder, tmp_path / 'moved')
    (moved / 'astronaut.JPG').unlink()
    there = whole({**fixed, 'dataroot_gt': str(moved)})
    assert all(torch.equal(lq, images[path.replace(str(moved), str(folder))]) for path, lq in there.items())
    assert len(there) == 3
    shutil.copy(moved / 'rocket.png', moved / 'rocket2.png')
    there = whole({**fixed, 'dataroot_gt': str(moved)})
    assert not torch.equal(there[str(moved / 'rocket.png')], there[str(moved / 'rocket2.png')])
    others = whole(fixed, degradation_seed=2)
    assert not any(torch.equal(lq, others[path]) for path, lq in images.items())
    assert not equal(whole(fixed, jpeg_range2=[5, 6]), images)


def test_the_seed_outside_training_is_0(fixed):
    seeded = whole(fixed, degradation_seed=0)
    del fixed['degradation_seed']
    assert equal(whole(fixed), seeded)


def test_crops_are_those_of_the_fixed_images(fixed, folder):
    images = whole(fixed)
    dataset = build_dataset({**fixed, 'use_hflip': False, 'use_rot': False})
    random.seed(0)
    crops = [dataset[index % 4] for index in range(12)]
    random.seed(0)
    for item in crops:
        lq, gt = images[item['lq_path']], torch.from_numpy(cv2.imread(item['gt_path'])[..., ::-1].copy())
        top, left = (random.randint(0, side - 16) for side in lq.shape[1:])
        assert torch.equal(item['lq'], lq[:, top : top + 16, left : left + 16])
        assert torch.equal(item['gt'], gt[4 * top : 4 * top + 64, 4 * left : 4 * left + 64].permute(2, 0, 1) / 255)


def test_versions_are_items_of_their_own(fixed, folder):
    for name in NAMES[1:3]:
        (folder / name).unlink()
    one, three = whole(fixed), whole(fixed, versions=3)
    assert [os.path.relpath(path, folder) for path in three] == [
        f'{stem}@{number}.png' for stem in ('a b/coffee.2', 'rocket') for number in (1, 2, 3)
    ]
    path = str(folder / 'rocket.png')
    versions = [three[path.replace('.png', f'@{number}.png')] for number in (1, 2, 3)]
    assert torch.equal(versions[0], one[path])
    assert not torch.equal(versions[0], versions[1]) and not torch.equal(versions[1], versions[2])
    assert {path['gt_path'] for path in build_dataset({**fixed, 'versions': 3}).paths} == set(one)


def test_in_a_fixed_mix_some_images_are_reduced(fixed, monkeypatch):
    monkeypatch.setattr(PhotoDegradation, 'degrade', lambda _self, gt, _kernels: np.zeros_like(gt[::4, ::4]))
    dataset = build_dataset({**fixed, 'phase': 'val', 'versions': 100, 'bicubic_prob': 0.3})
    reduced = []
    for item in dataset:
        levels, lq = ((item[key] * 255).round().byte().permute(1, 2, 0).numpy() for key in ('gt', 'lq'))
        reduced.append(np.array_equal(bicubic_reduction(levels, 4), lq))
        assert reduced[-1] != (lq == 0).all()
    assert 0.23 < np.mean(reduced) < 0.37
    assert len({tuple(reduced[start : start + 100]) for start in range(0, 400, 100)}) == 4


def test_workers_make_the_same_images(fixed):
    images = whole(fixed)
    dataset = build_dataset({**fixed, 'phase': 'val'})
    loader = torch.utils.data.DataLoader(dataset, num_workers=2)
    found = {batch['lq_path'][0]: batch['lq'][0] for batch in loader}
    assert equal(found, images)


def test_an_image_is_degraded_once(fixed, monkeypatch):
    dataset = build_dataset(fixed)
    made = []
    degrade = dataset.degradation.model.degrade
    monkeypatch.setattr(dataset.degradation.model, 'degrade', lambda *args: made.append(1) or degrade(*args))
    for index in (0, 1, 0, 0, 1):
        dataset[index]
    assert len(made) == 2


@pytest.mark.parametrize('scale', [2, 3])
def test_small_images_and_other_scales(fixed, folder, scale):
    cv2.imwrite(str(folder / 'small.png'), cv2.imread(str(folder / 'rocket.png'))[:7, :11])
    images = whole({**fixed, 'scale': scale})
    assert images[str(folder / 'small.png')].shape == (3, 7 // scale, 11 // scale)


# ----------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'dataroot_gt': '/nowhere'}, r'datasets\.train\.dataroot_gt: /nowhere does not exist$'),
        ({'dataroot_gt': __file__}, r'datasets\.train\.dataroot_gt: \S+\.py is not a folder$'),
        ({'gt_size': 66}, r'datasets\.train\.gt_size: 66 is not a multiple of the scale 4; use 64$'),
        (
            {'gt_size': 148},
            r'datasets\.train\.gt_size: 2 of 4 photographs are smaller than the crop 148, such as \S+ '
            r'.*coffee\.2\.png \(130x151\); use 128 or less, or remove them$',
        ),
        ({'gt_size': 132}, r'1 of 4 photographs is smaller than the crop 132'),
        ({'use_hfilp': True}, r"datasets\.train\.use_hfilp: unknown key for PhotoDataset; did you mean 'use_hflip' or"),
        ({'degradation': 'blur'}, r"datasets\.train\.degradation: there is no 'blur'; valid: bicubic, real$"),
        ({'bicubic_prob': 0.5}, r'datasets\.train\.bicubic_prob: requires degradation: real; leave it out$'),
        ({'degradation_seed': 1}, r'datasets\.train\.degradation_seed: requires degradation: real; leave it out$'),
        ({'degradation': 'real', 'bicubic_prob': 1.5}, r'bicubic_prob: expected a number from 0 to 1, not 1\.5$'),
        ({'degradation': 'real', 'bicubic_prob': True}, r'bicubic_prob: expected a number from 0 to 1, not True$'),
        (
            {'degradation': 'real', 'degradation_seed': -1},
            r'degradation_seed: expected a whole number, 0 or more, not -1',
        ),
        (
            {'degradation': 'real', 'degradation_seed': 0, 'versions': 0},
            r'versions: expected a whole number, 1 or more',
        ),
        (
            {'degradation': 'real', 'versions': 2},
            r'versions: requires fixed LQ images; set degradation_seed, or leave it',
        ),
        (
            {'degradation': 'real', 'gt_size': 404},
            r'datasets\.train\.gt_size: 404 is more than 400, to which PhotoDataset',
        ),
        ({'io_backend': {'type': 'lmdb'}}, r'dataroot_gt: .*my photos is not an LMDB of BasicSR: it has no meta_'),
    ],
)
def test_bad_options_cost_a_line(run, change, message):
    run['datasets']['train'].update(change)
    complains(run, message)


@pytest.mark.parametrize('key', ['dataroot_gt', 'gt_size'])
def test_missing_keys(run, key):
    run['datasets']['train'][key] = None
    complains(run, rf'datasets\.train\.{key}: this key is missing; PhotoDataset needs it')
    del run['datasets']['train'][key]
    complains(run, rf'datasets\.train\.{key}: this key is missing; PhotoDataset needs it')


def test_a_folder_without_photographs_and_files_that_are_broken(run, folder, tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'empty/readme.txt').write_text('nothing')
    run['datasets']['train']['dataroot_gt'] = str(tmp_path / 'empty')
    complains(run, r"datasets\.train\.dataroot_gt: no photograph in '\S+empty'; looked for \.png, \.jpg, ")
    run['datasets']['train']['dataroot_gt'] = str(folder)
    cv2.imwrite(str(folder / 'tiny.png'), np.zeros((3, 9, 3), np.uint8))
    complains(
        {**run, 'datasets': {'val': run['datasets']['val']}},
        r'datasets\.val\.dataroot_gt: 1 of 5 photographs is smaller than the scale 4, .*tiny\.png \(9x3\)',
    )
    (folder / 'tiny.png').write_text('not an image')
    complains(run, r'datasets\.train: .*tiny\.png is not a readable image')
    content = (folder / 'rocket.png').read_bytes()
    (folder / 'tiny.png').write_bytes(content[: len(content) // 2])
    complains(run, r'datasets\.train: .*tiny\.png')
    for content in (b'', b'not an image'):
        (folder / 'tiny.png').write_bytes(content)
        dataset = PhotoDataset({**run['datasets']['train'], 'phase': 'train', 'scale': 4})
        with pytest.raises(UserError, match=r'tiny\.png is not a readable image; remove it'):
            dataset[4]
        dataset = PhotoDataset({**run['datasets']['train'], 'phase': 'train', 'scale': 4, 'degradation': 'real'})
        with pytest.raises(UserError, match=r'tiny\.png is not a readable image; remove it'):
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
        np.save(f'{opt["teacher"]["cache"]}/{name}.npy', (image / np.float32(255)).astype(np.float16))
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
    paired = {
        **opt['datasets']['train'],
        'type': 'PairedImageDataset',
        'dataroot_lq': str(folder),
        'phase': 'train',
        'io_backend': {'type': 'disk'},
        'use_hflip': True,
        'use_rot': True,
        'scale': 4,
    }
    flat = tmp_path / 'flat'
    flat.mkdir()
    shutil.copy(folder / 'rocket.png', flat)
    paired.update(dataroot_gt=str(flat), dataroot_lq=str(flat))
    refused({**opt, 'datasets': {'train': paired}}, 'was made with another datasets.train.degradation')
    assert TeacherCache(parse(opt)).lq_folder == str(folder)


def test_degraded_images_are_kept_with_the_teachers(run, folder, monkeypatch):
    run['datasets']['train'].update(degradation='real', degradation_seed=3, versions=2)
    run['jpeg_range2'] = [20, 30]
    opt = completed({**run, 'datasets': {'train': run['datasets']['train']}})
    opt = fill(opt)
    plain = items(opt['datasets']['train'], 16)
    monkeypatch.setattr(PhotoDegradation, 'degrade', lambda *_: pytest.fail('degraded again'))
    net = load_frozen(TEACHER, run['teacher']['pretrain_network_g'], None, 'g').net
    cached = with_cache(opt)['datasets']['train']
    for before, item in zip(plain, items(cached, 16), strict=True):
        assert item.pop('teacher').shape == (3, 64, 64)
        assert equal(before, item)
    kept = torch.from_numpy(np.load(folder.parent / 'cache/rocket@2.png.lq.npy')).permute(2, 0, 1)
    image = torch.from_numpy(np.load(folder.parent / 'cache/rocket@2.png.npy')).permute(2, 0, 1).float()
    assert (net(kept[None] / 255)[0] - image).abs().max() < 1e-3
    (folder.parent / 'cache/rocket@2.png.lq.npy').unlink()
    refused(opt, '1 of 8 images are missing')
    monkeypatch.undo()
    fill(opt)
    with_cache(opt)
    for key, value in (('degradation_seed', 4), ('bicubic_prob', 0.1), ('jpeg_range2', [20, 31])):
        other = {**opt['datasets']['train'], key: value}
        refused({**opt, 'datasets': {'train': other}}, 'was made with another datasets.train.degradation')
    new_each_time = {
        key: value for key, value in run['datasets']['train'].items() if key not in ('degradation_seed', 'versions')
    }
    refused({**run, 'datasets': {'train': new_each_time}}, 'set datasets.train.degradation_seed')


def test_from_the_command_to_training(stock, run):
    assert '4 images, 0.00 GB; 4 of them are new' in stock.ok('sdakd cache', run)
    os.unlink(run['teacher']['pretrain_network_g'])
    log = stock.ok('sdakd train', run)
    assert 'Dataset [CachedTeacherDataset] - photos is built' in log
    assert len(losses(log)) == 4 and 'Validation val' in log


@pytest.mark.long
def test_from_the_command_to_training_with_degraded_images(stock, run):
    run['datasets']['train'].update(degradation='real', degradation_seed=3, bicubic_prob=0.2)
    run['datasets']['val'].update(degradation='real')
    assert '4 images, 0.00 GB; 4 of them are new' in stock.ok('sdakd cache', run)
    log = stock.ok('sdakd train', run)
    assert 'Dataset [CachedTeacherDataset] - photos is built' in log
    assert len(losses(log)) == 4 and 'Validation val' in log
    assert 'is fine' in stock.ok('sdakd check', run)


@pytest.mark.parametrize(
    'more', [{}, pytest.param({'degradation': 'real', 'bicubic_prob': 0.5}, marks=pytest.mark.long)]
)
def test_resuming_is_exact(stock, run, more):
    run['teacher']['cache'] = None
    run['datasets']['train'].update(more)
    if more:
        run['queue_size'] = 4
    run['network_d'] = dict(UNET)
    run['train'].update(total_iter=5, gan_opt={'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1})
    del run['val'], run['datasets']['val']
    check_exact(stock, run, stops=(3,))


@pytest.mark.parametrize(
    'change',
    [
        {},
        {'degradation': 'real'},
        {'type': 'RealESRGANDataset', 'io_backend': {'type': 'disk'}, 'use_hflip': True, 'use_rot': False},
    ],
)
def test_the_option_file_may_be_short(stock, run, change):
    run['teacher']['cache'] = None
    run['datasets']['train'].update(change)
    assert 'is fine' in stock.ok('sdakd check', run)
