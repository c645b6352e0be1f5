"""Learning-rate schedules: they reach the end of the run, and a resumed run follows the option file."""

import copy
import io

import pytest
import torch

from sdakd_plugin.errors import UserError
from tests.helpers.training import build, steps

STEPS = {'type': 'MultiStepLR', 'milestones': [2, 8], 'gamma': 0.5}
COSINE = {'type': 'CosineAnnealingRestartLR', 'periods': [3, 5], 'restart_weights': [1, 0.5], 'eta_min': 1e-7}


@pytest.fixture
def plain(options):
    """A run of one stage and one loss."""
    del options['teacher'], options['network_d']
    train = options['train']
    del train['stages'], train['feature_opt'], train['gan_opt'], train['optim_d']
    train['total_iter'] = 9
    return options


def model_of(plain, scheduler, **train):
    options = copy.deepcopy(plain)
    options['train'].update(scheduler=copy.deepcopy(scheduler), **train)
    return build(options)


def rates(model, first, last):
    """The learning rates of iterations, each exactly."""
    found = []
    for iteration in range(first, last + 1):
        model.update_learning_rate(iteration, warmup_iter=model.options.train.warmup_iter)
        found.append(model.trainee.optimizer_g.param_groups[0]['lr'])
    return found


def stopped(model, iteration):
    """The training state of a run that ends there, as it is read again."""
    rates(model, 1, iteration)
    file = io.BytesIO()
    torch.save(model.training_state(0, iteration), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize('scheduler', [STEPS, COSINE])
@pytest.mark.parametrize('warmup', [-1, 3])
def test_an_unchanged_schedule_goes_on_exactly_and_silently(plain, caplog, scheduler, warmup):
    whole = rates(model_of(plain, scheduler, warmup_iter=warmup), 1, 9)
    for stop in range(1, 9):
        state = stopped(model_of(plain, scheduler, warmup_iter=warmup), stop)
        model = model_of(plain, scheduler, warmup_iter=warmup)
        model.resume_training(state)
        assert model.schedulers[0].state_dict() == state['schedulers'][0]
        assert rates(model, stop + 1, 9) == whole[stop:]
    assert 'train.scheduler' not in caplog.text


@pytest.mark.parametrize(
    'before, now, total',
    [
        (COSINE, {**COSINE, 'periods': [3, 5, 4], 'restart_weights': [1, 0.5, 0.2]}, 12),  # longer
        (COSINE, {**COSINE, 'periods': [3, 9]}, 12),  # longer, the period that the run is in
        (COSINE, {**COSINE, 'eta_min': 1e-5}, 9),
        (STEPS, {**STEPS, 'milestones': [2, 6, 6]}, 9),
        (STEPS, {**STEPS, 'restarts': [0, 7], 'restart_weights': [1, 0.3]}, 9),
    ],
)
def test_what_lies_ahead_may_change(plain, caplog, before, now, total):
    """Seen from the end, the run has had the new schedule all the time ahead of the stop."""
    state = stopped(model_of(plain, before), 5)
    changed = model_of(plain, now, total_iter=total)
    changed.resume_training(state)
    assert rates(changed, 6, total) == rates(model_of(plain, now, total_iter=total), 1, total)[5:]
    assert 'train.scheduler: from iteration 6 the learning rate follows the option file' in caplog.text


def test_it_is_said_once_for_all_optimizers(options, caplog):
    options['train'].update(total_iter=9, scheduler=dict(STEPS))
    options['train']['stages'][2]['iters'] = 5
    state = stopped(build(options), 5)
    options['train']['scheduler']['milestones'] = [2, 6]
    model = build(options)
    model.resume_training(state)
    assert len(model.schedulers) == 2 and caplog.text.count('train.scheduler: from iteration 6 ') == 1


def test_a_new_factor_holds_from_the_next_milestone_on(plain):
    state = stopped(model_of(plain, STEPS), 5)
    model = model_of(plain, {**STEPS, 'gamma': 0.1})
    model.resume_training(state)
    assert rates(model, 6, 9) == pytest.approx([5e-4, 5e-4, 5e-4, 5e-5])


@pytest.mark.parametrize(
    'before, now, expected',
    [
        (
            STEPS,
            {**STEPS, 'milestones': [4, 8]},
            r'train.scheduler.milestones: up to iteration 5, .* they were \[2\] and would now be \[4\]; change only',
        ),
        (STEPS, {**STEPS, 'milestones': [8]}, r'they were \[2\] and would now be \[\]'),
        (STEPS, {**STEPS, 'restarts': [0, 3], 'restart_weights': [1, 1]}, 'train.scheduler.restarts'),
        (COSINE, {**COSINE, 'periods': [2, 9]}, r'train.scheduler.periods: .* they were \[3\] and would now be \[2\]'),
        (COSINE, {**COSINE, 'restart_weights': [0.5, 0.5]}, 'train.scheduler.restart_weights'),
        (STEPS, COSINE, 'train.scheduler.type: the training state is of a run with another type'),
    ],
)
def test_what_has_been_may_not(plain, before, now, expected):
    state = stopped(model_of(plain, before), 5)
    with pytest.raises(UserError, match=expected):
        model_of(plain, now, total_iter=9).resume_training(state)


def test_the_rate_of_the_training_state_counts_and_the_log_says_so(plain, caplog):
    state = stopped(model_of(plain, STEPS), 5)
    plain['train']['optim_g']['lr'] = 2e-3
    model = model_of(plain, STEPS)
    model.resume_training(state)
    assert rates(model, 6, 6) == [5e-4]
    assert 'comes from the training state, [0.001], not from the option file, [0.002]' in caplog.text


@pytest.mark.parametrize(
    'periods, expected',
    [
        ([3, 4], r'train.scheduler.periods: add up to 7 iterations, but train.total_iter is 9'),
        ([3, 0], r'train.scheduler.periods: expected a list of iterations above 0, not \[3, 0\]'),
    ],
)
def test_cosine_periods_that_do_not_reach_the_end_are_refused(plain, periods, expected):
    with pytest.raises(UserError, match=expected):
        model_of(plain, {**COSINE, 'periods': periods})


def test_the_shortest_periods_that_are_taken_last_to_the_end(plain):
    model = model_of(plain, {**COSINE, 'periods': [3, 5]})
    assert len(steps(model, 1, 9)) == 9
