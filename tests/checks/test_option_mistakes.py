"""A mistake in the options gives a one-line error with the key, before anything is written."""

import itertools
import random
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from sdakd_plugin.checks.data import sample
from sdakd_plugin.checks.keys import check_types
from sdakd_plugin.checks.option_file import check_forced
from sdakd_plugin.checks.run import check, read_yaml
from sdakd_plugin.errors import UserError, all_of
from tests.helpers.mistakes import change, complaint


def test_the_options_of_these_tests_are_fine(options):
    check(options)


@pytest.mark.parametrize(
    'path, value, expected',
    [
        # keys
        ('teachr', {}, "unknown key 'teachr'; did you mean 'teacher' or 'teachers'?"),
        ('train/pixle', {}, "train: unknown key 'pixle'"),
        ('train/stages/0/loses', ['pixel'], "train.stages.0: unknown key 'loses'; did you mean 'losses'"),
        ('train/stages/1/optimizer', 'rest', "train.stages.1.optimizer: input should be 'keep' or 'reset', not 'rest'"),
        ('train/stages/1/iters', -2, 'train.stages.1.iters: input should be greater than 0, not -2'),
        ('train/stages/1/iters', 'many', 'train.stages.1.iters: input should be a valid integer'),
        ('train/stages', [], 'train.stages: list should have at least 1 item'),
        (
            'teacher/pretrain_networkg',
            'x',
            "teacher: unknown key 'pretrain_networkg'; did you mean 'pretrain_network_g'",
        ),
        ('teacher/pretrain_network_g', ..., 'teacher.pretrain_network_g: this key is missing'),
        (
            'train/feature_opt/layer',
            ['body.0'],
            "train.feature_opt: unknown key 'layer' for FeatureAlignmentLoss; did you mean 'layers'",
        ),
        ('network_d/widht', 0.5, "network_d: unknown key 'widht' for StudentDiscriminator; did you mean 'width'"),
        ('network_g/type', 'RRDBNett', "network_g.type: there is no 'RRDBNett'; did you mean 'RRDBNet'"),
        ('train/pixel_opt/type', 'L1', "train.pixel_opt.type: there is no 'L1'"),
        ('train/optim_g/type', 'Adamm', "train.optim_g.type: there is no optimizer 'Adamm'; did you mean 'Adam'"),
        ('train/optim_g/lr', '2e-4', "train.optim_g.lr: '2e-4' is text for YAML; write 2.0e-04"),
        ('train/feature_opt/layers', ['0'], "train.feature_opt.layers: RRDBNet has no layer '0'"),
        ('train/optim_g/betas', [2.0, 0.9], 'train.optim_g: Invalid beta parameter'),
        ('train/scheduler/type', 'Cosine', 'train.scheduler: Scheduler Cosine is not implemented'),
        (
            'train/scheduler',
            {'type': 'CosineAnnealingRestartLR', 'periods': [2, 2], 'restart_weights': [1, 1]},
            'train.scheduler.periods: add up to 4 iterations, but train.total_iter is 6; lengthen the last period, or '
            'add one',
        ),
        ('train/scheduler/milestones', ['250k'], 'train.scheduler.milestones: expected a list of iterations, such as'),
        ('train/scheduler/milestones', 100, 'train.scheduler.milestones: expected a list of iterations'),
        ('train/scheduler/milestones', [2.5], 'train.scheduler.milestones: expected a list of iterations'),
        ('train/scheduler/restarts', [True], 'train.scheduler.restarts: expected a list of iterations'),
        ('train/pixel_opt/loss_weight', -1.0, 'train.pixel_opt.loss_weight: -1.0 would make the student worse'),
        ('train/ema_decay', 1.5, 'train.ema_decay: input should be less than 1, not 1.5'),
        (
            'val/metrics/psnr/type',
            'calculate_pnsr',
            "val.metrics.psnr.type: there is no 'calculate_pnsr'; did you mean 'calculate_psnr'",
        ),
        (
            'val/metrics',
            {'n': {'type': 'calculate_robust_niqe', 'crop_border': 4}},
            'val.metrics.n.better: write lower; BasicSR would take the highest value for the best',
        ),
        ('val/save_img', ..., 'val.save_img: this key is missing'),
        ('logger/print_freq', ..., 'logger.print_freq: this key is missing'),
        ('path/teacher_weights', 'x.pth', "path: unknown key 'teacher_weights', for which BasicSR would make a folder"),
        ('datasets/train/batch_size_per_gpu', ..., 'datasets.train.batch_size_per_gpu: this key is missing'),
        ('num_gpu', 2, 'num_gpu: 2'),
        ('datasets/val_2', {'name': 'val', 'type': 'x'}, "datasets.val_2.name: 'val' is that of datasets.val"),
        # stages and terms
        ('train/total_iter', 7, 'train.total_iter: is 7, but the stages add up to 2 + 2 + 2 = 6'),
        ('train/stages/0/losses', ['pixel', 'percptual'], "names the loss 'percptual', but train.percptual_opt is not"),
        ('train/lpips_opt', {'type': 'L1Loss'}, "train.lpips_opt: no stage names 'lpips'"),
        ('train/gan_opt', ..., "names the loss 'gan', but train.gan_opt is not defined"),
        ('network_d', ..., 'network_d: this key is missing; a stage trains the discriminator'),
        ('train/optim_d', ..., 'train.optim_d: this key is missing'),
        ('teacher', ..., 'train.feature_opt: compares with the teacher, but the block teacher is missing'),
        ('train/stages/0/losses', ['pixel', 'feature_d'], 'train.feature_d_opt is not defined'),
        # layers
        ('train/feature_opt/layers', [0, 1], "layers: the name of a layer is text, such as 'body.5', not [0, 1]"),
        ('train/feature_opt/hidden_channels', 2.5, 'hidden_channels: must be 0 or more, a whole number, not 2.5'),
        (
            'train/feature_opt/layers',
            ['body.7'],
            "train.feature_opt.layers: RRDBNet has no layer 'body.7'; its last one is "
            "'body.1'; layers: 4 selects four depths",
        ),
        (
            'train/feature_opt/layers',
            ['lrelu'],
            "train.feature_opt.layers: layer 'lrelu' of RRDBNet runs several times",
        ),
        (
            'train/feature_opt/layers',
            {'body.0': 'conv_hr'},
            "train.feature_opt.layers: 'body.0' of the student is 16x16, 'conv_hr' of the teacher 64x64",
        ),
        # networks
        ('network_d/width', 0.3, 'network_d: width'),
        (
            'network_d',
            {'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 8, 'input_size': 128},
            'network_d: rejects an input of 3x64x64 (the training crop)',
        ),
        (
            'network_g',
            {
                'type': 'RRDBNet',
                'num_in_ch': 3,
                'num_out_ch': 3,
                'num_feat': 8,
                'num_block': 2,
                'num_grow_ch': 4,
                'scale': 2,
            },
            'scale: is 4, but network_g turns 16 pixels into 32',
        ),
        ('teacher/network_g/scale', 2, 'teacher'),
        # weights
        ('teacher/pretrain_network_g', 'nowhere.pth', 'teacher.pretrain_network_g'),
        ('teacher/pretrain_network_g', 'RealESRGAN_x4pluss', "did you mean 'RealESRGAN_x4plus'"),
        ('teacher/network_g/num_feat', 12, 'teacher.pretrain_network_g'),
        ('teacher/network_g/num_block', 3, 'teacher.pretrain_network_g'),
        ('path/pretrain_network_g', 'nowhere.pth', 'path.pretrain_network_g'),
        # data
        ('datasets/train/type', 'PairedDataset', "datasets.train.type: there is no 'PairedDataset'; did you mean"),
        ('datasets/train/dataroot_gt', 'nowhere', 'nowhere'),
        ('datasets/train/dataroot_gt', ..., 'datasets.train.dataroot_gt: this key is missing'),
        ('datasets/train/gt_size', 500, 'datasets.train.gt_size'),
        (
            'datasets/train/dataset_enlarge_ratio',
            0.5,
            'datasets.train.dataset_enlarge_ratio: with 0.5 BasicSR trains on the same 2 of 4 images in every epoch',
        ),
        (
            'datasets/train/batch_size_per_gpu',
            9,
            'datasets.train: 4 images per process are less than a batch of 9; set dataset_enlarge_ratio: 3 or more',
        ),
        ('scale', 2, 'times scale 2 is not'),
        (
            'high_order_degradation',
            True,
            'high_order_degradation: is true, but PairedImageDataset provides no blur kernels',
        ),
    ],
)
def test_one_clear_line(options, path, value, expected):
    assert expected in complaint(change(options, path, value))


def test_a_generators_weights_for_a_discriminator(options, small_teacher):
    options['path']['pretrain_network_d'] = str(small_teacher / 'net_g.pth')
    message = complaint(options)
    assert 'path.pretrain_network_d' in message and 'generator' in message
    del options['path']['pretrain_network_d']
    options['teacher']['pretrain_network_g'] = str(small_teacher / 'net_d.pth')
    message = complaint(options)
    assert 'teacher.pretrain_network_g' in message and 'discriminator' in message


def test_empty_folders(options, tmp_path):
    for name in ('HR', 'LR'):
        (tmp_path / name).mkdir()
    options['datasets']['train'].update(dataroot_gt=str(tmp_path / 'HR'), dataroot_lq=str(tmp_path / 'LR'))
    assert complaint(options) == f'datasets.train: {tmp_path}/HR holds no images'


def test_a_file_that_is_no_image(options, photos, tmp_path):
    shutil.copytree(photos, tmp_path / 'photos')
    (tmp_path / 'photos/HR/coffee.png').write_bytes(b'not an image')
    folders = {'dataroot_gt': str(tmp_path / 'photos/HR'), 'dataroot_lq': str(tmp_path / 'photos/LR')}
    options['datasets']['train'].update(folders)
    assert 'photos/HR/coffee.png is not a readable image' in complaint(options)


def test_a_pair_that_does_not_fit_the_scale(options, photos, tmp_path):
    shutil.copytree(photos, tmp_path / 'photos')
    Image.fromarray(np.zeros((40, 48, 3), np.uint8)).save(tmp_path / 'photos/LR/coffee.png')
    folders = {'dataroot_gt': str(tmp_path / 'photos/HR'), 'dataroot_lq': str(tmp_path / 'photos/LR')}
    options['datasets']['train'].update(folders)
    message = complaint(options)
    assert re.search(r'LR/coffee\.png \(48x40\) times scale 4 is not .*HR/coffee\.png \(192x192\)', message)


def test_a_pool_that_does_not_fit_the_batch(options, photos):
    from tests.helpers.degradation import degradation_options

    options = degradation_options(options, photos)
    options['queue_size'] = 5
    assert complaint(options) == 'queue_size: 5 is not a multiple of the batch size 2; use 6'
    del options['jpeg_range']
    assert complaint(options).startswith('jpeg_range: this key is missing')


@pytest.mark.parametrize(
    'text, expected',
    [
        ('name: [', 'is not valid YAML'),
        ('name: x\ntrain:\n\ttotal_iter: 6\n', 'is not valid YAML: line 3 holds a tab; write spaces instead'),
        (
            'path:\n  x: "C:\\Users\\me"\n',
            'line 2: in double quotes a backslash starts an escape sequence; use '
            'single quotes, or / instead of the backslash',
        ),
        (
            'a: &a {x: 1}\nb: {<<: *a}\n',
            'line 2: BasicSR does not read merge keys (<<); write the keys of the block out',
        ),
        ('path: {x: "D:\\data"}', 'line 1: in double quotes a backslash starts an escape sequence'),
        ('# nothing yet', 'opt.yml holds no options: it is empty; it needs keys, such as name: my_run'),
        ('- a\n- b\n', 'opt.yml holds no options: it is a list; it needs keys'),
        ('see the other file', 'opt.yml holds no options: it is text; it needs keys'),
        ('\n<!DOCTYPE html>\n<html>: a', 'opt.yml holds no options: it is a web page; download the file itself'),
        ('name: x', 'model_type: this key is missing'),
        ('model_type: SDAKDModle', "model_type: there is no 'SDAKDModle'; did you mean 'SDAKDModel'"),
    ],
)
def test_a_broken_option_file(tmp_path, text, expected):
    (tmp_path / 'opt.yml').write_text(text)
    with pytest.raises(UserError, match=re.escape(expected)) as caught:
        read_yaml(str(tmp_path / 'opt.yml'))
    assert str(caught.value).count('-opt:') <= 1


@pytest.mark.parametrize(
    'entry, expected',
    [
        ('train:total_iter', "not 'train:total_iter', which has no ="),
        ('name=a=b', "not 'name=a=b', which has 2 ="),
        ('trian:total_iter=3', "not 'trian:total_iter=3': 'trian' is not a block of it"),
        ('train:stages:0=3', "not 'train:stages:0=3': 'stages' is not a block of it"),
    ],
)
def test_a_forced_option_that_has_no_place(options, entry, expected):
    check_forced(['name=x', 'train:total_iter=6', ' train:optim_g:lr =1'], options, 'opt.yml')
    with pytest.raises(UserError) as caught:
        check_forced(['name=x', entry], options, 'opt.yml')
    assert str(caught.value) == f'--force_yml: expected KEY:KEY=VALUE with keys of opt.yml, {expected}'


@pytest.mark.parametrize('command', ['sdakd train', 'basicsr/train.py'])
@pytest.mark.parametrize(
    'path, value, expected',
    [
        ('train/stages/2/iters', 3, 'error: train.total_iter: is 6, but the stages add up to 2 + 2 + 3 = 7'),
        ('datasets/train/dataroot_gt', 'EMPTY', 'EMPTY'),
        ('datasets', ..., 'error: datasets: this key is missing'),
    ],
)
def test_as_a_program_it_exits_at_once_and_leaves_nothing_behind(stock, options, command, path, value, expected):
    done = stock.run(command, change(options, path, value))
    assert done.returncode != 0
    assert expected in done.stderr
    assert 'Traceback' not in done.stderr
    assert {entry.name for entry in stock.folder.iterdir()} == {'basicsr', 'opt.yml'}


def test_the_command_without_a_file(stock):
    done = stock.run('sdakd train', 'nowhere.yml')
    assert done.returncode == 1 and done.stderr.startswith("error: -opt: cannot read 'nowhere.yml'")


def test_other_models_notice_nothing(stock, options):
    """A plain BasicSR model with a key that only our check would refuse still reaches BasicSR."""
    options.update(model_type='SRModel', unheard_of=1)
    options['train'] = {key: options['train'][key] for key in ('optim_g', 'scheduler', 'pixel_opt')} | {'total_iter': 1}
    assert 'End of training' in stock.ok('basicsr/train.py', options)


def test_an_image_that_is_bad_only_when_it_is_read_is_named(options, photos, tmp_path):
    """As of a set that is too large to be looked at whole, from the main process and from a worker."""
    from basicsr.data import build_dataset

    from sdakd_plugin.stock.named_errors import with_image_names

    shutil.copytree(photos, tmp_path / 'photos')
    bad = tmp_path / 'photos/HR/coffee.png'
    bad.write_bytes(bad.read_bytes()[:3000])
    block = {**options['datasets']['train'], 'dataroot_gt': str(tmp_path / 'photos/HR'), 'scale': 4, 'phase': 'train'}
    dataset = with_image_names(build_dataset)(block)
    assert isinstance(dataset, type(build_dataset(block))) and dataset.opt['name'] == 'photos'
    for workers in (0, 1):
        loader = torch.utils.data.DataLoader(dataset, batch_size=4, num_workers=workers)
        with pytest.raises(UserError) as caught:
            next(iter(loader))
        assert str(caught.value).startswith('datasets: photos: cannot read ') and str(bad) in str(caught.value)
        assert 'Traceback' not in str(caught.value)


@pytest.mark.parametrize(
    'called, block, wrong',
    [
        ('SwinIR', {'img_size': [64, 64], 'depths': [2, 2], 'qkv_bias': True, 'mlp_ratio': 2}, {'upsampler': 3}),
        ('Adam', {'lr': 1, 'betas': [0.9, 0.99], 'eps': 1e-8, 'foreach': None}, {'betas': [0.9, 0.99, 0.999]}),
        ('Adafactor', {'eps': [None, 1e-3]}, {'lr': [0.1]}),
        ('MultiStepRestartLR', {'milestones': [5], 'restarts': [0, 2]}, {'gamma': {'at': 2}}),
    ],
)
def test_values_are_compared_with_the_defaults_of_what_they_are_passed_to(called, block, wrong):
    from basicsr.archs.swinir_arch import SwinIR
    from basicsr.models.lr_scheduler import MultiStepRestartLR

    found = {'SwinIR': SwinIR, 'MultiStepRestartLR': MultiStepRestartLR}.get(called) or getattr(torch.optim, called)
    key = 'network_g' if called == 'SwinIR' else 'train.optim_g'
    check_types(found, block, key)
    name = next(iter(wrong))
    with pytest.raises(UserError, match=f'{key}.{name}: expected a value like'):
        check_types(found, block | wrong, key)


@pytest.mark.parametrize('kind', ['16 bits', 'grey', 'alpha', 'palette', 'black and white'])
def test_images_of_all_kinds_that_basicsr_reads_are_fine(options, photos, tmp_path, kind):
    import cv2

    shutil.copytree(photos, tmp_path / 'photos')
    for path in (tmp_path / 'photos/HR/coffee.png', tmp_path / 'photos/LR/coffee.png'):
        image = Image.open(path)
        if kind == '16 bits':
            cv2.imwrite(str(path), np.asarray(image).astype(np.uint16) * 257)
        else:
            image.convert({'grey': 'L', 'alpha': 'RGBA', 'palette': 'P', 'black and white': '1'}[kind]).save(path)
    folders = {'dataroot_gt': str(tmp_path / 'photos/HR'), 'dataroot_lq': str(tmp_path / 'photos/LR')}
    options['datasets']['train'].update(folders)
    check(options)


def test_of_many_images_some_of_everywhere_are_looked_at_in_time(monkeypatch):
    paths = list(range(10**5))
    assert list(sample(paths[:50], 60)) == list(sample(paths[:50], 60))
    assert sorted(sample(paths[:50], 60)) == paths[:50]
    clock = itertools.count(0, 0.01)
    monkeypatch.setattr('sdakd_plugin.checks.data.time', SimpleNamespace(monotonic=lambda: next(clock)))
    seen = list(sample(paths, 0.5))
    assert 45 < len(seen) < 55
    assert {path // 20000 for path in seen} == {0, 1, 2, 3, 4}


def test_photographs_that_a_folder_replaces_are_named_in_the_log(photos, caplog):
    from sdakd_plugin.data.whole_image_dataset import WholeImageDataset

    block = {'phase': 'val', 'name': 'x', 'type': 'WholeImageDataset', 'gt_size': 64, 'images': ['astronaut']}
    WholeImageDataset(block)
    assert not caplog.text
    WholeImageDataset({**block, 'dataroot_gt': str(photos / 'HR')})
    assert 'images: ignored, because dataroot_gt is set' in caplog.text
    with pytest.raises(UserError, match='the embedded photographs are too small for gt_size 512'):
        WholeImageDataset({**block, 'gt_size': 512})


def test_the_check_leaves_every_generator_of_random_numbers_alone(options):
    random.seed(3)
    np.random.seed(3)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    check(options)
    assert random.getstate() == before[0] and np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_all_mistakes_are_reported_at_once(options, tmp_path):
    options['network_g']['num_blocks'] = 4
    options['logger']['print_freq'] = 0
    options['train']['total_iters'] = 6
    with pytest.raises(UserError) as raised:
        check(options)
    assert len(raised.value.report().splitlines()) == 2  # those of the option file, before anything is opened
    assert "unknown key 'total_iters'; did you mean 'total_iter'" in raised.value.report()
    del options['train']['total_iters']
    options['logger']['print_freq'] = 1
    rate, options['train']['optim_g']['lr'] = options['train']['optim_g']['lr'], 'fast'
    with pytest.raises(UserError) as raised:  # those in the blocks, before any data are read
        check(options)
    assert [line.split(':')[1].strip() for line in raised.value.report().splitlines()] == [
        'network_g',
        'train.optim_g.lr',
    ]
    options['train']['optim_g']['lr'] = rate
    del options['network_g']['num_blocks']
    options['datasets']['train'].update(dataroot_gt=str(tmp_path / 'one'))
    options['datasets']['val'].update(dataroot_gt=str(tmp_path / 'two'))
    lpips = {'type': 'calculate_lpips', 'better': 'lower', 'backbone_path': str(tmp_path / 'alexnet.pth')}
    options['val']['metrics'] = {'lpips': lpips}
    with pytest.raises(UserError) as raised:
        check(options)
    lines = raised.value.report().splitlines()
    assert [line.split(':')[1].strip() for line in lines] == [
        'datasets.train.dataroot_gt',
        'datasets.val.dataroot_gt',
        'val.metrics.lpips',
    ]


def test_a_consequence_is_not_reported_as_a_mistake():
    def wrong():
        raise UserError('a key is missing')

    def stumble():
        return {}['key']

    with pytest.raises(UserError, match=r'^a key is missing$'):
        all_of(wrong, stumble, wrong)
    with pytest.raises(KeyError):
        all_of(stumble, wrong)
