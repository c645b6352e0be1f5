"""Broken option files, weights, images and folders as input of the programs.

Each gives a one-line error early, without a traceback or leftover files; code inside a weight file never runs.
"""

from __future__ import annotations

import os
import pickle
import re
import shutil
import struct
import subprocess
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from basicsr.archs import build_network
from PIL import Image

from tests.helpers.mistakes import change
from tests.helpers.networks import STUDENT, TEACHER
from tests.helpers.posix import is_root, needs_posix

pytestmark = pytest.mark.long  # a minute and a half in all
LIMIT = 15  # seconds


class Bad:
    """A folder in which a program runs that must fail."""

    def __init__(self, stock, options):
        self.stock, self.options, self.folder = stock, options, stock.folder

    def data(self, photos):
        """Photographs of one's own, for training and validation."""
        shutil.copytree(photos, self.folder / 'data')
        for block in self.options['datasets'].values():
            block.update(dataroot_gt='data/HR', dataroot_lq='data/LR')
        return self.folder / 'data'

    def fails(self, expected, command, *arguments, lines=1):
        """Run ``sdakd ...`` or ``basicsr/...py`` and look at how it ends.

        ``lines`` is the number of different mistakes; ``None`` for any. The training and the validation data may have
        the same one.
        """
        before = self.listing()
        begun = time.monotonic()
        if command.endswith('.py'):
            done = self.stock.run(command, 'opt.yml')
        else:
            given = [*command.split()[1:], *arguments]
            self.stock.warm.start(self.folder, given)
            done = self.stock.warm.wait(self.folder, given)
        seconds, printed = time.monotonic() - begun, done.stdout + done.stderr
        assert done.returncode > 0, printed  # a negative one is a signal's
        assert expected in ' '.join(done.stderr.split()), printed
        assert 'Traceback' not in printed, printed
        errors = {
            re.sub(r'^error: datasets\.\w+', '', line)
            for line in done.stderr.splitlines()
            if line.startswith('error: ')
        }
        assert len(errors) == lines or (errors and lines is None), printed
        assert self.listing() == before
        assert seconds < LIMIT or command.endswith('.py')  # Python itself takes ten on a busy machine

    def options_fail(self, expected, command='sdakd train', lines=1):
        (self.folder / 'opt.yml').write_text(yaml.safe_dump(self.options, sort_keys=False, allow_unicode=True))
        self.fails(expected, command, '-opt', 'opt.yml', lines=lines)

    def listing(self):
        """All files with the time of their last change, and all folders."""
        found = (path for path in self.folder.rglob('*') if path.relative_to(self.folder).parts[0] != 'basicsr')
        return {path: None if path.is_dir() else path.lstat().st_mtime_ns for path in found}


@pytest.fixture
def bad(stock, options):
    return Bad(stock, options)


# -------------------------------------------------------------------------------------------------- the option file

HEAD = b'name: x\nmodel_type: SDAKDModel\n'


@pytest.mark.parametrize(
    'text, expected',
    [
        (b'name: [', 'opt.yml is not valid YAML'),
        (b'', 'opt.yml holds no options'),
        (b'- model_type: SDAKDModel', 'opt.yml holds no options'),
        (b'name: x', 'model_type: this key is missing in opt.yml'),
        (b'model_type: [SDAKDModel]', "model_type: there is no ['SDAKDModel']"),
        (HEAD + b'train:\n\ttotal_iter: 6\n', 'opt.yml is not valid YAML: line 4 holds a tab; write spaces instead'),
        (HEAD + b'train:\n  total_iter: 6\n\tema_decay: 0\n', 'opt.yml is not valid YAML: line 5 holds a tab'),
        (
            HEAD + b'path:\n  x: "C:\\Users\\me"\n',
            'line 4: in double quotes a backslash starts an escape sequence; use single',
        ),
        (
            HEAD + b'path:\n  x: "D:\\data"\n',
            'line 4: in double quotes a backslash starts an escape sequence; use single quotes',
        ),
        (HEAD + b'train: [1, 2\nval: 3\n', 'opt.yml is not valid YAML: line 4: did not find'),
        (HEAD + b'# caf\xe9\n', "cannot read 'opt.yml': 'utf-8' codec can't decode"),
        (HEAD + b'scale: \x00\n', 'opt.yml is not valid YAML'),
        (
            HEAD + b'train:\n  total_iter: 6\n  ema_decay: 0\n  total_iter: 7\n',
            'train.total_iter: this key occurs twice, in lines 4 and 6',
        ),
        (HEAD + b'? {a: 1}\n: 2\n', 'opt.yml is not valid YAML'),
        (HEAD + b'12: 2\n', '12: a key must be text'),
        (HEAD + b'a: ' + b'[' * 5000 + b']' * 5000, 'opt.yml is nested too deeply'),
        (HEAD + b'a: &a [*a]\n', 'is nested too deeply, or contains itself'),
        (HEAD, 'num_gpu: this key is missing'),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value.replace(' ', '-')[:40],
)
def test_an_option_file_that_is_none(bad, text, expected):
    (bad.folder / 'opt.yml').write_bytes(text)
    bad.fails(expected, 'sdakd train', '-opt', 'opt.yml', lines=None)


def test_a_folder_for_an_option_file(bad):
    (bad.folder / 'opt.yml').mkdir()
    bad.fails("cannot read 'opt.yml': it is a folder", 'sdakd train', '-opt', 'opt.yml')


@needs_posix('a named pipe')
def test_a_pipe_for_an_option_file(bad):
    os.mkfifo(bad.folder / 'opt.yml')
    bad.fails("cannot read 'opt.yml': it is a folder, or not a regular file", 'sdakd check', '-opt', 'opt.yml')


# ------------------------------------------------------------------------------------------------------ its options

TYPES = [
    ('datasets', [1, 2], 'datasets: input should be a valid dictionary, not [1, 2]'),
    ('datasets', {}, 'datasets: dictionary should have at least 1 item'),
    ('datasets/train', ['photos'], 'datasets.train: input should be a valid dictionary'),
    ('datasets/train/dataroot_gt', ['a', 'b'], 'datasets.train.dataroot_gt: input should be a valid string'),
    ('datasets/train/io_backend', 'disk', 'datasets.train.io_backend: input should be a valid dictionary'),
    ('datasets/train/use_hflip', 'yes', "datasets.train.use_hflip: input should be a valid boolean, not 'yes'"),
    ('datasets/train/use_rot', ..., 'datasets.train.use_rot: this key is missing; PairedImageDataset needs it'),
    ('train', 'supervised', 'train: input should be a valid dictionary'),
    ('train/stages', {'supervised': 6}, 'train.stages: input should be a valid list'),
    ('train/stages/0', 'supervised', 'train.stages.0: input should be a valid dictionary'),
    ('train/stages/0/losses', 'pixel', 'train.stages.0.losses: input should be a valid list'),
    ('train/stages/0/iters', '2', "train.stages.0.iters: input should be a valid integer, not '2'"),
    ('train/pixel_opt', 'L1Loss', 'train.pixel_opt'),
    ('train/pixel_opt/loss_weight', 'strong', "train.pixel_opt.loss_weight: expected a value like 1.0, not 'strong'"),
    ('train/pixel_opt/loss_weight', float('nan'), 'train.pixel_opt.loss_weight: nan is not a finite float32 number'),
    ('train/feature_opt/layers', 5, 'train.feature_opt'),
    ('train/feature_opt/layers', {'body.0': ['body.1']}, "the name of a layer is text, such as 'body.5'"),
    ('train/gan_opt/gan_type', 'magic', 'train.gan_opt: GANLoss cannot be built'),
    ('train/optim_g', ['Adam'], 'train.optim_g: input should be a valid dictionary'),
    ('train/optim_g/lr', 'fast', "train.optim_g.lr: expected a value like 0.001, not 'fast'"),
    ('train/optim_g/lr', -1.0, 'train.optim_g: Invalid learning rate'),
    ('train/optim_g/betas', [0.9], 'train.optim_g.betas: expected a value like [0.9, 0.999], not [0.9]'),
    ('train/scheduler/milestones', 5, 'train.scheduler'),
    ('train/scheduler/gamma', 'half', "train.scheduler.gamma: expected a value like 0.1, not 'half'"),
    ('train/ema_decay', float('inf'), 'train.ema_decay: inf is not a finite float32 number'),
    ('train/stages/0/lr_d', 1e-4, "lr_d: stage 'supervised' does not train the discriminator"),
    ('train/stages/1/name', 'supervised', "train.stages: two stages are named 'supervised'"),
    ('network_g', None, 'network_g: input should be a valid dictionary, not None'),
    ('network_g/num_feat', '8', "network_g.num_feat: expected a value like 64, not '8'"),
    ('network_d/teacher', 'UNetDiscriminatorSN', 'network_d'),
    ('teacher', ['net_g.pth'], 'teacher: input should be a valid dictionary'),
    ('path', None, 'path: input should be a valid dictionary'),
    ('path/pretrain_network_g', ['a.pth'], "path: pretrain_network_g: expected text, not ['a.pth']"),
    ('path/strict_load_g', 'no', "path: strict_load_g: expected true or false, not 'no'"),
    ('path/resume_state', 5, 'path: resume_state: expected text, not 5'),
    ('val/val_freq', 0, 'val.val_freq: input should be greater than 0, not 0'),
    ('val/metrics', ['psnr'], 'val.metrics: input should be a valid dictionary'),
    ('val/metrics/psnr/crop_border', 'four', 'val.metrics.psnr.crop_border'),
    ('logger', 'wandb', 'logger: input should be a valid dictionary'),
    ('logger/print_freq', '1', "logger.print_freq: input should be a valid integer, not '1'"),
    ('logger/wandb', {'project': 'x'}, 'logger.wandb: needs the package wandb'),
    ('name', 'runs/today', "name: expected the name of a folder, not a path, of at most 180 characters, not 'runs/tod"),
    ('name', '', 'name: expected the name of a folder'),
    ('num_gpu', 'all', 'num_gpu: input should be'),
    ('manual_seed', -1, 'manual_seed: input should be greater than or equal to 0, not -1'),
    ('scale', '4', "scale: input should be a valid integer, not '4'"),
    ('datasets/train/prefetch_mode', 'gpu', "datasets.train.prefetch_mode: input should be 'cpu' or 'cuda'"),
    ('datasets/train/prefetch_mode', 'cuda', 'datasets.train.pin_memory: must be true for prefetch_mode: cuda'),
    ('datasets/train_2', {'name': 'more', 'type': 'PairedImageDataset'}, 'datasets.train_2: BasicSR knows no such'),
]
SIZES = [
    ('datasets/train/gt_size', 10**6, 'datasets.train.batch_size_per_gpu: 2 images of 1000000x1000000 take'),
    ('datasets/train/gt_size', 66, 'datasets.train.gt_size: 66 is not a multiple of the scale 4; use 64'),
    ('datasets/train/gt_size', -64, 'datasets.train.gt_size: input should be greater than 0, not -64'),
    ('datasets/train/batch_size_per_gpu', 0, 'datasets.train.batch_size_per_gpu: input should be greater than 0'),
    ('datasets/train/batch_size_per_gpu', 10**9, 'datasets.train.batch_size_per_gpu: 1000000000 images of 64x64 take'),
    ('datasets/train/num_worker_per_gpu', 10**6, 'datasets.train.num_worker_per_gpu: input should be less than or'),
    ('datasets/train/dataset_enlarge_ratio', 10**12, 'dataset_enlarge_ratio: 1000000000000 makes an epoch of'),
    ('network_g/num_feat', 10**6, 'network_g: '),
    ('network_g/num_feat', 20000, 'network_g: training the networks takes'),
    ('network_g/num_feat', -8, 'network_g: RRDBNet cannot be built'),
    ('network_g/num_block', 10**9, 'network_g: there are more than 10,000 tensors in the networks'),
    ('network_d/width', 1e-9, 'network_d: width: 1e-09'),
    ('train/total_iter', 10**12, 'train.total_iter: input should be less than or equal to 1000000000'),
    ('train/total_iter', 10**4000, 'train.total_iter: 1000'),
    ('scale', 10**9, 'scale'),
    ('train/pixel_opt/loss_weight', 10**400, 'train.pixel_opt.loss_weight: 1000'),
]


@pytest.mark.parametrize(
    'path, value, expected',
    [*TYPES, *SIZES],
    ids=[f'{path}-{type(value).__name__}-{number}' for number, (path, value, _) in enumerate([*TYPES, *SIZES])],
)
def test_an_option_of_another_kind_or_of_an_absurd_size(bad, path, value, expected):
    bad.options = change(bad.options, path, value)
    bad.options_fail(expected, lines=None)


def test_a_batch_that_only_the_features_make_too_large(bad):
    bad.options['datasets']['train'].update(batch_size_per_gpu=10**5, dataset_enlarge_ratio=10**5)
    bad.options_fail('datasets.train.batch_size_per_gpu: a batch of 100000 takes')


def test_a_pool_beyond_the_memory(bad, photos):
    from tests.helpers.degradation import degradation_options

    bad.options = {**degradation_options(bad.options, photos), 'queue_size': 10**8}
    bad.options_fail('queue_size: 100000000 images of')


def test_a_crop_that_the_degradation_cannot_cut(bad, photos):
    from tests.helpers.degradation import degradation_options

    bad.options = {**degradation_options(bad.options, photos), 'gt_size': 512}
    bad.options_fail('gt_size: 512 is more than 400')


def test_probabilities_that_are_too_few(bad, photos):
    from tests.helpers.degradation import degradation_options

    bad.options = {**degradation_options(bad.options, photos), 'resize_prob': [0.5, 0.5]}
    bad.options_fail('resize_prob: list should have at least 3 items')


def test_a_loss_that_is_not_finite_is_named_by_the_dry_iteration(bad):
    bad.options['train']['pixel_opt'].update(loss_weight=3e38, reduction='sum')
    bad.options_fail("stage 'supervised': l_g_pix is inf in the first iteration", 'sdakd check')


def test_an_iteration_that_cannot_be_made_is_named_by_the_dry_iteration(bad):
    bad.options['train']['optim_g'] = {'type': 'LBFGS', 'lr': 0.1}
    bad.options_fail("stage 'supervised': an iteration fails: TypeError", 'sdakd check')


def test_a_forced_option_that_is_not_there(bad):
    (bad.folder / 'opt.yml').write_text(yaml.safe_dump(bad.options))
    bad.fails(
        "--force_yml: expected KEY:KEY=VALUE with keys of opt.yml, not 'trian:x:y=1': 'trian' is not a block of it",
        'sdakd check',
        '-opt',
        'opt.yml',
        '--force_yml',
        'trian:x:y=1',
    )


@pytest.mark.parametrize('command', ['sdakd check', 'sdakd train'])
@pytest.mark.parametrize('entry, equals', [('train:total_iter', 'no'), ('name=a=b', '2')])
def test_a_forced_option_without_one_equals_sign(bad, command, entry, equals):
    (bad.folder / 'opt.yml').write_text(yaml.safe_dump(bad.options))
    bad.fails(
        f"--force_yml: expected KEY:KEY=VALUE with keys of opt.yml, not '{entry}', which has {equals} =",
        command,
        '-opt',
        'opt.yml',
        '--force_yml',
        'name=fine',
        entry,
    )


@pytest.mark.parametrize(
    'path, value, expected',
    [
        ('datasets/train/gt_size', 10**6, 'error: datasets.train.batch_size_per_gpu: 2 images of 1000000x1000000 take'),
        ('teacher/pretrain_network_g', 'CODE', 'error: teacher.pretrain_network_g: '),
    ],
)
def test_stock_train_without_our_command(bad, path, value, expected):
    if value == 'CODE':
        value = hostile(bad.folder)
    bad.options = change(bad.options, path, value)
    bad.options_fail(expected, 'basicsr/train.py')
    assert not (bad.folder / MARKER).exists()


# ---------------------------------------------------------------------------------------------------------- weights

MARKER = 'the-code-ran'


class Code:
    """Runs a command when it is unpickled by whoever trusts the file."""

    def __reduce__(self):
        return os.system, (f'touch {MARKER}',)


def good_weights():
    torch.manual_seed(1)
    return build_network(TEACHER).state_dict()


def hostile(folder, kind='inside a dict'):
    """A weight file with code in it; the name is relative to the folder."""
    path = folder / 'evil.pth'
    state = good_weights()
    if kind == 'a bare pickle':
        path.write_bytes(pickle.dumps(Code()))
    elif kind == 'the whole file':
        torch.save(Code(), path)
    elif kind == 'the old format':
        torch.save({'params_ema': state, 'note': Code()}, path, _use_new_zipfile_serialization=False)
    elif kind == 'a tensor':
        torch.save({'params_ema': {**state, 'conv_first.bias': Code()}}, path)
    else:
        torch.save({'params_ema': state, 'note': {'author': ['me', Code()]}}, path)
    return path.name


def test_the_code_would_run(tmp_path, monkeypatch):
    """Otherwise the tests below show nothing."""
    monkeypatch.chdir(tmp_path)
    torch.load(hostile(tmp_path), weights_only=False)
    assert (tmp_path / MARKER).exists()


KINDS = ['a bare pickle', 'the whole file', 'the old format', 'a tensor', 'inside a dict']


@pytest.mark.parametrize('key', ['teacher/pretrain_network_g', 'path/pretrain_network_g'])
@pytest.mark.parametrize('kind', KINDS)
def test_code_in_weights_does_not_run(bad, kind, key):
    bad.options = change(bad.options, key, hostile(bad.folder, kind))
    bad.options_fail(f'{key.replace("/", ".")}: evil.pth {"is" if kind == "a bare pickle" else "holds a"}')
    assert not (bad.folder / MARKER).exists()


def test_code_in_a_training_state_does_not_run(bad):
    torch.save({'iter': 2, 'epoch': 0, 'optimizers': [], 'schedulers': [], 'stage': Code()}, bad.folder / '2.state')
    bad.options['path']['resume_state'] = '2.state'
    bad.options_fail('path.resume_state: 2.state')
    assert not (bad.folder / MARKER).exists()


@pytest.mark.parametrize(
    'command',
    [
        ('sdakd weights', 'inspect', 'evil.pth'),
        ('sdakd upscale', 'in.png', 'out.png', '--model', 'evil.pth'),
        ('sdakd export', 'evil.pth', '--format', 'safetensors'),
        ('sdakd report', '--teacher', 'evil.pth', '--student', 'evil.pth'),
        ('sdakd compare', '--gt', 'in.png', '--model', 'evil.pth', '--out', '.'),
    ],
    ids=lambda command: command[0],
)
def test_code_in_weights_does_not_run_in_the_other_commands(bad, command):
    hostile(bad.folder)
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(bad.folder / 'in.png')
    bad.fails('evil.pth holds a', *command)
    assert not (bad.folder / MARKER).exists()


@pytest.mark.parametrize(
    'key, block',
    [
        ('train/lpips_opt', {'type': 'LPIPSLoss', 'target': 'gt', 'backbone_path': 'evil.pth'}),
        ('train/vgg_opt', {'type': 'VGGMSELoss', 'layer': 'conv5_4', 'vgg_type': 'vgg19', 'vgg_path': 'evil.pth'}),
        ('val/metrics/lpips', {'type': 'calculate_lpips', 'better': 'lower', 'backbone_path': 'evil.pth'}),
    ],
)
def test_code_in_a_backbone_does_not_run(bad, key, block):
    hostile(bad.folder)
    bad.options = change(bad.options, key, block)
    bad.options['train']['stages'][0]['losses'] += [key.split('/')[1].removesuffix('_opt')] * key.startswith('train')
    bad.options_fail(f'{key.replace("/", ".")}: ')
    assert not (bad.folder / MARKER).exists()


def test_a_metric_whose_network_is_missing(bad):
    lpips = {'type': 'calculate_lpips', 'better': 'lower', 'backbone_path': 'nowhere.pth'}
    bad.options['val']['metrics']['lpips'] = lpips
    bad.options_fail('val.metrics.lpips: backbone_path: no such file: nowhere.pth')


def broken(kind):
    """The state dict of the teacher, with something wrong with one tensor."""
    state, key = good_weights(), 'body.1.rdb2.conv3.weight'
    odd = {
        'nan': lambda one: one.index_fill(0, torch.tensor([3]), float('nan')),
        'inf': lambda one: one.index_fill(0, torch.tensor([3]), float('inf')),
        'meta': lambda one: one.to('meta'),
        'sparse': lambda one: one.to_sparse(),
        'complex': lambda one: one.to(torch.complex64),
        'expanded': lambda one: torch.zeros(1).expand(10**6, 10**6),
        'text': lambda one: 'weights',
        'shape': lambda one: one[:, :-1],
    }[kind]
    return {**state, key: odd(state[key])}


@pytest.mark.parametrize(
    'key, kind, expected',
    [
        ('teacher/pretrain_network_g', 'nan', 'body.1.rdb2.conv3.weight in bad.pth holds NaN or infinite values'),
        ('teacher/pretrain_network_g', 'inf', 'body.1.rdb2.conv3.weight in bad.pth holds NaN or infinite values'),
        ('path/pretrain_network_g', 'nan', 'body.1.rdb2.conv3.weight in bad.pth holds NaN or infinite values'),
        ('teacher/pretrain_network_g', 'meta', 'body.1.rdb2.conv3.weight in bad.pth is without values'),
        ('teacher/pretrain_network_g', 'sparse', 'body.1.rdb2.conv3.weight in bad.pth is not an ordinary tensor'),
        ('teacher/pretrain_network_g', 'complex', 'body.1.rdb2.conv3.weight in bad.pth is not an ordinary tensor'),
        (
            'teacher/pretrain_network_g',
            'expanded',
            'body.1.rdb2.conv3.weight in bad.pth is 1000000x1000000, but the file',
        ),
        ('teacher/pretrain_network_g', 'text', 'bad.pth holds no state dict under the usual keys'),
        ('teacher/pretrain_network_g', 'shape', 'bad.pth does not fit network RRDBNet'),
    ],
)
def test_a_tensor_that_is_no_good(bad, key, kind, expected):
    torch.save({'params_ema': broken(kind)}, bad.folder / 'bad.pth')
    bad.options = change(bad.options, key, 'bad.pth')
    if key.startswith('path'):
        bad.options['network_g'] = dict(TEACHER)
    bad.options_fail(f'{key.replace("/", ".")}: {expected}')


def test_weights_that_are_not_finite_are_named_by_inspect(bad):
    torch.save({'params_ema': broken('nan')}, bad.folder / 'bad.pth')
    bad.fails('body.1.rdb2.conv3.weight in bad.pth holds NaN or infinite values', 'sdakd weights', 'inspect', 'bad.pth')


def bomb(path):
    """Some kilobytes that unpack to a hundred megabytes."""
    torch.save({'params_ema': good_weights()}, path.with_suffix('.tmp'))
    with zipfile.ZipFile(path.with_suffix('.tmp')) as before, zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as after:
        for name in before.namelist():
            after.writestr(name, before.read(name))
        with after.open(before.namelist()[0].split('/')[0] + '/data/9999', 'w', force_zip64=True) as entry:
            for _ in range(24):
                entry.write(bytes(2**22))
    path.with_suffix('.tmp').unlink()


FILES = {
    'empty': (lambda path: path.touch(), 'is empty or not a regular file'),
    'web page': (lambda path: path.write_text('<!DOCTYPE html><title>Sign in</title>'), 'is a web page, not weights'),
    'pointer': (lambda path: path.write_text('version https://git-lfs\n'), 'is only the Git LFS pointer'),
    'folder': (lambda path: path.mkdir(), 'is a folder; name a file in it'),
    'pipe': (lambda path: os.mkfifo(path), 'is empty or not a regular file'),
    'bomb': (bomb, 'is truncated, damaged or not a weight file'),
}


@pytest.mark.parametrize(
    'kind', [pytest.param(kind, marks=needs_posix('a named pipe')) if kind == 'pipe' else kind for kind in FILES]
)
def test_a_file_that_holds_no_weights(bad, kind):
    make, expected = FILES[kind]
    make(bad.folder / 'bad.pth')
    bad.options['teacher']['pretrain_network_g'] = 'bad.pth'
    bad.options_fail(f'teacher.pretrain_network_g: bad.pth {expected}')


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_weights_that_were_cut_off(bad, suffix):
    from sdakd_plugin.weights import atomic_save

    path = bad.folder / f'bad{suffix}'
    atomic_save(good_weights(), path)
    path.write_bytes(path.read_bytes()[:-1000])
    bad.options['teacher']['pretrain_network_g'] = path.name
    bad.options_fail(f'teacher.pretrain_network_g: {path.name} is truncated, damaged or not a weight file')


def test_a_teacher_of_another_scale(bad):
    network = {**TEACHER, 'scale': 2}
    torch.save({'params': build_network(network).state_dict()}, bad.folder / 'x2.pth')
    bad.options['teacher'] = {'network_g': network, 'pretrain_network_g': 'x2.pth'}
    bad.options_fail('teacher and student need the same scale')


def test_a_student_of_another_architecture(bad):
    network = {'type': 'SRVGGNetCompact', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_conv': 2}
    torch.save({'params': build_network(network).state_dict()}, bad.folder / 'other.pth')
    bad.options['path']['pretrain_network_g'] = 'other.pth'
    bad.options_fail('path.pretrain_network_g: other.pth holds SRVGGNetCompact')


def test_weights_are_checked_where_auto_resume_finds_nothing(bad):
    bad.options['path']['pretrain_network_g'] = 'nowhere.pth'
    (bad.folder / 'opt.yml').write_text(yaml.safe_dump(bad.options))
    bad.fails('path.pretrain_network_g', 'sdakd train', '-opt', 'opt.yml', '--auto_resume')


# --------------------------------------------------------------------------------------------------------- resuming


def earlier_run(bad, **changes):
    """A training state with its networks, as far as the student's weights; with something of another run in it."""
    models = bad.folder / 'experiments/run/models'
    models.mkdir(parents=True)
    torch.save(
        {'params': build_network(STUDENT).state_dict(), 'params_ema': build_network(STUDENT).state_dict()},
        models / 'net_g_2.pth',
    )
    torch.save({'params': build_network(bad.options['network_d']).state_dict()}, models / 'net_d_2.pth')
    states = models.parent / 'training_states'
    states.mkdir()
    torch.save({'iter': 2, 'epoch': 0, 'optimizers': [], 'schedulers': [], **changes}, states / '2.state')
    return states / '2.state'


def test_a_training_state_of_another_run(bad):
    bad.options['path']['resume_state'] = str(earlier_run(bad))
    bad.options_fail('path.resume_state: the state is of a run with other networks or losses')


def test_a_training_state_of_other_networks_found_by_auto_resume(bad):
    earlier_run(bad)
    (bad.folder / 'opt.yml').write_text(yaml.safe_dump(bad.options))
    bad.fails(
        'path.resume_state: the state is of a run with other networks or losses',
        'sdakd train',
        '-opt',
        'opt.yml',
        '--auto_resume',
    )


def test_a_training_state_whose_optimizers_hold_something_else(bad):
    state = earlier_run(
        bad, optimizers=[{'state': {}, 'param_groups': []}] * 2, connectors={'feature': {}}, schedulers=[{}, {}]
    )
    bad.options['path']['resume_state'] = str(state)
    bad.options_fail(f'path.resume_state: {state} is of another run')


def test_a_training_state_without_its_networks(bad):
    state = earlier_run(bad)
    (bad.folder / 'experiments/run/models/net_g_2.pth').unlink()
    bad.options['path']['resume_state'] = str(state)
    bad.options_fail('net_g_2.pth')


def test_a_weight_file_for_a_training_state(bad, small_teacher):
    bad.options['path']['resume_state'] = str(small_teacher / 'net_g.pth')
    bad.options_fail('net_g.pth is missing, damaged or not a training state')


def test_a_training_state_that_was_cut_off(bad):
    state = earlier_run(bad)
    state.write_bytes(state.read_bytes()[:200])
    bad.options['path']['resume_state'] = str(state)
    bad.options_fail('2.state is missing, damaged or not a training state')


# ----------------------------------------------------------------------------------------------------------- images


def halved(path, image, kind):
    image.save(path, kind)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def claims(path, image):
    """A PNG of 10^5 x 10^5 pixels, by its header."""

    def chunk(name, data):
        return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))

    header = struct.pack('>IIBBBBB', 10**5, 10**5, 8, 2, 0, 0, 0)
    path.write_bytes(
        b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(bytes(1000))) + chunk(b'IEND', b'')
    )


def floats(path, image):
    values = np.asarray(image.convert('L'), np.float32) / 255
    values[5, 5] = np.nan
    Image.fromarray(values).save(path, 'TIFF')


IMAGES = {  # how HR/coffee.png is spoilt
    'zero bytes': (lambda path, image: path.write_bytes(b''), 'is not a readable image'),
    'text': (lambda path, image: path.write_text('a picture of coffee'), 'is not a readable image'),
    'cut PNG': (lambda path, image: halved(path, image, 'PNG'), 'is truncated or damaged'),
    'cut JPEG': (lambda path, image: halved(path, image, 'JPEG'), 'is truncated or damaged'),
    'floats and NaN': (floats, 'coffee.png holds pixels of type float32; convert it to 8 or 16 bits'),
    'ten thousand million pixels': (claims, 'is not a readable image: Image size'),
    'another size': (lambda path, image: image.crop((0, 0, 192, 188)).save(path), 'times scale 4 is not'),
    'smaller than the crop': (lambda path, image: image.crop((0, 0, 32, 32)).save(path), 'times scale 4 is not'),
    'a dangling link': (lambda path, image: path.symlink_to('nowhere.png'), 'data/LR/coffee.png has no GT image'),
    'another name': (lambda path, image: image.save(path.with_name('tea.png')), 'data/HR/tea.png has no LQ image'),
    'one more': (
        lambda path, image: [image.save(path), image.save(path.with_name('tea.png'))],
        'data/HR/tea.png has no LQ image data/LR/tea.png',
    ),
}


@pytest.mark.parametrize('kind', IMAGES)
def test_an_image_that_cannot_be_trained_on(bad, photos, kind):
    spoil, expected = IMAGES[kind]
    path = bad.data(photos) / 'HR/coffee.png'
    with Image.open(path) as image:
        image.load()
    path.unlink()
    spoil(path, image)
    bad.options_fail(expected)


def test_an_image_that_is_missing_in_a_list(bad, photos):
    data = bad.data(photos)
    (data / 'meta.txt').write_text('astronaut.png (192,192,3)\ntea.png (192,192,3)\n')
    bad.options['datasets']['train']['meta_info_file'] = 'data/meta.txt'
    bad.options_fail('tea.png is in the list of images, but does not exist')


def test_a_list_that_is_missing(bad):
    bad.options['datasets']['train']['meta_info_file'] = 'data/meta.txt'
    bad.options_fail('datasets.train.meta_info_file: data/meta.txt does not exist')


def test_a_file_for_a_folder(bad, photos):
    data = bad.data(photos)
    bad.options['datasets']['train']['dataroot_gt'] = str(data / 'meta.txt')
    bad.options_fail(f'datasets.train.dataroot_gt: {data}/meta.txt is not a folder')


def test_an_empty_folder(bad, photos):
    bad.data(photos)
    for name in ('GT', 'LQ'):
        (bad.folder / name).mkdir()
    bad.options['datasets']['val'].update(dataroot_gt='GT', dataroot_lq='LQ')
    bad.options_fail('datasets.val: GT holds no images')


@needs_posix('a folder that its owner may not read')
@pytest.mark.skipif(is_root(), reason='the superuser may read any folder')
def test_a_folder_that_may_not_be_read(bad, photos):
    (bad.data(photos) / 'HR').chmod(0)
    try:
        bad.options_fail('Permission denied')
    finally:
        (bad.folder / 'data/HR').chmod(0o755)


# ------------------------------------------------------------------------------------------------- where it is kept


@pytest.mark.parametrize('name', ['experiments', 'tb_logger'])
def test_a_file_where_the_run_would_be_kept(bad, name):
    (bad.folder / name).write_text('in the way')
    bad.options['logger']['use_tb_logger'] = True
    bad.options_fail('exists and is not a folder')


@needs_posix('a folder that its owner may not write to')
def test_a_disk_that_may_only_be_read(bad):
    """As an ordinary user a folder, as the superuser a file system that nobody can write to."""
    if is_root():
        (bad.folder / 'experiments').symlink_to('/proc/self')
        if os.access('/proc/self/run', os.W_OK):
            pytest.skip('this machine lets the superuser write anywhere')
    else:
        (bad.folder / 'experiments').mkdir(mode=0o555)
    bad.options_fail('is not writable')


# ---------------------------------------------------------------------------------------------------------- testing


@pytest.fixture
def tests(bad):
    """The option file of a test of the small teacher."""
    datasets = {'test_1': {**bad.options['datasets']['val'], 'name': 'Set4'}}
    bad.options = {key: bad.options[key] for key in ('model_type', 'scale', 'num_gpu', 'val')} | {
        'name': 'test_run',
        'datasets': datasets,
        'network_g': dict(TEACHER),
        'path': {'pretrain_network_g': bad.options['teacher']['pretrain_network_g'], 'param_key_g': 'params_ema'},
    }
    bad.options['val'] = {'save_img': True, 'suffix': None, 'metrics': bad.options['val']['metrics']}
    return bad


@pytest.mark.parametrize(
    'path, value, expected',
    [
        ('val', ..., 'val.save_img: this key is missing'),
        ('val/save_img', ..., 'val.save_img: this key is missing'),
        ('val/suffix', ..., 'val.suffix: this key is missing; save_img needs it'),
        ('network_g/num_block', 3, 'path.pretrain_network_g'),
        ('path/pretrain_network_g', 'nowhere.pth', 'path.pretrain_network_g'),
        ('scale', 2, 'times scale 2'),
        ('datasets/extra', {'name': 'x', 'type': 'PairedImageDataset'}, 'datasets.extra: BasicSR knows no such phase'),
    ],
)
def test_a_test_file_that_cannot_be_run(tests, path, value, expected):
    tests.options = change(tests.options, path, value)
    if path == 'scale':  # the images fit it, the network does not
        tests.options['datasets']['test_1']['dataroot_lq'] = tests.options['datasets']['test_1']['dataroot_gt']
    tests.options_fail(expected, 'sdakd test')


def test_stock_test_without_our_command(tests):
    del tests.options['val']['suffix']
    tests.options_fail('error: val.suffix: this key is missing', 'basicsr/test.py')


def test_metrics_without_ground_truth(tests, photos):
    tests.options['datasets']['test_1'] = {
        'name': 'LR',
        'type': 'SingleImageDataset',
        'io_backend': {'type': 'disk'},
        'dataroot_lq': str(photos / 'LR'),
    }
    tests.options_fail('val.metrics.psnr: compares with GT images, but datasets.test_1 has none', 'sdakd check')


def test_a_network_of_another_scale_than_the_test(tests, photos, tmp_path_factory):
    network = {**TEACHER, 'scale': 2}
    torch.save({'params': build_network(network).state_dict()}, tests.folder / 'x2.pth')
    tests.options.update(network_g=network, path={'pretrain_network_g': 'x2.pth'})
    tests.options_fail('scale: is 4, but network_g turns 32 pixels into 64', 'sdakd test')


# --------------------------------------------------------------------------------------------------- other commands


@pytest.mark.parametrize(
    'command, expected',
    [
        (('sdakd upscale', 'cut.png', 'out.png'), 'cut.png is truncated or damaged'),
        (('sdakd upscale', 'huge.png', 'out.png'), 'huge.png has too many pixels'),
        (('sdakd upscale', 'nowhere', 'out'), 'nowhere: no such file or folder'),
        (('sdakd upscale', 'good.png', 'no/where/out.png'), 'there is no folder no/where'),
        (
            ('sdakd compare', '--gt', 'good.png', '--lq', 'good.png', '--out', '.'),
            'no image of good.png could be compared',
        ),
        (('sdakd report', '--size', '64', '--teacher', 'WEIGHTS'), 'give either -opt FILE, or --student'),
        (('sdakd report', '-opt', 'good.png'), "cannot read 'good.png'"),
        (('sdakd export', 'WEIGHTS', '--format', 'onnx', '--out', 'no/where/out.onnx'), 'there is no folder no/where'),
        (('sdakd weights', 'inspect', 'good.png'), 'good.png is truncated, damaged or not a weight file'),
    ],
    ids=lambda value: '-'.join(value)[:40] if isinstance(value, tuple) else '',
)
def test_mistakes_in_the_other_commands(bad, small_teacher, command, expected):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))
    image.save(bad.folder / 'good.png')
    halved(bad.folder / 'cut.png', image, 'PNG')
    claims(bad.folder / 'huge.png', image)
    weights = str(small_teacher / 'net_g.pth')
    arguments = [weights if part == 'WEIGHTS' else part for part in command[1:]]
    if command[0] in ('sdakd upscale', 'sdakd compare'):
        arguments += ['--model', weights]
    bad.fails(expected, command[0], *arguments, lines=2 if 'compared' in expected else 1)  # one for the image, too


def test_a_mistake_of_the_command_line(stock):
    done = subprocess.run(
        [stock.python, '-m', 'sdakd_plugin.cli', 'tarin'], cwd=stock.folder, text=True, capture_output=True, timeout=60
    )
    assert done.returncode == 2 and done.stderr.startswith('usage: sdakd train')
    assert Path(stock.folder, 'basicsr').exists() and len(list(stock.folder.iterdir())) == 1
