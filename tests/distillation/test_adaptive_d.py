"""``train.adaptive_d``: a pause for the discriminator while the generator falls behind."""

import re

import pytest
import torch

from sdakd_plugin.distillation.adaptive_d import AdaptiveD
from sdakd_plugin.errors import UserError
from sdakd_plugin.options import parse
from tests.helpers.exact_resume import check_exact, losses
from tests.helpers.training import build, steps

CPU = torch.device('cpu')


def paused(values, decay=0.9, threshold=1.02):
    adaptive, found = AdaptiveD(decay, threshold, CPU), []
    for value in values:
        adaptive.watch(torch.tensor(value))
        found.append(bool(adaptive.paused))
    return found


def test_it_pauses_where_the_average_grows_by_more_than_the_threshold():
    assert paused([1.0, 1.0, 1.19, 1.0]) == [False] * 4  # to 1.019 of the average
    assert paused([1.0, 1.0, 1.21, 1.0]) == [False, False, True, False]
    assert paused([1.0, 20.0, 22.0], 0.999) == [False, False, True]  # 21 times with the default values


def test_a_loss_that_is_not_finite_changes_nothing():
    assert paused([1.0, float('nan'), float('inf'), 1.0]) == [False, False, True, False]


@pytest.fixture
def overpowering(options):
    """The discriminator learns far faster than the generator, which does not learn at all."""
    del options['val'], options['train']['stages'], options['teacher'], options['train']['feature_opt']
    options['train']['total_iter'] = 24
    options['train']['optim_g']['lr'], options['train']['optim_d']['lr'] = 1e-30, 2e-3
    options['logger'].update(save_checkpoint_freq=1000, print_freq=1)
    return options


def logged(log, key):
    return [float(re.search(rf'{key}: (\S+)', line)[1]) for line in losses(log).values()]


def test_it_keeps_a_discriminator_from_overpowering_the_generator(stock, overpowering):
    without = logged(stock.ok('sdakd train', overpowering), 'l_g_gan')
    overpowering['name'] = 'adaptive'
    overpowering['train'].update(adaptive_d=True, adaptive_d_ema_decay=0.9)
    log = stock.ok('sdakd train', overpowering)
    within = logged(log, 'l_g_gan')
    counts = logged(log, 'd_paused')
    assert counts == sorted(counts) and 0 < counts[-1] < 24
    assert max(within) < max(without) / 5, (max(within), max(without))


def test_a_pause_leaves_the_discriminator_as_it_is(stock, overpowering):
    overpowering['logger']['save_checkpoint_freq'] = 1
    overpowering['train'].update(adaptive_d=True, adaptive_d_ema_decay=0.9, total_iter=12)
    counts = [0.0, *logged(stock.ok('sdakd train', overpowering), 'd_paused')]
    models = stock.folder / 'experiments/run/models'
    weights = [torch.load(models / f'net_d_{number}.pth', weights_only=True)['params'] for number in range(1, 13)]
    for number in range(1, 12):
        same = all(
            torch.equal(value, weights[number][key])
            for key, value in weights[number - 1].items()
            if not key.endswith(('_u', '_v'))
        )
        assert same == (counts[number + 1] > counts[number]), number + 1


def test_a_pause_ends_with_the_stage_of_the_gan(options):
    options['train']['adaptive_d'] = True
    options['train']['stages'][1].update(losses=['gan'], train_d=False)
    options['train']['stages'][2].update(losses=['pixel', 'feature'], train_d=True)
    model = build(options)

    def learns(iteration):
        model.trainee.adaptive_d.paused.fill_(True)
        before = [parameter.clone() for parameter in model.trainee.net_d.parameters()]
        model.trainee.adaptive_d.watch = lambda loss: None  # the decision stays
        steps(model, iteration, iteration)
        return any(not torch.equal(old, new) for old, new in zip(before, model.trainee.net_d.parameters(), strict=True))

    assert not learns(3) and learns(5)


@pytest.mark.parametrize('processes', [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_resumed_run_is_exact(stock, overpowering, processes):
    overpowering['train'].update(adaptive_d=True, adaptive_d_ema_decay=0.9, total_iter=12)
    check_exact(stock, overpowering, [4], processes=processes)


def test_without_a_gan_it_is_refused(options):
    options['train'].update(adaptive_d=True, gan_opt=None)
    with pytest.raises(UserError, match='adaptive_d needs gan_opt'):
        parse(options)
    options['train'].update(adaptive_d_threshold=1.0)
    with pytest.raises(UserError, match=r'adaptive_d_threshold'):
        parse(options)
