"""Option files train on a GPU in pretence: ``tests/helpers/fake_cuda.py``.

A first part of such a rehearsal. Networks have no weights, since tensors have no values; teachers and batches are
small. Left out are losses whose networks are downloads, degradation on the fly, the cache, validation, resuming, and
the option files that are not in ``FILES``; zero gradients hide wrong devices inside a backward pass.
"""

import copy

import pytest
import torch

from sdakd_plugin.distillation.forward_pass import ForwardPass
from sdakd_plugin.distillation.updates import OptimizerSteps
from sdakd_plugin.models import shared_parts
from sdakd_plugin.utils import random_state
from tests.helpers.fake_cuda import fake_cuda
from tests.helpers.training import build
from tests.project.test_compact_recipes import read

FILES = ('quickstart_x4', 'quantize_nano_x4', 'gcfsr_quickstart_64', 'lq_photos_x4', 'mutual_srgan_x4')
DOWNLOADED = ('perceptual', 'vgg', 'lpips')  # losses that are left out, since their networks are downloads


def on_cuda(name):
    """The options of a file without weight files and caches."""
    opt = read(name) | {'num_gpu': 1, 'path': {}}
    for loss in DOWNLOADED:
        opt['train'].pop(f'{loss}_opt', None)
    for stage in opt['train'].get('stages', []):
        stage['losses'] = [name for name in stage['losses'] if name not in DOWNLOADED]
    for key in [key for key in opt if key.startswith('teacher')]:
        network = {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'scale': opt.get('scale', 1), 'num_block': 5}
        opt[key] = {'network_g': network, **opt[key], 'pretrain_network_g': 'untrained', 'cache': None}
    return opt


def batch(opt):
    block = opt['datasets']['train']
    number, size = min(block['batch_size_per_gpu'], 2), opt.get('gt_size') or block['gt_size']
    block['batch_size_per_gpu'] = number
    gt = torch.zeros(number, 3, size, size)
    small = size // opt.get('scale', 1)
    return {'lq': torch.zeros(number, 3, small, small), 'gt': gt}


def train(opt, after=lambda model: None):
    """Train the first and the last iteration of each stage."""
    data = batch(opt)
    model = build(opt)
    after(model)
    for stage in model.schedule.stages:
        for iteration in sorted({stage.first, stage.last}):
            model.update_learning_rate(iteration)
            model.feed_data(copy.copy(data))
            model.optimize_parameters(iteration)
    return model


@pytest.mark.parametrize('name', FILES)
def test_option_file(name):
    with fake_cuda():
        train(on_cuda(name))


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_mixed_precision(options, dtype):
    options['train'].update(amp={'teacher': dtype, 'student': dtype}, channels_last=True)
    with fake_cuda():
        train(small(options))


def small(options):
    options['teacher']['pretrain_network_g'] = 'untrained'
    options['num_gpu'] = 1
    return options


def left_on_the_cpu(module):
    for name, parameter in module._parameters.items():
        if parameter is not None:
            module._parameters[name] = torch.nn.Parameter(torch.zeros(parameter.shape))


class TestPlanted:
    """Mistakes that would only show on a GPU, or only slow it down."""

    def test_a_tensor_on_the_cpu(self, options, monkeypatch):
        real = shared_parts.TrainingBatch
        monkeypatch.setattr(
            shared_parts, 'TrainingBatch', lambda lq, gt, *more: real(lq, torch.zeros(gt.shape, device='cpu'), *more)
        )
        with fake_cuda(), pytest.raises(RuntimeError, match=r'cuda:0.*cpu|cpu.*cuda:0'):
            train(small(options))

    def test_a_value_that_is_read(self, options, monkeypatch):
        real = OptimizerSteps.backward
        monkeypatch.setattr(OptimizerSteps, 'backward', lambda self, loss: real(self, loss * loss.item()))
        with fake_cuda(), pytest.raises(RuntimeError, match=r'_local_scalar_dense'):
            train(small(options))

    def test_a_value_that_is_copied_and_read(self, options, monkeypatch):
        real = OptimizerSteps.backward
        monkeypatch.setattr(OptimizerSteps, 'backward', lambda self, loss: real(self, loss * loss.cpu().item()))
        with fake_cuda(), pytest.raises(RuntimeError, match=r'copy that waits: is cpu, expected cuda'):
            train(small(options))

    def test_a_loss_in_half_precision(self, options, monkeypatch):
        real = ForwardPass.__call__
        monkeypatch.setattr(ForwardPass, '__call__', lambda *arguments: real(*arguments).bfloat16())
        options['train']['amp'] = {'student': 'bfloat16'}
        options['train']['stages'] = [{'name': 'adversarial', 'iters': 6, 'losses': ['gan']}]
        del options['train']['pixel_opt'], options['train']['feature_opt']
        with fake_cuda(), pytest.raises(RuntimeError, match=r'loss: is torch.bfloat16, expected torch.float32'):
            train(small(options))

    def test_a_connector_that_is_not_moved(self, options):
        with fake_cuda(), pytest.raises(RuntimeError, match=r'cuda:0.*cpu|cpu.*cuda:0'):
            train(small(options), lambda model: model.connectors['feature'].apply(left_on_the_cpu))

    def test_a_generator_state_on_the_device(self):
        with fake_cuda() as waits:
            waits.allowed = True
            states = random_state.capture()
            random_state.restore(states)
            with pytest.raises(RuntimeError, match=r'RNG state: is cuda:0, expected cpu'):
                torch.cuda.set_rng_state(states['cuda'][0].to('cuda'))

    def test_a_generator_of_another_device(self):
        with fake_cuda(), pytest.raises(RuntimeError, match=r'generator: is cpu, expected cuda:0'):
            torch.rand(2, device='cuda', generator=torch.Generator())
