"""Steps with a loss or gradient that is not finite are skipped and reported; a GAN collapse is reported once."""

import copy
import re

import pytest
import torch
from basicsr.losses.gan_loss import r1_penalty
from basicsr.utils.registry import LOSS_REGISTRY
from torch import nn

from sdakd_plugin.distillation.balance import Balance
from sdakd_plugin.distillation.stages import Schedule
from sdakd_plugin.distillation.updates import OptimizerSteps, not_finite
from sdakd_plugin.options import StageOptions
from tests.helpers.networks import UNET
from tests.helpers.training import batch, build, steps


@LOSS_REGISTRY.register()
class SteepLoss(nn.Module):
    """Finite, with an infinite gradient, where the images are equal; zero elsewhere."""

    def forward(self, pred, target):
        return torch.sqrt((pred - pred.detach()).abs().sum())


def state(model):
    """Weights and statistics, without the number of batches."""
    nets = {'net_g': model.net_g, 'net_g_ema': model.trainee.net_g_ema}
    return {
        name: [value.clone() for value in net.state_dict().values() if value.is_floating_point()]
        for name, net in nets.items()
    }


def moments(optimizer):
    return [value.clone() for entry in optimizer.state.values() for value in entry.values()]


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def spoil(model, iteration):
    """An iteration with a NaN in the input."""
    data = batch()
    data['lq'][0, 0, 3, 3] = float('nan')
    model.update_learning_rate(iteration)
    model.feed_data(data)
    model.optimize_parameters(iteration)


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if 'not finite' in record.getMessage()]


@pytest.mark.parametrize('fused', [False, True])
def test_a_nan_in_the_input_changes_nothing(options, caplog, fused):
    """Neither weights, moments nor BatchNorm's statistics; with a fused optimizer, as on a GPU, neither."""
    options['network_g'] = {'type': 'SRGANGenerator', 'num_feat': 8, 'num_block': 2}
    options['train']['feature_opt']['layers'] = {'body.0': 'body.0', 'body.1': 'body.1'}
    options['train']['optim_g']['fused'] = options['train']['optim_d']['fused'] = fused
    model = build(options)
    steps(model, 1, 5)
    before, adam = state(model), [moments(optimizer) for optimizer in model.optimizers]
    discriminator = [parameter.detach().clone() for parameter in model.trainee.net_d.parameters()]
    spoil(model, 6)
    after = state(model)
    assert same(before['net_g'], after['net_g']) and all(value.isfinite().all() for value in after['net_g_ema'])
    assert same(model.trainee.net_d.parameters(), discriminator)
    assert all(same(old, moments(optimizer)) for old, optimizer in zip(adam, model.optimizers, strict=True))
    first, second = warnings(caplog)
    assert first == (
        "Iteration 6, stage 'adversarial': l_g_pix, l_g_feature, l_g_gan not finite; the step is skipped "
        '(1 in a row, the limit is 20).'
    )
    assert "stage 'adversarial': l_d_fake not finite" in second
    model.feed_data(batch())
    model.optimize_parameters(6)
    assert not same(before['net_g'], state(model)['net_g']) and len(warnings(caplog)) == 2


def test_the_step_after_a_skipped_one_is_the_one_that_would_have_been(options):
    torch.manual_seed(0)
    model = build(options)
    torch.manual_seed(0)
    undisturbed = build(options)
    steps(model, 1, 1)
    spoil(model, 2)
    steps(model, 2, 2)
    steps(undisturbed, 1, 2)
    assert same(state(model)['net_g'], state(undisturbed)['net_g'])


def test_a_gradient_that_is_not_finite(options, caplog):
    options['train']['pixel_opt'] = {'type': 'SteepLoss'}
    model = build(options)
    before = state(model)
    steps(model, 1, 1)
    assert same(before['net_g'], state(model)['net_g'])
    assert warnings(caplog) == [
        "Iteration 1, stage 'supervised': gradient not finite; the step is skipped (1 in a row, the limit is 20)."
    ]


def test_training_stops_after_the_limit_in_a_row(options, caplog):
    options['train']['nonfinite_limit'] = 2
    model = build(options)
    spoil(model, 1)
    steps(model, 2, 2)
    spoil(model, 3)
    with pytest.raises(SystemExit) as stopped:
        spoil(model, 4)
    assert stopped.value.code == 1
    assert 'Training stops: 2 iterations in a row' in caplog.records[-1].getMessage()


def test_the_count_survives_a_resume(options):
    options['train']['nonfinite_limit'] = 2
    model, resumed = build(options), build(options)
    spoil(model, 1)
    resumed.trainee.load_state(model.trainee.state(), resumed.device)
    with pytest.raises(SystemExit):
        spoil(resumed, 2)


def test_members_of_a_cohort_are_named(options, caplog):
    del options['teacher'], options['train']['stages'], options['train']['feature_opt']
    options.update(
        model_type='MutualSRGANModel',
        network_d=dict(UNET),
        cohort=[{'name': 'a', 'manual_seed': 1}, {'name': 'b', 'manual_seed': 2}],
    )
    options['train'].update(total_iter=3, mutual_opt={'type': 'MutualDiscriminatorLoss'})
    model = build(options)
    before = [copy.deepcopy(member.net_d.state_dict()) for member in model.trainees]
    spoil(model, 1)
    assert {re.match(r'Iteration 1 of (\w)', line)[1] for line in warnings(caplog)} == {'a', 'b'}
    for member, old in zip(model.trainees, before, strict=True):
        assert all(torch.equal(old[name], parameter) for name, parameter in member.net_d.named_parameters())


def test_a_device_that_is_read_late(options, caplog):
    """On a GPU the flags stay there until somebody prints."""
    options['logger']['print_freq'] = 100
    model = build(options)
    model.trainee.steps.device = torch.device('meta')  # any but the CPU
    spoil(model, 1)
    spoil(model, 2)
    assert not warnings(caplog)
    model.trainee.steps.read()
    assert ['1 in a row' in line or '2 in a row' in line for line in warnings(caplog)] == [True, True]


def test_not_finite_names_each():
    net = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=1)
    net(torch.ones(1, 2)).sum().backward()
    losses = {'a': torch.tensor(1.0), 'b': torch.tensor(float('inf')), 'c': torch.tensor(float('nan'))}
    assert not_finite(losses, optimizer).tolist() == [False, True, True, False]
    net.bias.grad.fill_(float('nan'))
    assert not_finite(losses, optimizer).tolist() == [False, True, True, True]


def test_float16_lowers_its_scale_and_keeps_it(options):
    updates = OptimizerSteps(5, True, torch.device('cpu'))
    model = build(options)
    stage = model.schedule.stages[0]
    net = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    updates.backward(net(torch.full((1, 1), 1e35)).sum())  # finite, but not when it is scaled
    before, scale = net.weight.item(), updates.scaler.get_scale()
    updates.step(optimizer, {}, 1, stage)
    updates.end_iteration()
    assert net.weight.item() == before and updates.scaler.get_scale() == scale / 2
    other = OptimizerSteps(5, True, torch.device('cpu'))
    other.load_state(updates.state())
    assert other.scaler.get_scale() == scale / 2


def test_float16_and_an_iteration_without_a_step():
    """On a GPU, where the flags of earlier steps may still be unread."""
    updates = OptimizerSteps(5, True, torch.device('meta'))  # any but the CPU
    updates.scaler = torch.amp.GradScaler('cpu', init_scale=4.0)
    stage = Schedule.of([StageOptions(name='all', iters=3, losses=['pixel'])]).at(1)
    net = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    updates.backward(net(torch.ones(1, 1)).sum())
    updates.step(optimizer, {}, 2, stage)
    updates.end_iteration()
    assert updates.unread
    updates.end_iteration()
    updates.backward(net(torch.ones(1, 1)).sum())
    updates.step(optimizer, {}, 4, stage)
    updates.end_iteration()


# --------------------------------------------------------------------------------------------- whose losses they are


@pytest.fixture
def regularised(options):
    """One adversarial stage with R1 in every fourth iteration; the discriminator steps first."""
    del options['teacher'], options['train']['stages'], options['train']['feature_opt']
    options['train'].update(d_first=True, r1_reg_weight=10, net_d_reg_every=4, total_iter=12)
    return options


def spoil_r1(monkeypatch, finite_gradient):
    """Let R1 be NaN; its gradient with it, or not."""

    def penalty(scores, images):
        value = r1_penalty(scores, images)
        return value * 0 + float('nan') if finite_gradient else value * float('nan')

    monkeypatch.setattr('sdakd_plugin.distillation.r1.r1_penalty', penalty)


@pytest.mark.parametrize('d_first', [True, False])
@pytest.mark.parametrize('finite_gradient', [True, False])
def test_r1_that_is_not_finite_skips_the_discriminators_step_of_its_iteration_alone(
    regularised, caplog, monkeypatch, finite_gradient, d_first
):
    regularised['train']['d_first'] = d_first
    model = build(regularised)
    steps(model, 1, 3)
    with monkeypatch.context() as context:
        spoil_r1(context, finite_gradient)
        moved = moving(model, 4)
    assert moved == {'net_g'}
    assert warnings(caplog) == [
        "Iteration 4, stage 'all': l_d_r1 not finite; the step is skipped (1 in a row, the limit is 20)."
    ]
    assert moving(model, 5) == moving(model, 6) == {'net_g', 'net_d'}
    resumed = build(regularised)
    resumed.trainee.load_state(model.trainee.state(), resumed.device)
    assert not resumed.trainee.r1.last[0].isfinite()  # that is what it was
    assert moving(resumed, 7) == moving(resumed, 8) == {'net_g', 'net_d'}
    assert resumed.trainee.r1.last[0].isfinite() and len(warnings(caplog)) == 1


def moving(model, iteration):
    """The networks that an iteration changes."""
    before = {
        name: [parameter.detach().clone() for parameter in getattr(model.trainee, name).parameters()]
        for name in ('net_g', 'net_d')
    }
    steps(model, iteration, iteration)
    return {name for name, old in before.items() if not same(old, getattr(model.trainee, name).parameters())}


# ----------------------------------------------------------------------------------------- states of other machines


@pytest.mark.parametrize('fused', [True, False])
@pytest.mark.parametrize('kind', ['Adam', 'AdamW'])
def test_a_state_of_the_other_implementation(options, kind, fused):
    """As from a CPU to a GPU, where the plugin makes fused optimizers, and back; stock BasicSR makes none either."""
    for key in ('optim_g', 'optim_d'):
        options['train'][key] = {'type': kind, 'lr': 1e-3}
    before, after = copy.deepcopy(options), copy.deepcopy(options)
    with_it = after if fused else before
    for key in ('optim_g', 'optim_d'):
        with_it['train'][key]['fused'] = True
    torch.manual_seed(0)
    model = build(before)
    steps(model, 1, 5)
    saved = copy.deepcopy(model.training_state(0, 5))
    resumed = build(after)
    for name in ('net_g', 'net_d'):
        getattr(resumed.trainee, name).load_state_dict(getattr(model.trainee, name).state_dict())
    resumed.resume_training(saved)
    assert [bool(group['fused']) for optimizer in resumed.optimizers for group in optimizer.param_groups] == [fused] * 2
    steps(model, 6, 6)
    steps(resumed, 6, 6)
    for name in ('net_g', 'net_d'):
        nets = (getattr(each.trainee, name) for each in (model, resumed))
        for one, other in zip(*(net.parameters() for net in nets), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    spoil(resumed, 6)  # is skipped


def test_what_is_fused_on_a_gpu(options):
    """Not SGD: its momentum would begin in mid-run where a connector does, on which torch's fused one fails."""
    model = build(options)
    networks = model.students[0].networks
    networks.device = torch.device('cuda')  # only asked for
    kinds = {
        kind: networks.optimizer('optim_g', [model.net_g]).defaults.get('fused')
        for kind in ('Adam', 'AdamW', 'SGD')
        if not model.opt['train'].update(optim_g={'type': kind, 'lr': 1e-3})
    }
    assert kinds == {'Adam': True, 'AdamW': True, 'SGD': None}


# --------------------------------------------------------------------------------------------------------- clipping


def norm(parameters):
    return torch.sqrt(sum((parameter.grad.double() ** 2).sum() for parameter in parameters))


@pytest.mark.parametrize('fused', [False, True])
@pytest.mark.parametrize('scaled', [False, True])
def test_the_norm_of_a_clipped_gradient(scaled, fused):
    """After the scale of float16 is removed; the direction is kept, a small gradient too."""
    stage = Schedule.of([StageOptions(name='only', iters=9, losses=['pixel'])]).at(1)
    net = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(net.parameters(), fused=fused)
    whole = torch.autograd.grad(net(torch.ones(1, 3)).sum() * 100, net.parameters())
    for limit, expected in ((0.5, 0.5), (1e9, float(torch.sqrt(sum((each**2).sum() for each in whole))))):
        steps = OptimizerSteps(20, scaled, torch.device('cpu'), max_norm=limit)
        optimizer.zero_grad()
        steps.backward(net(torch.ones(1, 3)).sum() * 100)
        steps.step(optimizer, {'l_g_pix': torch.ones(())}, 1, stage)
        steps.end_iteration()
        assert float(norm(net.parameters())) == pytest.approx(expected, rel=1e-5)
        for clipped, each in zip(net.parameters(), whole, strict=True):
            torch.testing.assert_close(clipped.grad / expected, each / torch.sqrt(sum((g**2).sum() for g in whole)))


def poisoned(options):
    """How far a batch with values of a million moves the weights of generator and discriminator."""
    options['train'].update(stages=None, total_iter=9)
    del options['teacher'], options['train']['feature_opt']
    options['train']['optim_g'] = options['train']['optim_d'] = {'type': 'SGD', 'lr': 1e-2}
    options['train']['pixel_opt'] = {'type': 'MSELoss'}
    torch.manual_seed(0)
    model = build(options)
    nets = [model.net_g, model.trainee.net_d]
    before = [[parameter.detach().clone() for parameter in net.parameters()] for net in nets]
    data = batch()
    data['gt'] *= 1e6
    model.update_learning_rate(1)
    model.feed_data(data)
    model.optimize_parameters(1)
    changes = [
        torch.sqrt(sum(((new.detach() - old) ** 2).sum() for new, old in zip(net.parameters(), kept, strict=True)))
        for net, kept in zip(nets, before, strict=True)
    ]
    return [float(change) for change in changes]


def test_a_poisoned_batch_with_and_without_clipping(options):
    """All its losses are finite, so that it is not skipped."""
    assert poisoned(copy.deepcopy(options))[0] > 100
    options['train']['grad_clip'] = 1.0
    assert all(0 < change < 1.001e-2 for change in poisoned(options))


def test_a_limit_that_is_not_reached_changes_no_digit(options):
    torch.manual_seed(0)
    plain = build(options)
    torch.manual_seed(0)
    options['train']['grad_clip'] = 1e6
    clipped = build(options)
    assert steps(plain, 1, 6) == steps(clipped, 1, 6)
    assert same(state(plain)['net_g'], state(clipped)['net_g'])


@pytest.mark.parametrize('fused', [False, True])
def test_what_is_not_finite_is_still_skipped(options, caplog, fused):
    options['train']['grad_clip'] = 0.1
    options['train']['optim_g']['fused'] = options['train']['optim_d']['fused'] = fused
    model = build(options)
    steps(model, 1, 5)
    before = state(model)['net_g']
    spoil(model, 6)
    assert same(before, state(model)['net_g']) and len(warnings(caplog)) == 2


# ------------------------------------------------------------------------------------------------------ the balance


@pytest.mark.parametrize('kind, chance', [('vanilla', 1.3863), ('lsgan', 0.5), ('hinge', 2), ('wgan_softplus', 1.3863)])
def test_the_loss_of_who_cannot_tell(kind, chance):
    balance = Balance(LOSS_REGISTRY.get('GANLoss')(kind), 3, torch.device('cpu'))
    assert balance.chance == pytest.approx(chance, abs=1e-4)


def test_a_winner_is_reported_once(options):
    balance = Balance(LOSS_REGISTRY.get('GANLoss')('vanilla'), 3, torch.device('cpu'))

    def watch(*losses):
        for real, fake in losses:
            balance.watch({'l_d_real': torch.tensor(real), 'l_d_fake': torch.tensor(fake)})
        return balance.report()

    assert watch((0.01, 0.01), (0.01, 0.01), (0.5, 0.5), (0.01, 0.01), (0.01, 0.01)) is None  # not in a row
    assert 'almost without a mistake for 3 iterations' in watch((0.01, 0.01))
    assert watch((0.01, 0.01)) is None
    balance.reported = False
    assert 'no better' not in (watch((0.7, 0.6), (0.7, 0.7), (0.8, 0.7)) or '')
    assert 'not told real from generated images any better than by chance for 3' in watch((0.9, 0.9))


def test_losses_without_a_bound_are_not_watched():
    balance = Balance(LOSS_REGISTRY.get('GANLoss')('wgan'), 1, torch.device('cpu'))
    balance.watch({'l_d_real': torch.tensor(-9.0), 'l_d_fake': torch.tensor(-9.0)})
    assert balance.report() is None


@pytest.mark.long
def test_in_a_run(stock, options):
    """A discriminator that never learns cannot tell; later a loss is too large for float32."""
    del options['val']
    options['train']['optim_d']['lr'] = 1e-12
    options['train'].update(collapse_after=2, nonfinite_limit=2, total_iter=9)
    options['train']['gan_opt']['gan_type'] = 'hinge'
    options['manual_seed'] = 8  # the first discriminator is a little worse than chance
    options['train']['stages'][2]['iters'] = 4
    options['train']['stages'].append({'name': 'last', 'iters': 1, 'losses': ['pixel', 'feature', 'gan']})
    log = stock.ok('basicsr/train.py', options)
    assert log.count('any better than by chance') == 1
    options['train']['pixel_opt'].update(loss_weight=3e38, reduction='sum')
    done = stock.run('sdakd train', {**options, 'name': 'infinite'})
    text = done.stdout + done.stderr
    assert done.returncode == 1 and 'Traceback' not in text, text
    assert "Iteration 1, stage 'supervised': l_g_pix not finite" in text and 'Training stops: 2 iterations' in text
