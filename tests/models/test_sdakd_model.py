"""SDAKDModel in each of its stages."""

import copy

import pytest
import torch
from basicsr.utils.dist_util import get_dist_info

from sdakd_plugin.errors import UserError
from sdakd_plugin.models.sdakd_model import SDAKDModel
from tests.helpers.networks import UNET
from tests.helpers.training import build, steps

assert get_dist_info() == (0, 1)


def test_each_stage_computes_its_losses_and_no_others(options):
    logs = steps(build(options), 1, 6)
    losses = {i: {key for key in log if key.startswith(('l_', 'out'))} for i, log in logs.items()}
    assert losses[1] == losses[2] == {'l_g_pix'}
    assert losses[3] == losses[4] == {'l_g_pix', 'l_g_feature'}
    assert (
        losses[5]
        == losses[6]
        == {'l_g_pix', 'l_g_feature', 'l_g_gan', 'l_d_real', 'l_d_fake', 'out_d_real', 'out_d_fake'}
    )
    assert [logs[i]['stage'] for i in range(1, 7)] == [1, 1, 2, 2, 3, 3]


def test_the_shares_of_the_terms_add_up_to_one(options):
    log = steps(build(options), 1, 6)[6]
    shares = {key: value for key, value in log.items() if key.startswith('share_')}
    assert set(shares) == {'share_pix', 'share_feature', 'share_gan'}
    assert sum(shares.values()) == pytest.approx(1)
    assert shares['share_pix'] / shares['share_gan'] == pytest.approx(log['l_g_pix'] / log['l_g_gan'])


def test_the_teacher_runs_once_a_step_and_only_when_a_term_needs_it(options, monkeypatch):
    options['train']['teacher_pixel_opt'] = {'type': 'L1Loss'}
    options['train']['stages'][2]['losses'] += ['teacher_pixel']
    model = build(options)
    calls = []
    generate = model.teacher.generate
    monkeypatch.setattr(
        model.teacher,
        'generate',
        lambda lq, layers, image, _: calls.append((layers, image)) or generate(lq, layers, image),
    )
    per_iteration = []
    for iteration in range(1, 7):
        calls.clear()
        steps(model, iteration, iteration)
        per_iteration.append(list(calls))
    layers = ('body.0', 'body.1')
    assert per_iteration == [[], [], [(layers, False)], [(layers, False)], [(layers, True)], [(layers, True)]]


def test_the_teacher_is_frozen(options):
    model = build(options)
    before = copy.deepcopy(model.teacher.net_g.state_dict())
    steps(model, 1, 6)
    assert not model.teacher.net_g.training
    assert all(not p.requires_grad and p.grad is None for p in model.teacher.net_g.parameters())
    assert all(
        torch.equal(a, b) for a, b in zip(before.values(), model.teacher.net_g.state_dict().values(), strict=True)
    )
    optimized = {id(p) for o in model.optimizers for group in o.param_groups for p in group['params']}
    assert not optimized & {id(p) for p in model.teacher.net_g.parameters()}


def test_connectors_train_with_the_generator_in_their_stage(options):
    model = build(options)
    parameters = list(model.connectors['feature'].parameters())
    start = [p.detach().clone() for p in parameters]
    steps(model, 1, 2)
    assert all(torch.equal(a, b) for a, b in zip(start, parameters, strict=True))
    steps(model, 3, 3)
    assert not any(torch.equal(a, b) for a, b in zip(start, parameters, strict=True))


def test_the_discriminator_is_still_until_a_stage_trains_it(options):
    model = build(options)
    start = copy.deepcopy(model.trainee.net_d.state_dict())
    steps(model, 1, 4)
    now = model.trainee.net_d.state_dict()
    assert all(torch.equal(a, b) for a, b in zip(start.values(), now.values(), strict=True))
    steps(model, 5, 5)
    assert not torch.equal(start['conv0.weight'], model.trainee.net_d.state_dict()['conv0.weight'])


def test_the_discriminator_can_warm_up_before_the_generator_uses_it(options):
    options['train']['stages'][1]['train_d'] = True
    log = steps(build(options), 1, 3)[3]
    assert {'l_d_real', 'l_d_fake'} <= set(log) and 'l_g_gan' not in log


def test_the_teachers_discriminator_can_align_the_students(options, small_teacher):
    options['teacher'].update(network_d={**UNET, 'num_feat': 16}, pretrain_network_d=str(small_teacher / 'net_d.pth'))
    options['train']['feature_d_opt'] = {'type': 'FeatureAlignmentLoss', 'layers': ['conv3', 'conv6']}
    options['train']['stages'][2]['losses'] += ['feature_d']
    model = build(options)
    log = steps(model, 1, 6)[6]
    assert log['l_d_feature'] > 0
    in_g = {id(p) for group in model.trainee.optimizer_g.param_groups for p in group['params']}
    in_d = {id(p) for group in model.trainee.d_optimizers[0].param_groups for p in group['params']}
    connectors = {id(p) for p in model.connectors['feature_d'].parameters()}
    assert connectors <= in_d and not connectors & in_g
    assert {id(p) for p in model.connectors['feature'].parameters()} <= in_g
    before = log['l_d_feature']
    for _ in range(10):
        log = steps(model, 6, 6)[6]
    assert log['l_d_feature'] < before


def test_iterations_of_the_discriminator_alone_belong_to_stages_that_train_it(options):
    """Elsewhere every iteration steps the generator; as in BasicSR, the moving average always goes on."""
    options['train'].update(net_d_iters=2, net_d_init_iters=2, total_iter=12)
    options['train']['stages'][1]['iters'], options['train']['stages'][2]['iters'] = 1, 9  # from 4 on
    model = build(options)
    moved, averaged = [], []
    for iteration in range(1, 13):
        before, average = next(model.net_g.parameters()).clone(), next(model.trainee.net_g_ema.parameters()).clone()
        steps(model, iteration, iteration)
        if not torch.equal(before, next(model.net_g.parameters())):
            moved.append(iteration)
        if not torch.equal(average, next(model.trainee.net_g_ema.parameters())):
            averaged.append(iteration)
    assert moved == [1, 2, 3, 6, 8, 10, 12]
    assert averaged == list(range(1, 13))


def test_a_state_behind_the_end_of_the_schedule_is_refused(options):
    model = build(options)
    state = model.training_state(0, 6)
    options['train'].update(total_iter=5)
    options['train']['stages'][2]['iters'] = 1
    with pytest.raises(UserError, match=r'path\.resume_state: is of iteration 6, but train\.total_iter is 5; make'):
        build(options).resume_training(state)


def test_a_stage_may_have_its_own_learning_rate_on_the_schedulers_decay(options):
    options['train']['stages'][1].update(lr_g=1e-2)
    options['train']['scheduler'] = {'type': 'MultiStepLR', 'milestones': [3], 'gamma': 0.5}
    model = build(options)
    rates = []
    for iteration in range(1, 7):
        steps(model, iteration, iteration)
        rates.append(tuple(optimizer.param_groups[0]['lr'] for optimizer in model.optimizers))
    g, d = zip(*rates, strict=True)
    assert g == pytest.approx((1e-3, 1e-3, 1e-2, 5e-3, 5e-4, 5e-4))  # the scheduler's step 3 is iteration 4
    assert d == pytest.approx((1e-3, 1e-3, 1e-3, 5e-4, 5e-4, 5e-4))


@pytest.mark.parametrize('optimizer, kept', [('keep', True), ('reset', False)])
def test_the_optimizers_memory_is_kept_or_reset_at_a_boundary(options, optimizer, kept):
    options['train']['stages'][1]['optimizer'] = optimizer
    model = build(options)
    steps(model, 1, 3)
    state = next(iter(model.trainee.optimizer_g.state.values()))
    assert state['step'].item() == (3 if kept else 1)


def test_the_averaged_student_follows_batchnorms_statistics(options):
    model = build(options)
    model.net_g.register_buffer('count', torch.tensor(7))
    model.trainee.net_g_ema.register_buffer('count', torch.tensor(0))
    model.trainee.update_average()
    assert model.trainee.net_g_ema.count == 7


def test_checkpoints_are_ordinary_and_hold_only_the_student(options, tmp_path):
    options['path'].update(models=str(tmp_path), training_states=str(tmp_path))
    model = build(options)
    steps(model, 1, 6)
    model.save(0, 6)
    net_g = torch.load(tmp_path / 'net_g_6.pth', weights_only=True)
    assert set(net_g) == {'params', 'params_ema'}
    assert list(net_g['params']) == list(model.net_g.state_dict())
    net_d = torch.load(tmp_path / 'net_d_6.pth', weights_only=True)
    assert list(net_d['params']) == list(model.trainee.net_d.state_dict())
    assert torch.load(tmp_path / '6.state', weights_only=True)['iter'] == 6
    assert {file.name for file in tmp_path.iterdir()} == {'net_g_6.pth', 'net_d_6.pth', '6.state'}


def test_resuming_restores_optimizers_and_connectors(options, tmp_path):
    options['path'].update(models=str(tmp_path), training_states=str(tmp_path))
    model = build(options)
    steps(model, 1, 5)
    model.save(0, 5)
    reference = steps(model, 6, 6)[6]
    options['path'].update(
        pretrain_network_g=str(tmp_path / 'net_g_5.pth'),
        resume_state='5.state',
        pretrain_network_d=str(tmp_path / 'net_d_5.pth'),
    )
    resumed = build(options)
    resumed.resume_training(torch.load(tmp_path / '5.state', weights_only=True))
    assert steps(resumed, 6, 6)[6] == reference
    assert torch.equal(next(resumed.trainee.net_g_ema.parameters()), next(model.trainee.net_g_ema.parameters()))


def test_options_are_not_changed(options):
    options.update(is_train=True, dist=False, rank=0, world_size=1)
    del options['val']
    before = copy.deepcopy(options)
    SDAKDModel(options)
    assert options == before


def test_without_a_pretrained_generator_in_the_options_the_teacher_tells_its_architecture(options):
    del options['teacher']['network_g']
    assert build(options).teacher.net_g.conv_first.out_channels == 16


@pytest.mark.parametrize('esrgan', [True, False])
def test_the_log_says_that_the_gan_loss_is_plain_where_a_file_may_be_one_of_esrganmodel(options, caplog, esrgan):
    if esrgan:
        del options['teacher'], options['train']['stages'], options['train']['feature_opt']
    build(options)
    lines = [record.message for record in caplog.records if 'GAN loss' in record.message]
    assert lines == ["GAN loss: plain (as SRGANModel), not ESRGANModel's relativistic average"] * esrgan
