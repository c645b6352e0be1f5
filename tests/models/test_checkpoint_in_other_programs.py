"""A student's checkpoint, as saved by SDAKDModel, loads in RealESRGANer and in spandrel."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import realesrgan
import torch
from basicsr.archs import build_network
from realesrgan import RealESRGANer
from torch import nn

from sdakd_plugin.networks import fake_quantization, learnt_ranges
from tests.helpers.degradation import degradation_options
from tests.helpers.networks import lively
from tests.helpers.programs import Stock

CHANNELS = {'num_in_ch': 3, 'num_out_ch': 3}
HALF = {'type': 'RRDBNet', **CHANNELS, 'num_feat': 32, 'num_block': 2, 'num_grow_ch': 32}
QUARTER = {**HALF, 'num_feat': 16}
COMPACT = {'type': 'SRVGGNetCompact', **CHANNELS, 'num_feat': 32, 'num_conv': 4, 'upscale': 4, 'act_type': 'prelu'}
MSR = {'type': 'MSRResNet', **CHANNELS, 'num_feat': 16, 'num_block': 2, 'upscale': 4}
SRGAN = {'type': 'SRGANGenerator', **CHANNELS, 'num_feat': 8, 'num_block': 2, 'upscale': 4}


def saved(network: dict, path: Path) -> nn.Module:
    """Weights as training saves them; the moving average, which counts, is what is returned."""
    average, current = lively(network), build_network(dict(network))
    torch.save({'params': current.state_dict(), 'params_ema': average.state_dict()}, path)
    return average


@pytest.fixture(scope='module')
def student(photos, small_teacher, tmp_path_factory) -> Path:
    """The checkpoint of a real run of one iteration."""
    folder = tmp_path_factory.mktemp('run')
    torch.save(lively(QUARTER).state_dict(), folder / 'start.pth')
    folders = {
        'type': 'PairedImageDataset',
        'dataroot_gt': str(photos / 'HR'),
        'dataroot_lq': str(photos / 'LR'),
        'io_backend': {'type': 'disk'},
    }
    Stock(folder).ok(
        'sdakd train',
        {
            'name': 'run',
            'model_type': 'SDAKDModel',
            'scale': 4,
            'num_gpu': 0,
            'manual_seed': 0,
            'network_g': dict(QUARTER),
            'network_d': {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 8},
            'datasets': {
                'train': {
                    **folders,
                    'name': 'photos',
                    'gt_size': 32,
                    'use_hflip': True,
                    'use_rot': True,
                    'num_worker_per_gpu': 0,
                    'batch_size_per_gpu': 1,
                    'dataset_enlarge_ratio': 1,
                }
            },
            'path': {'pretrain_network_g': str(folder / 'start.pth'), 'strict_load_g': True, 'resume_state': None},
            'train': {
                'ema_decay': 0.5,
                'optim_g': {'type': 'Adam', 'lr': 1e-3},
                'optim_d': {'type': 'Adam', 'lr': 1e-3},
                'scheduler': {'type': 'MultiStepLR', 'milestones': [9], 'gamma': 1},
                'total_iter': 1,
                'warmup_iter': -1,
                'stages': [{'name': 'supervised', 'iters': 1, 'losses': ['pixel']}],
                'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
            },
            'logger': {'print_freq': 1, 'save_checkpoint_freq': 1, 'use_tb_logger': False},
        },
    )
    return folder / 'experiments/run/models/net_g_latest.pth'


def average_of(path: Path) -> nn.Module:
    """The network of a student's checkpoint, loaded by torch alone; the two states in it must not be the same."""
    state = torch.load(path, weights_only=True)
    assert list(state) == ['params', 'params_ema']
    assert not torch.equal(state['params']['conv_first.weight'], state['params_ema']['conv_first.weight'])
    net = build_network(dict(QUARTER)).eval().requires_grad_(False)
    net.load_state_dict(state['params_ema'])
    return net


def as_image(output: torch.Tensor) -> np.ndarray:
    """(1, 3, h, w) RGB of 0..1 as an 8-bit BGR image."""
    return (output[0].clamp(0, 1).numpy().transpose(1, 2, 0)[..., ::-1] * 255).round().astype(np.uint8)


def test_a_students_checkpoint_enhances_in_realesrganer_as_in_torch(student) -> None:
    image = np.random.RandomState(0).randint(0, 256, (21, 18, 3), np.uint8)
    lq = torch.from_numpy(image[..., ::-1].transpose(2, 0, 1).astype(np.float32) / 255)[None]
    enhanced, mode = RealESRGANer(4, str(student), model=build_network(dict(QUARTER)), pre_pad=0).enhance(image)
    assert mode == 'RGB' and enhanced.std() > 20
    assert np.array_equal(enhanced, as_image(average_of(student)(lq)))


def test_a_students_checkpoint_loads_in_spandrel(student) -> None:
    spandrel = pytest.importorskip('spandrel')
    found = spandrel.ModelLoader('cpu').load_from_file(student)
    lq = torch.rand(1, 3, 20, 16)
    with torch.no_grad():
        torch.testing.assert_close(found(lq), average_of(student)(lq).clamp(0, 1), rtol=0, atol=1e-6)


@torch.no_grad()
def test_learnt_ranges_in_a_checkpoint_change_nothing_elsewhere(tmp_path) -> None:
    spandrel = pytest.importorskip('spandrel')
    path, image = tmp_path / 'net.pth', np.random.RandomState(0).randint(0, 256, (21, 18, 3), np.uint8)
    lq = torch.from_numpy(image[..., ::-1].transpose(2, 0, 1).astype(np.float32) / 255)[None]
    net = saved(QUARTER, path)
    expected = net(lq)
    fake_quantization.insert(net, 8, 'test')
    fake_quantization.calibrate(net, lambda: net(lq))
    ranges = learnt_ranges.entry({'params': net, 'params_ema': net}, 8)
    torch.save({**torch.load(path, weights_only=True), **ranges}, path)
    assert len(ranges['quantization']['params_ema']) > 20
    found = spandrel.ModelLoader('cpu').load_from_file(path)
    torch.testing.assert_close(found(lq), expected.clamp(0, 1), rtol=0, atol=1e-6)
    enhanced, _ = RealESRGANer(4, str(path), model=build_network(dict(QUARTER)), pre_pad=0).enhance(image)
    assert np.array_equal(enhanced, as_image(expected))


@pytest.mark.parametrize(
    ('network', 'architecture', 'scale', 'width'),
    [
        (HALF, 'ESRGAN', 4, 32),
        (QUARTER, 'ESRGAN', 4, 16),
        ({**HALF, 'scale': 2}, 'ESRGAN', 2, 32),
        ({**HALF, 'scale': 1}, 'ESRGAN', 1, 32),
        (COMPACT, 'RealESRGAN Compact', 4, 32),
        ({**COMPACT, 'upscale': 2, 'num_feat': 16}, 'RealESRGAN Compact', 2, 16),
    ],
)
def test_spandrel_recognises_architecture_scale_and_width(network, architecture, scale, width, tmp_path) -> None:
    spandrel = pytest.importorskip('spandrel')
    net = saved(network, tmp_path / 'net.pth')
    found = spandrel.ModelLoader('cpu').load_from_file(tmp_path / 'net.pth')
    assert (found.architecture.name, found.scale, found.input_channels) == (architecture, scale, 3)
    assert f'{width}nf' in found.tags
    lq = torch.rand(1, 3, 20, 16)  # divisible by 4: x1 and x2 fold pixels into channels
    with torch.no_grad():
        torch.testing.assert_close(found(lq), net(lq).clamp(0, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ('network', 'error'),
    [(MSR, 'UnsupportedModelError'), (SRGAN, 'UnsupportedModelError'), ({**HALF, 'num_grow_ch': 16}, 'RuntimeError')],
)
def test_what_spandrel_does_not_open(network, error, tmp_path) -> None:
    """Its RRDBNet has 32 growth channels, always. If this fails, it has learned one more: correct docs/upscale.md."""
    spandrel = pytest.importorskip('spandrel')
    saved(network, tmp_path / 'net.pth')
    with pytest.raises(Exception) as caught:
        spandrel.ModelLoader('cpu').load_from_file(tmp_path / 'net.pth')
    assert type(caught.value).__name__ == error


@pytest.mark.long
def test_realesrgans_own_train_script_trains_a_student(stock, options, photos) -> None:
    """With its own data set on the fly; the script is the installed one, unedited, as in a checkout of Real-ESRGAN."""
    options = degradation_options(options, photos)
    options['train'].update(
        total_iter=2, stages=[{'name': 'adversarial', 'iters': 2, 'losses': ['pixel', 'feature', 'gan']}]
    )
    (stock.folder / 'realesrgan').symlink_to(Path(realesrgan.__file__).parent)
    log = stock.ok('realesrgan/train.py', options)
    assert 'Dataset [RealESRGANDataset] - photos is built' in log and 'Model [SDAKDModel] is created' in log
    assert 'End of training' in log and re.search(r'iter: +2, .*l_g_gan', log)
    state = torch.load(stock.folder / 'experiments/run/models/net_g_2.pth', weights_only=True)
    assert list(state) == ['params', 'params_ema']
