"""Ramps: a factor of a loss, or the teacher's share of a target, that depends on the iteration alone."""

import copy

import pytest
import torch

from sdakd_plugin.distillation.stages import Schedule
from sdakd_plugin.options import parse
from tests.helpers.exact_resume import check_exact, equal
from tests.helpers.mistakes import change, complaint
from tests.helpers.networks import UNET
from tests.helpers.training import batch, build, steps

DOWN = {'from': 1, 'to': 0}
L1 = {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'}


@pytest.fixture
def fading(options):
    """One stage of five iterations with a loss that fades; the weights of the student do not change."""
    train = options['train']
    del train['stages'], train['feature_opt'], train['gan_opt'], options['network_d']
    train.update(total_iter=5, teacher_pixel_opt={**L1, 'ramp': dict(DOWN)})
    train['optim_g']['lr'] = 0.0
    return options


def test_a_ramp_has_exactly_its_values_at_the_ends_of_each_stage(options):
    options['train']['pixel_opt']['ramp'] = {'from': 0.3, 'to': 0.9}
    for stage, iters in zip(options['train']['stages'], (3, 1, 2), strict=True):
        stage['iters'] = iters
    schedule = Schedule.from_train(parse({**options, 'is_train': True}).train)
    values = [schedule.at(iteration).ramped(iteration)['pixel'] for iteration in range(1, 7)]
    assert values == [0.3, pytest.approx(0.6), 0.9, 0.3, 0.3, 0.9]


def test_the_loss_is_multiplied_and_the_factor_is_logged(fading):
    torch.manual_seed(0)
    logs = steps(build(fading), 1, 5)
    full = logs[1]['l_g_teacher_pix']
    for iteration, factor in zip(range(1, 6), (1, 0.75, 0.5, 0.25, 0), strict=True):
        assert logs[iteration]['l_g_teacher_pix'] == pytest.approx(full * factor, rel=1e-6)
        assert logs[iteration]['ramp_teacher_pixel'] == factor
        assert logs[iteration]['l_g_pix'] == logs[1]['l_g_pix']
    del fading['train']['teacher_pixel_opt']['ramp']
    torch.manual_seed(0)
    assert steps(build(fading), 1, 1)[1]['l_g_teacher_pix'] == full


def test_a_mix_goes_from_the_image_of_the_teacher_to_the_ground_truth(fading):
    fading['train'].pop('teacher_pixel_opt')
    fading['train']['pixel_opt'].update(target='mix', ramp=dict(DOWN))
    model = build(fading)
    seen = []
    term = model.trainees[0].objective.terms['pixel']
    term.loss = lambda sr, reference: seen.append(reference) or (sr - reference).abs().mean()
    steps(model, 1, 5)
    teacher, gt = model.teacher.generate(batch()['lq']).sr, batch()['gt']
    assert torch.equal(seen[0], teacher) and torch.equal(seen[4], gt)
    for reference, share in zip(seen, (1, 0.75, 0.5, 0.25, 0), strict=True):
        expected = share * teacher.double() + (1 - share) * gt.double()
        assert (reference - expected).abs().max() < 1e-6


@pytest.mark.parametrize('share, target', [(0, 'gt'), (1, 'teacher')])
def test_a_mix_of_one_image_alone_trains_as_that_image(fading, share, target):
    fading['train']['optim_g']['lr'] = 1e-3
    fading['train'].pop('teacher_pixel_opt')
    runs = []
    for block in ({'target': target}, {'target': 'mix', 'ramp': {'from': share, 'to': share}}):
        fading['train']['pixel_opt'] = {**L1, **block}
        torch.manual_seed(0)
        model = build(fading)
        logs = steps(model, 1, 5)
        runs.append(([log['l_g_pix'] for log in logs.values()], model.net_g.state_dict()))
    assert equal(*runs)


def test_the_losses_of_discriminators_fade_too(options):
    options['network_d_peer'] = dict(UNET)
    options['teacher'].update(
        network_d={**UNET, 'num_feat': 16},
        pretrain_network_d=options['teacher']['pretrain_network_g'].replace('net_g', 'net_d'),
    )
    train = options['train']
    train['mutual_opt'] = {'type': 'MutualDiscriminatorLoss', 'ramp': dict(DOWN)}
    train['feature_d_opt'] = {'type': 'FeatureAlignmentLoss', 'layers': ['conv1'], 'ramp': dict(DOWN)}
    train['gan_opt']['ramp'] = dict(DOWN)
    train['stages'][2]['losses'] += ['mutual', 'feature_d']
    logs = steps(build(options), 5, 6)
    for key in ('l_d_mutual', 'l_d_feature', 'l_g_gan'):
        assert logs[5][key] != 0 and logs[6][key] == 0, key
    assert logs[6]['l_d_real'] != 0  # the GAN loss of the discriminator has no ramp


def test_a_stage_may_begin_at_zero(fading):
    from sdakd_plugin.checks.dry_run import iteration_to_try

    fading['train']['teacher_pixel_opt']['ramp'] = {'from': 0, 'to': 1}
    train = parse({**fading, 'is_train': True}).train
    schedule = Schedule.from_train(train)
    assert iteration_to_try(schedule.stages[0], schedule, train) == 2


def test_resuming_is_exact(stock, options):
    options['train']['pixel_opt'].update(target='mix', ramp=dict(DOWN))
    options['train']['feature_opt']['ramp'] = {'from': 0.5, 'to': 1}
    options['train']['total_iter'] = 7
    options['train']['stages'][1]['iters'] = 3
    del options['val']
    check_exact(stock, options, stops=(1, 4))


@pytest.mark.parametrize(
    'path, value, expected',
    [
        ('pixel_opt/ramp', {'from': 2, 'to': 0}, 'train.pixel_opt.ramp.from: input should be less than or equal to 1'),
        (
            'pixel_opt/ramp',
            {'from': 1, 'to': -1},
            'train.pixel_opt.ramp.to: input should be greater than or equal to 0',
        ),
        ('pixel_opt/ramp', {'from': 1}, 'train.pixel_opt.ramp.to: this key is missing'),
        ('pixel_opt/ramp', {'frm': 1, 'to': 0}, "train.pixel_opt.ramp: unknown key 'frm'; did you mean 'from'?"),
        ('pixel_opt/ramp', 0.5, 'train.pixel_opt.ramp: '),
        ('pixel_opt/rmap', DOWN, "train.pixel_opt: unknown key 'rmap' for L1Loss; did you mean 'ramp'?"),
        ('pixel_opt/target', 'mix', "train.pixel_opt.ramp: this key is missing; with target: mix it is the teacher's"),
        (
            'pixel_opt/target',
            'teachr',
            "train.pixel_opt.target: there is no 'teachr' for pixel; did you mean 'teacher'?",
        ),
        ('feature_opt/target', 'gt', 'train.feature_opt.target: what feature compares with is no option'),
        ('gan_opt/target', 'both', "train.gan_opt.target: there is no 'both' for gan; valid: gt, teacher"),
    ],
)
def test_mistakes(options, path, value, expected):
    assert expected in complaint(change(options, f'train/{path}', value))


def test_without_a_teacher_there_is_nothing_to_mix(options):
    options['train']['pixel_opt'].update(target='mix', ramp=dict(DOWN))
    options['train']['feature_opt'] = None
    for stage in options['train']['stages']:
        stage['losses'] = [loss for loss in stage['losses'] if loss != 'feature']
    alone = copy.deepcopy(options)
    del alone['teacher']
    assert 'train.pixel_opt: compares with the teacher, but the block teacher is missing' in complaint(alone)
