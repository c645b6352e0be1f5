"""Fixtures of the tests: real images, a small teacher, and stock BasicSR as a subprocess."""

import copy
import logging
import os
import shutil
import signal
import sys
from importlib import import_module
from types import ModuleType

import numpy as np
import pytest
import torch

from tests.helpers.browser import Browser
from tests.helpers.gcfsr import NET_D, NET_G, SIZE
from tests.helpers.iqa import Metric
from tests.helpers.networks import STUDENT, TEACHER, UNET
from tests.helpers.paths import LIKE_WINDOWS, SHARED, python_path
from tests.helpers.posix import WORKERS
from tests.helpers.programs import Stock, Warm

pytest.register_assert_rewrite(*(f'tests.helpers.{name}' for name in ('caching', 'exact_resume', 'mistakes')))
torch.set_num_threads(1)  # the networks are small; two processes with two threads each wait for one another


def pytest_addoption(parser):
    parser.addoption('--like-windows', action='store_true', help='run the tests without the names that Windows lacks')


def pytest_configure(config):
    if config.option.like_windows:
        lack_what_windows_lacks()
    if not config.option.markexpr and not any('::' in argument for argument in config.args):
        config.option.markexpr = 'not long'


def lack_what_windows_lacks():
    """Take the names from this process, and from all that it will start, xdist's workers among them."""
    os.environ['PYTHONPATH'] = python_path(LIKE_WINDOWS)
    import_module('tests.like_windows.sitecustomize')


@pytest.fixture(autouse=True)
def no_handler_of_sigchld():
    """Remove the handler of SIGCHLD that a data loader with workers leaves. After OpenVINO has computed in the same
    process, the next child that ends would end this process by SIGSEGV; commands of the plugin do only one of both."""
    yield
    if hasattr(signal, 'SIGCHLD'):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


@pytest.fixture
def caplog(caplog, monkeypatch):
    """pytest's own, which catches what BasicSR's logger says too, whatever the tests before have made of that logger:
    once used, it passes nothing on to others, and where a test was a process of a higher rank, it keeps errors only."""
    from basicsr.utils import get_root_logger

    monkeypatch.setattr(get_root_logger(), 'propagate', True)
    caplog.set_level(logging.INFO, 'basicsr')
    return caplog


@pytest.fixture(scope='session')
def shared():
    """The folder of real data and weights beside the checkout; tests that need it are skipped without it."""
    if not (SHARED / 'data/Set5').is_dir():
        pytest.skip(f'needs real data: {SHARED} (or $SDAKD_SHARED) is absent')
    return SHARED


@pytest.fixture(scope='session')
def photos(tmp_path_factory):
    """Crops of scikit-image's photographs as paired folders ``HR`` and ``LR``, with a list of the HR files."""
    import cv2
    from basicsr.utils.matlab_functions import imresize
    from skimage import data

    folder = tmp_path_factory.mktemp('photos')
    (folder / 'HR').mkdir()
    (folder / 'LR').mkdir()
    names = []
    for name in ('astronaut', 'coffee', 'chelsea', 'rocket'):
        image = np.ascontiguousarray(getattr(data, name)()[60:252, 100:292, ::-1])
        lr = imresize(image / 255.0, 1 / 4)
        cv2.imwrite(str(folder / f'HR/{name}.png'), image)
        cv2.imwrite(str(folder / f'LR/{name}.png'), (lr * 255).round().clip(0, 255).astype(np.uint8))
        names.append(f'{name}.png')
    (folder / 'meta.txt').write_text('\n'.join(names) + '\n')
    return folder


@pytest.fixture(scope='session')
def small_teacher(tmp_path_factory):
    """Weights of small random networks, as BasicSR saves them: a teacher generator and discriminator."""
    from basicsr.archs import build_network

    folder = tmp_path_factory.mktemp('teacher')
    torch.manual_seed(1)
    torch.save({'params_ema': build_network(TEACHER).state_dict()}, folder / 'net_g.pth')
    torch.save({'params': build_network({**UNET, 'num_feat': 16}).state_dict()}, folder / 'net_d.pth')
    return folder


@pytest.fixture
def options(photos, small_teacher):
    """A complete three-stage SDAKD run, small enough for a test; each test changes what it is about."""
    return {
        'name': 'run',
        'model_type': 'SDAKDModel',
        'scale': 4,
        'num_gpu': 0,
        'manual_seed': 0,
        'datasets': {
            'train': {
                'name': 'photos',
                'type': 'PairedImageDataset',
                'dataroot_gt': str(photos / 'HR'),
                'dataroot_lq': str(photos / 'LR'),
                'io_backend': {'type': 'disk'},
                'gt_size': 64,
                'use_hflip': True,
                'use_rot': True,
                'num_worker_per_gpu': WORKERS,
                'batch_size_per_gpu': 2,
                'dataset_enlarge_ratio': 1,
            },
            'val': {
                'name': 'val',
                'type': 'PairedImageDataset',
                'dataroot_gt': str(photos / 'HR'),
                'dataroot_lq': str(photos / 'LR'),
                'io_backend': {'type': 'disk'},
            },
        },
        'network_g': dict(STUDENT),
        'network_d': {'type': 'StudentDiscriminator', 'teacher': {**UNET, 'num_feat': 16}, 'width': 0.5},
        'teacher': {'network_g': dict(TEACHER), 'pretrain_network_g': str(small_teacher / 'net_g.pth')},
        'path': {'pretrain_network_g': None, 'strict_load_g': True, 'resume_state': None},
        'train': {
            'ema_decay': 0.9,
            'optim_g': {'type': 'Adam', 'lr': 1e-3, 'betas': [0.9, 0.99]},
            'optim_d': {'type': 'Adam', 'lr': 1e-3, 'betas': [0.9, 0.99]},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [100], 'gamma': 0.5},
            'total_iter': 6,
            'warmup_iter': -1,
            'stages': [
                {'name': 'supervised', 'iters': 2, 'losses': ['pixel']},
                {'name': 'alignment', 'iters': 2, 'losses': ['pixel', 'feature']},
                {'name': 'adversarial', 'iters': 2, 'losses': ['pixel', 'feature', 'gan']},
            ],
            'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
            'feature_opt': {'type': 'FeatureAlignmentLoss', 'layers': ['body.0', 'body.1'], 'loss_weight': 0.1},
            'gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1},
        },
        'val': {
            'val_freq': 2,
            'save_img': False,
            'metrics': {
                'psnr': {'type': 'calculate_psnr', 'crop_border': 4, 'test_y_channel': True},
                'ssim': {'type': 'calculate_ssim', 'crop_border': 4, 'test_y_channel': True},
            },
        },
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 2, 'use_tb_logger': False},
    }


@pytest.fixture(scope='session')
def warm():
    server = Warm()
    yield server
    server.process.stdin.close()
    server.process.wait(300)  # it takes long where other programs use the processor


@pytest.fixture
def stock(tmp_path, warm):
    return Stock(tmp_path, warm)


@pytest.fixture
def cohort(options):
    """Two plain SRGANs in one run."""
    options = copy.deepcopy(options)
    del options['teacher'], options['train']['stages'], options['train']['feature_opt']
    options['network_d'] = dict(UNET)
    options['train']['total_iter'] = 4
    options['train']['mutual_opt'] = {'type': 'MutualDiscriminatorLoss', 'loss_weight': 1.0, 'temperature': 1.0}
    return options | {
        'model_type': 'MutualSRGANModel',
        'cohort': [{'name': 'a', 'manual_seed': 1}, {'name': 'b', 'manual_seed': 2}],
    }


@pytest.fixture
def gcfsr_run():
    """A complete three-stage run with an untrained teacher, small enough for a test."""
    data = {'type': 'WholeImageDataset', 'gt_size': SIZE}
    return {
        'name': 'run',
        'model_type': 'SDAKDModel',
        'num_gpu': 0,
        'manual_seed': 0,
        'scales': [4, 4, 2],
        'datasets': {
            'train': {
                **data,
                'name': 'photos',
                'images': ['coffee', 'chelsea'],
                'use_hflip': True,
                'num_worker_per_gpu': WORKERS,
                'batch_size_per_gpu': 2,
                'dataset_enlarge_ratio': 1,
            },
            'val': {**data, 'name': 'faces', 'images': ['astronaut'], 'gt_size': SIZE},
        },
        'network_g': dict(NET_G),
        'network_d': {'type': 'StudentDiscriminator', 'teacher': {**NET_D, 'narrow': 1 / 16}, 'width': 0.5},
        'teacher': {'network_g': {**NET_G, 'narrow': 1 / 16}, 'pretrain_network_g': 'untrained'},
        'path': {'pretrain_network_g': None, 'resume_state': None},
        'train': {
            'ema_decay': 0.9,
            'optim_g': {'type': 'Adam', 'lr': 2e-3},
            'optim_d': {'type': 'Adam', 'lr': 2e-3},
            'net_g_reg_every': 4,
            'net_d_reg_every': 2,
            'r1_reg_weight': 10,
            'd_first': True,
            'scheduler': {'type': 'MultiStepLR', 'milestones': [100], 'gamma': 0.5},
            'total_iter': 6,
            'stages': [
                {'name': 'supervised', 'iters': 2, 'losses': ['pixel']},
                {'name': 'alignment', 'iters': 2, 'losses': ['pixel', 'feature']},
                {'name': 'adversarial', 'iters': 2, 'losses': ['pixel', 'feature', 'gan']},
            ],
            'pixel_opt': {'type': 'L1Loss', 'loss_weight': 2.0},
            'feature_opt': {
                'type': 'FeatureAlignmentLoss',
                'layers': ['conv_body_down.0', 'style_convs.1'],
                'loss_weight': 0.01,
            },
            'gan_opt': {'type': 'GANLoss', 'gan_type': 'wgan_softplus', 'loss_weight': 1e-2},
        },
        'val': {'val_freq': 100, 'save_img': False, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}}},
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 1, 'use_tb_logger': False},
    }


@pytest.fixture
def fresh_iqa_metrics():
    """None of pyiqa's metrics loaded yet, nor kept."""
    from sdakd_plugin.metrics import iqa_metric

    iqa_metric.load_metric.cache_clear()
    yield
    iqa_metric.load_metric.cache_clear()


@pytest.fixture
def pyiqa(monkeypatch, fresh_iqa_metrics):
    """A module in the place of pyiqa; ``made`` has its metrics, ``fault`` is what it raises."""
    module = ModuleType('pyiqa')
    module.made, module.fault = [], None

    def create_metric(metric_name, as_loss=False, device=None):
        if module.fault:
            raise module.fault
        torch.rand(3)
        module.made.append(Metric(metric_name).to(device))
        return module.made[-1]

    def list_models(metric_mode=None, filter='', exclude_filters=''):
        assert metric_mode == 'NR'
        return ['clipiqa', 'maniqa', 'musiq', 'niqe', 'topiq_nr']

    module.create_metric, module.list_models = create_metric, list_models
    monkeypatch.setitem(sys.modules, 'pyiqa', module)
    return module


@pytest.fixture(scope='session')
def browser(tmp_path_factory):
    """One browser for all tests that look at pages."""
    if not (shutil.which('chromedriver') and shutil.which('chromium')):
        pytest.skip('needs a browser: chromium and chromedriver are absent')
    found = Browser(tmp_path_factory.mktemp('profile'))
    yield found
    found.close()
