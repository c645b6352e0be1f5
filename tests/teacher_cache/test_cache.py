"""The teacher's cached images: creating, training, resuming after a kill, and rejecting stale ones."""

import json
import os
import random
import re
import shutil
import signal
import time

import cv2
import numpy as np
import pytest
import torch
import yaml

from sdakd_plugin.cli import main
from sdakd_plugin.data.cached_teacher_dataset import image_file
from sdakd_plugin.data.published import completed
from sdakd_plugin.errors import UserError
from sdakd_plugin.networks.frozen import load_frozen
from sdakd_plugin.options import TeacherOptions, parse
from sdakd_plugin.teacher_cache.cache import TeacherCache, hash_weights, with_cache
from sdakd_plugin.teacher_cache.fill import fill_before_training, load_teacher, make, prepare
from sdakd_plugin.teacher_cache.progress_lines import progress
from tests.helpers.caching import fill, items, refused
from tests.helpers.exact_resume import check_exact, equal, losses
from tests.helpers.networks import TEACHER, UNET

NAMES = ('astronaut', 'chelsea', 'coffee', 'rocket')


@pytest.fixture
def run(options, photos, small_teacher, tmp_path):
    """A run that learns from the teacher's image alone, on data and weights of its own."""
    for name in ('HR', 'LR'):
        shutil.copytree(photos / name, tmp_path / f'data/{name}')
    options['datasets']['train'].update(dataroot_gt=str(tmp_path / 'data/HR'), dataroot_lq=str(tmp_path / 'data/LR'))
    weights = shutil.copy(small_teacher / 'net_g.pth', tmp_path / 'teacher.pth')
    options['teacher'].update(pretrain_network_g=str(weights), cache=str(tmp_path / 'cache'))
    options['train'] = {
        **options['train'],
        'total_iter': 2,
        'stages': None,
        'teacher_pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
    }
    for loss in ('pixel_opt', 'feature_opt', 'gan_opt'):
        del options['train'][loss]
    del options['val'], options['datasets']['val'], options['network_d']
    return options


# ------------------------------------------------------------------------------------------------------- the data set


@pytest.mark.parametrize('kind', ['PairedImageDataset', 'RealESRGANPairedDataset'])
def test_pairs_are_those_without_the_cache_and_the_third_image_is_cut_and_turned_alike(run, kind):
    run['datasets']['train']['type'] = kind
    opt = fill(run)
    cached = with_cache(opt)['datasets']['train']
    for name in NAMES:  # the ground truth in the teacher's place shows where each pixel went
        image = cv2.imread(f'{opt["datasets"]["train"]["dataroot_gt"]}/{name}.png')[..., ::-1]
        np.save(f'{opt["teacher"]["cache"]}/{name}.png.npy', (image / np.float32(255)).astype(np.float16))
    plain = items(opt['datasets']['train'])
    end = random.getstate()
    with_teacher = items(cached)
    assert random.getstate() == end
    for before, item in zip(plain, with_teacher, strict=True):
        assert torch.equal(item['teacher'], before['gt'].half().float())
        assert item['teacher'].dtype == torch.float32
        del item['teacher']
        assert equal(before, item)
    assert len({item['gt'].sum().item() for item in plain}) > 30  # the crops do differ


def test_prepared_lq_images_and_an_lmdb(run, tmp_path):
    import lmdb

    block = run['datasets']['train']
    for role in ('gt', 'lq'):
        folder = tmp_path / f'{role}.lmdb'
        with lmdb.open(str(folder), map_size=2**24) as base, base.begin(write=True) as transaction:
            for name in NAMES:
                content = (tmp_path / f'data/{"HR" if role == "gt" else "LR"}/{name}.png').read_bytes()
                transaction.put(name.encode(), content)
        (folder / 'meta_info.txt').write_text(''.join(f'{name}.png (192,192,3) 1\n' for name in NAMES))
        block[f'dataroot_{role}'] = str(folder)
    block.update(io_backend={'type': 'lmdb'}, mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5])
    opt = fill(run)
    net = load_frozen(TEACHER, run['teacher']['pretrain_network_g'], None, 'g').net
    lq = torch.from_numpy(cv2.imread(str(tmp_path / 'data/LR/rocket.png'))[..., ::-1].copy()).permute(2, 0, 1)[None]
    kept = torch.from_numpy(np.load(tmp_path / 'cache/rocket.npy')).float().permute(2, 0, 1)
    assert (net((lq / 255 - 0.5) / 0.5)[0] - kept).abs().max() < 1e-3
    assert items(with_cache(opt)['datasets']['train'], 1)[0]['teacher'].shape == (3, 64, 64)
    opt['datasets']['train']['mean'] = None
    refused(opt, 'another datasets.train.mean')


def test_tiles_and_values_out_of_range(run):
    fill(run)
    cache = TeacherCache(parse(run))
    whole = {name: np.load(image_file(cache.folder, name)) for name in cache.indices}
    assert min(image.min() for image in whole.values()) < 0  # not clamped
    teacher = load_teacher(cache, torch.device('cpu'), 16)
    for name in cache.indices:
        make(cache, teacher, name)
        assert np.abs(np.load(image_file(cache.folder, name)) - whole[name]).max() < 2e-3  # float16, and no seams


# ------------------------------------------------------------------------------------------------------------ stale


def test_stale_weights_data_and_networks_are_refused(run, tmp_path):
    opt = fill(run)
    assert with_cache(opt)['datasets']['train']['type'] == 'CachedTeacherDataset'
    assert opt['datasets']['train']['type'] == 'PairedImageDataset'

    os.utime(tmp_path / 'data/LR/coffee.png')  # touched, but the same
    (tmp_path / 'data/new').mkdir()
    with_cache(opt)
    image = cv2.imread(str(tmp_path / 'data/LR/coffee.png'))
    cv2.imwrite(str(tmp_path / 'data/LR/coffee.png'), image[::-1])
    refused(opt, 'before coffee.png changed', '`sdakd cache -opt FILE`')
    with pytest.raises(UserError, match=r'before coffee\.png changed; name another folder, or .* --overwrite'):
        prepare(TeacherCache(parse(opt)))
    assert prepare(TeacherCache(parse(opt)), overwrite=True) == ['coffee.png']
    refused(opt, '1 of 4 images are missing')
    fill(run)

    path = run['teacher']['pretrain_network_g']
    content = torch.load(path, weights_only=True)
    state = content['params_ema']
    torch.save({'params': dict(reversed(state.items()))}, path)  # another file of the same weights
    with_cache(opt)
    next(iter(state.values())).view(-1)[0] += 1e-6
    torch.save({'params_ema': state}, path)
    refused(opt, 'another teacher.pretrain_network_g', '`sdakd cache -opt FILE`')
    other = {**opt, 'teacher': {**opt['teacher'], 'network_g': None}}
    refused(other, 'was made with another teacher.')
    assert len(prepare(TeacherCache(parse(opt)), overwrite=True)) == 4
    assert not list((tmp_path / 'cache').glob('*.npy'))


def test_a_cache_may_hold_more_than_the_run_needs_but_not_less(run, tmp_path):
    for name in ('HR', 'LR'):
        shutil.move(tmp_path / f'data/{name}/rocket.png', tmp_path / f'{name}.png')
    opt = fill(run)
    for name in ('HR', 'LR'):
        shutil.move(tmp_path / f'{name}.png', tmp_path / f'data/{name}/rocket.png')
    assert '1 of 4 images are missing' in refused(opt)
    opt = fill(run)
    for name in ('HR', 'LR'):
        (tmp_path / f'data/{name}/chelsea.png').unlink()
    assert prepare(TeacherCache(parse(opt))) == []
    assert 'chelsea.png' in json.loads((tmp_path / 'cache/manifest.json').read_text())['images']
    with_cache(opt)
    (tmp_path / 'cache/coffee.png.npy').unlink()
    assert '1 of 3 images are missing' in refused(opt)
    (tmp_path / 'meta.txt').write_text('coffee.png\ngone.png\n')
    listed = {**opt['datasets']['train'], 'meta_info_file': str(tmp_path / 'meta.txt')}
    with pytest.raises(UserError, match=r'gone\.png cannot be read: No such file'):
        with_cache({**opt, 'datasets': {'train': listed}})
    (tmp_path / 'cache/manifest.json').write_text('{"images"')
    assert 'manifest.json is damaged' in refused(opt)
    shutil.rmtree(tmp_path / 'cache')
    assert 'cache holds no images; make them with `sdakd cache -opt FILE`' in refused(opt)


def test_the_hash_is_of_every_tensor(small_teacher):
    options = TeacherOptions(network_g=TEACHER, pretrain_network_g='untrained')
    assert hash_weights(options) == hash_weights(options)
    assert hash_weights(options) != hash_weights(TeacherOptions(pretrain_network_g=str(small_teacher / 'net_g.pth')))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda opt: opt['teacher'].update(cache=None), 'teacher.cache: this key is missing'),
        (lambda opt: opt['teacher'].update(cach='x'), "unknown key 'cach'; did you mean 'cache'"),
        (lambda opt: opt['datasets']['train'].update(type='SingleImageDataset'), 'needs fixed LQ images'),
        (lambda opt: opt.update(scales=[4]), 'with scales the LQ images are made anew'),
        (lambda opt: opt['datasets'].update(val=opt['datasets'].pop('train')), 'datasets.train: this block is missing'),
        (lambda opt: opt['datasets']['train'].update(dataroot_lq='/nowhere'), 'datasets.train'),
        (lambda opt: opt['teacher'].update(network_g={**TEACHER, 'num_feat': 8}), 'does not fit network'),
        (lambda opt: opt['teacher'].update(pretrain_network_g='nothing.pth'), 'neither a file nor a known name'),
        (lambda opt: opt['teacher'].update(cache=opt['datasets']['train']['dataroot_lq']), 'holds other files'),
        (lambda opt: opt['teacher'].update(cache=opt['teacher']['pretrain_network_g']), 'holds other files'),
    ],
)
def test_bad_uses_cost_a_line(run, tmp_path, capsys, change, message):
    from sdakd_plugin.cli import main

    change(run)
    (tmp_path / 'opt.yml').write_text(yaml.safe_dump(run))
    assert main(['cache', '-opt', str(tmp_path / 'opt.yml'), '--device', 'cpu']) == 1
    error = capsys.readouterr().err
    assert error.count('\n') == 1 and error.startswith('error: ') and message in error, error


# --------------------------------------------------------------------------------------------------------- in training


def test_from_the_command_to_stock_training_without_the_teachers_weights(stock, run, tmp_path):
    run['train']['total_iter'] = 4
    live = stock.ok('sdakd train', {**run, 'teacher': {**run['teacher'], 'cache': None}})
    assert '4 images, 0.00 GB; 4 of them are new' in stock.ok('sdakd cache', run, '--device', 'cpu')
    assert '0 of them are new' in stock.ok('sdakd cache', run)
    os.unlink(run['teacher']['pretrain_network_g'])
    kept = stock.ok('basicsr/train.py', run)
    assert 'Dataset [CachedTeacherDataset] - photos is built' in kept
    numbers = [
        [float(re.search(r'l_g_teacher_pix: (\S+)', line)[1]) for line in losses(log).values()] for log in (live, kept)
    ]
    assert len(numbers[0]) == 4 and numbers[0] != numbers[1]  # it did read the images
    assert np.allclose(*numbers, rtol=0.1)
    assert not any((tmp_path / name).exists() for name in ('teacher.cache', 'cache/cache'))
    run['teacher']['pretrain_network_g'] = 'another.pth'
    assert 'neither a file nor a known name' in stock.run('sdakd train', run).stderr


def test_training_makes_the_images_that_are_missing(stock, run, tmp_path):
    stock.ok('sdakd cache', run)
    kept = {path.name: path.read_bytes() for path in (tmp_path / 'cache').glob('*.npy')}
    log = losses(stock.ok('sdakd train', run))
    shutil.rmtree(tmp_path / 'cache')
    said = stock.ok('sdakd check', run)
    assert 'holds no images; training makes them first' in said and "at the end: the teacher's images " in said
    assert not (tmp_path / 'cache').exists()  # a check writes nothing
    assert losses(stock.ok('sdakd train', run)) == log  # the same random numbers
    assert {path.name: path.read_bytes() for path in (tmp_path / 'cache').glob('*.npy')} == kept
    (tmp_path / 'cache/coffee.png.npy').unlink()
    assert losses(stock.ok('basicsr/train.py', run)) == log
    assert (tmp_path / 'cache/coffee.png.npy').read_bytes() == kept['coffee.png.npy']


def test_the_embedded_photographs(run, tmp_path):
    block = {
        'name': 'embedded',
        'type': 'SampleImageDataset',
        'images': ['coffee', 'chelsea'],
        'gt_size': 64,
        'use_hflip': True,
        'use_rot': True,
    }
    opt = fill({**run, 'datasets': {'train': block}})
    cached = with_cache(opt)['datasets']['train']
    for ours, theirs in zip(items(opt['datasets']['train']), items(cached), strict=True):
        assert equal({key: ours[key] for key in ('lq', 'gt')}, {key: theirs[key] for key in ('lq', 'gt')})
        assert theirs['teacher'].shape == theirs['gt'].shape
    opt['datasets']['train']['images'] = ['coffee', 'rocket']
    refused(opt, '1 of 2 images are missing')


def test_images_made_from_the_bare_file_are_those_of_the_completed_one(run):
    run['datasets'] = {
        'train': {
            'name': 'photos',
            'type': 'PhotoDataset',
            'gt_size': 64,
            'degradation': 'real',
            'degradation_seed': 1,
            'dataroot_gt': run['datasets']['train']['dataroot_gt'],
        }
    }
    bare = {**run, 'is_train': True, 'dist': False, 'jpeg_range': [50, 60]}  # a setting for the data set, at the top
    fill_before_training(bare)
    with_cache(completed(bare))


def test_a_line_for_every_tenth_where_no_terminal_is_attached(run, tmp_path, capsys):
    (tmp_path / 'opt.yml').write_text(yaml.safe_dump(run))
    assert main(['cache', '-opt', str(tmp_path / 'opt.yml')]) == 0
    assert capsys.readouterr().err.splitlines() == [
        '1 of 4 images (25%)',
        '2 of 4 images (50%)',
        '3 of 4 images (75%)',
        '4 of 4 images (100%)',
    ]
    assert list(progress(range(1234))) == list(range(1234))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10 and lines[0] == '124 of 1,234 images (10%)' and lines[-1] == '1,234 of 1,234 images (100%)'
    assert list(progress([])) == [] and capsys.readouterr().err == ''


@pytest.mark.long
def test_a_stage_with_features_runs_the_teacher_but_takes_its_image_from_the_cache(stock, run):
    run['train']['feature_opt'] = {'type': 'FeatureAlignmentLoss', 'layers': ['body.0'], 'loss_weight': 0.1}
    run['train'].update(
        total_iter=4,
        stages=[
            {'name': 'image', 'iters': 2, 'losses': ['teacher_pixel']},
            {'name': 'both', 'iters': 2, 'losses': ['teacher_pixel', 'feature']},
        ],
    )
    stock.ok('sdakd cache', run)
    log = losses(stock.ok('sdakd train', run))
    assert 'l_g_feature' not in log[2] and 'l_g_feature' in log[3] and 'l_g_teacher_pix' in log[3]
    for path in (stock.folder / 'cache').glob('*.npy'):
        np.save(path, np.load(path) + np.float16(100))
    log = losses(stock.ok('sdakd train', run))
    assert all(float(re.search(r'l_g_teacher_pix: (\S+)', log[number])[1]) > 90 for number in log)


@pytest.mark.long
def test_a_cohort_shares_the_images(stock, run):
    run.update(
        model_type='MutualSRGANModel',
        network_d=dict(UNET),
        cohort=[{'name': 'a', 'manual_seed': 1}, {'name': 'b', 'manual_seed': 2}],
    )
    run['train'].update(
        gan_opt={'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1},
        mutual_opt={'type': 'MutualDiscriminatorLoss'},
    )
    stock.ok('sdakd cache', run)
    os.unlink(run['teacher']['pretrain_network_g'])
    log = losses(stock.ok('sdakd train', run))
    assert all(f'l_g_teacher_pix_{name}' in log[2] for name in 'ab')


def test_resuming_is_exact(stock, run):
    run['network_d'] = dict(UNET)
    run['train'].update(total_iter=5, gan_opt={'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1})
    stock.ok('sdakd cache', run)
    check_exact(stock, run, stops=(3,))


@pytest.mark.long
def test_a_killed_command_goes_on_and_makes_the_same_files(stock, warm, run, tmp_path):
    for number in range(20):
        for name in ('HR', 'LR'):
            shutil.copy(tmp_path / f'data/{name}/rocket.png', tmp_path / f'data/{name}/rocket{number}.png')
    stock.ok('sdakd cache', run)
    folder = tmp_path / 'cache'
    whole = {path.name: path.read_bytes() for path in folder.glob('*.npy')}
    assert len(whole) == 24
    shutil.rmtree(folder)
    kept = 0
    for number in (2, 9, 15):
        arguments = ['cache', '-opt', str(tmp_path / 'opt.yml')]
        process = warm.start(stock.folder, arguments)
        wait_for(lambda number=number: len(list(folder.glob('*.npy'))) >= number)
        os.kill(process, signal.SIGKILL)
        warm.wait(stock.folder, arguments)
        kept = len(list(folder.glob('*.npy')))
        if kept < 24:
            assert f'{24 - kept} of 24 images are missing' in stock.ok('sdakd check', run)
    out = stock.ok('sdakd cache', run)
    assert f'{24 - kept} of them are new' in out
    assert {path.name: path.read_bytes() for path in folder.glob('*.npy')} == whole
    assert sorted(path.name for path in folder.iterdir()) == sorted([*whole, 'manifest.json'])


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)
