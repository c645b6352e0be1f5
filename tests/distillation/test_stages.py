"""The schedule depends only on the iteration."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdakd_plugin.distillation.stages import Schedule
from sdakd_plugin.errors import UserError
from sdakd_plugin.options import StageOptions, TrainOptions, parse

ADAM = {'type': 'Adam', 'lr': 1e-4}


def train(stages, total=None, **losses):
    blocks = {f'{name}_opt': {'type': 'L1Loss'} for name in losses or ('pixel', 'gan')}
    total = sum(stage['iters'] for stage in stages or ()) if total is None else total
    return TrainOptions.model_validate(
        dict(total_iter=total, optim_g=ADAM, scheduler={'type': 'MultiStepLR'}, stages=stages, **blocks)
    )


def test_every_iteration_has_its_stage():
    schedule = Schedule.from_train(
        train([{'name': 'a', 'iters': 3, 'losses': ['pixel']}, {'name': 'b', 'iters': 2, 'losses': ['pixel', 'gan']}])
    )
    assert [schedule.at(i).name for i in range(1, 7)] == ['a', 'a', 'a', 'b', 'b', 'b']  # one past the end: the last
    assert (schedule.stages[1].first, schedule.stages[1].last) == (4, 5)
    assert [stage.trains_d for stage in schedule.stages] == [False, True]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6))
def test_stages_cover_the_run_without_gap_or_overlap(lengths):
    schedule = Schedule.of(StageOptions(name=str(n), iters=iters, losses=['pixel']) for n, iters in enumerate(lengths))
    names = [schedule.at(i).name for i in range(1, sum(lengths) + 1)]
    assert names == [str(n) for n, iters in enumerate(lengths) for _ in range(iters)]


def test_without_stages_there_is_one_with_every_loss_in_basicsr_order():
    schedule = Schedule.from_train(train(None, total=7, gan=1, pixel=1))
    assert schedule.at(1).losses == ('pixel', 'gan')
    assert schedule.at(7) is schedule.at(1)


def test_warming_up_the_discriminator_trains_it_without_a_gan_term():
    stage = Schedule.of([StageOptions(name='a', iters=1, losses=['pixel'], train_d=True)]).at(1)
    assert stage.trains_d


def test_where_the_generator_steps():
    schedule = Schedule.of(
        [
            StageOptions(name='a', iters=3, losses=['pixel']),
            StageOptions(name='b', iters=4, losses=['pixel', 'gan']),
            StageOptions(name='c', iters=2, losses=['pixel']),
            StageOptions(name='d', iters=3, losses=['pixel', 'gan']),
        ]
    )

    def stepped(**more):
        options = train(None, total=12).model_copy(update=more)
        iterations = [i for i in range(1, 13) if schedule.generator_steps(i, options)]
        assert sum(schedule.generator_updates(stage, options) for stage in schedule.stages) == len(iterations)
        return iterations

    assert stepped() == list(range(1, 13))
    assert stepped(net_d_iters=2) == [1, 2, 3, 4, 6, 8, 9, 10, 12]
    assert stepped(net_d_init_iters=2) == [1, 2, 3, 6, 7, 8, 9, 10, 11, 12]
    assert stepped(net_d_iters=3, net_d_init_iters=1) == [1, 2, 3, 6, 8, 9, 12]
    assert stepped(net_d_init_iters=99) == [1, 2, 3, 8, 9]

    def ends(iters):
        options = train(None, total=12).model_copy(update={'net_d_init_iters': iters})
        return [schedule.describe(stage, options).partition('. ')[2] for stage in schedule.stages]

    never, later = 'The generator is not updated in it (train', 'The generator is updated from iteration 6 on (train'
    assert ends(0) == ['', '', '', '']
    assert ends(2) == ['', f'{later}.net_d_init_iters).', '', '']
    assert ends(99) == ['', f'{never}.net_d_init_iters).', '', f'{never}.net_d_init_iters).']


def test_a_loss_that_is_named_twice_is_refused():
    with pytest.raises(UserError, match=r"train\.stages\.0\.losses: 'pixel' is listed twice"):
        parse(
            {
                'name': 'run',
                'model_type': 'SDAKDModel',
                'num_gpu': 0,
                'datasets': {'val': {}},
                'network_g': {},
                'path': {},
                'train': {
                    'total_iter': 3,
                    'optim_g': ADAM,
                    'scheduler': {'type': 'MultiStepLR'},
                    'stages': [{'name': 'a', 'iters': 3, 'losses': ['pixel', 'gan', 'pixel']}],
                },
            }
        )


@pytest.mark.parametrize(
    'stages, total, message',
    [
        (
            [{'name': 'a', 'iters': 3, 'losses': ['pixel', 'gan']}],
            4,
            'train.total_iter: is 4, but the stages add up to 3 = 3',
        ),
        ([{'name': 'a', 'iters': 3, 'losses': ['pixel', 'gan']}] * 2, 6, "two stages are named 'a'"),
        ([{'name': 'a', 'iters': 3, 'losses': ['pixle', 'gan']}], 3, "did you mean 'pixel'"),
        ([{'name': 'a', 'iters': 3, 'losses': ['pixel']}], 3, "train.gan_opt: no stage names 'gan'"),
    ],
)
def test_a_schedule_that_contradicts_itself_is_refused(stages, total, message):
    with pytest.raises(UserError, match='(?s).*' + message.replace('(', r'\(')):
        Schedule.from_train(train(stages, total))
