"""``train.on_collapse`` stops a collapsed run, or takes it back to the last good checkpoint."""

import re

import pytest
import torch

from sdakd_plugin.checks.keys import check_kept
from sdakd_plugin.checks.run import check
from sdakd_plugin.errors import UserError
from sdakd_plugin.models.recovery import Recovery, Rollback
from sdakd_plugin.options import parse
from tests.helpers.exact_resume import check_exact, equal
from tests.helpers.training import build, steps


def test_checkpoints_of_a_collapse_are_not_good(tmp_path):
    for number in (2, 4, 6, 8, 10):
        (tmp_path / f'{number}.state').touch()
    recovery = Recovery(True, 3, {'training_states': str(tmp_path)})
    assert [recovery.last_good(begun) for begun in (2, 3, 5, 100)] == [None, 2, 4, 10]
    recovery.taken = [Rollback(4, 8, 2)]  # 4 and 6 are of a collapse; 8 was saved after going back
    assert [recovery.last_good(begun) for begun in (8, 9)] == [2, 8]
    restored = Recovery(True, 3, {})
    restored.load_state(recovery.state())
    assert restored.taken == recovery.taken and restored.rate_factor == 0.5


@pytest.fixture
def collapsing(options):
    """The discriminator's learning rate is a hundred times too high: its scores soon are far apart."""
    del options['val'], options['train']['stages'], options['teacher'], options['train']['feature_opt']
    options['train'].update(total_iter=14, collapse_after=3)
    options['train']['optim_d']['lr'] = 1e-1
    options['logger']['save_checkpoint_freq'] = 1
    return options


def seen(log):
    return [(int(at), int(to)) for at, to in re.findall(r'Iteration (\d+): networks and .* iteration (\d+) \(', log)]


def test_warns_only_without(stock, collapsing):
    log = stock.ok('sdakd train', collapsing)
    assert log.count('The discriminator has') == 1 and 'go back' not in log
    state = torch.load(stock.folder / 'experiments/run/training_states/14.state', weights_only=True)
    assert 'rollbacks' not in state


def test_stops(stock, collapsing):
    collapsing['train']['on_collapse'] = 'stop'
    done = stock.run('sdakd train', collapsing)
    text = done.stdout + done.stderr
    assert done.returncode == 1 and 'Traceback' not in text
    assert text.count('Training stops, because the GAN has collapsed. The checkpoints are unchanged') == 1


def test_a_discriminator_that_trains_alone_cannot_win(options):
    """It easily tells the images apart then, which is what warming up is for."""
    options['train'].update(total_iter=8, net_d_init_iters=4)
    options['train']['stages'] = [
        {'name': 'warm', 'iters': 3, 'losses': ['pixel', 'feature'], 'train_d': True},
        {'name': 'adversarial', 'iters': 3, 'losses': ['pixel', 'gan']},
        {'name': 'after', 'iters': 2, 'losses': ['pixel'], 'train_d': True},
    ]
    model = build(options)
    watched = []
    model.trainee.balance.watch = lambda log: watched.append(iteration)
    for iteration in range(1, 9):
        steps(model, iteration, iteration)
    assert watched == [5, 6]


def test_goes_back_with_halved_rates_at_most_n_times(stock, collapsing):
    collapsing['train'].update(on_collapse='rollback', max_rollbacks=1)
    done = stock.run('sdakd train', collapsing)
    text = done.stdout + done.stderr
    ((at, to),) = seen(text)
    assert to < at - 2 and 'all learning rates are now 0.5 of the schedule' in text
    folder = stock.folder / 'experiments/run'
    for name in ('net_g', 'net_d'):  # saved in the iteration that went back
        good, after = (torch.load(folder / f'models/{name}_{number}.pth', weights_only=True) for number in (to, at))
        assert equal(good, after), name
    states = {number: torch.load(folder / f'training_states/{number}.state', weights_only=True) for number in (to, at)}
    assert states[to]['rollbacks'] == [] and [each[1:] for each in states[at]['rollbacks']] == [[at, to]]
    for good, after in zip(states[to]['optimizers'], states[at]['optimizers'], strict=True):
        assert equal(good['state'], after['state'])
    rates = dict(re.findall(r'iter: +(\d+), lr:\(([^,]+),', text))
    assert float(rates[str(at)]) == 2 * float(rates[str(at + 1)]) == 1e-3
    if done.returncode:
        assert 'It has gone back 1 times already; see train.max_rollbacks' in text


@pytest.mark.long
def test_resumes_exactly_after_going_back(stock, collapsing):
    collapsing['train'].update(on_collapse='rollback', max_rollbacks=9)
    check_exact(stock, collapsing, [4, 8, 12])


def test_without_a_checkpoint_it_stops(stock, collapsing):
    collapsing['train']['on_collapse'] = 'rollback'
    collapsing['logger']['save_checkpoint_freq'] = 1000
    done = stock.run('sdakd train', collapsing)
    assert done.returncode == 1
    assert re.search(r'There is no checkpoint from before iteration \d+; see logger', done.stdout + done.stderr)


def test_two_processes_go_back_together(stock, collapsing):
    collapsing['train'].update(on_collapse='rollback', max_rollbacks=9)
    collapsing['train']['optim_d']['lr'] = 1.0
    log = stock.ok('sdakd train', collapsing, processes=2)
    assert seen(log)


def test_the_checkpoints_that_are_kept_reach_back_before_a_collapse(options):
    """It is seen after at most 8 iterations; of these the last is saved after going back."""
    options['train'].update(on_collapse='rollback', collapse_after=4)
    options['logger'].update(print_freq=5, save_checkpoint_freq=3, keep_last=4)
    check_kept(parse(options))
    options['logger'].update(keep_last=3)
    with pytest.raises(
        UserError, match=r'logger.keep_last: is 3, but train.on_collapse: rollback needs 4; .* seen late'
    ):
        check(options)


@pytest.mark.parametrize(
    ('more', 'message'),
    [
        ({'on_collapse': 'rolback'}, 'train.on_collapse'),
        ({'on_collapse': 'rollback', 'max_rollbacks': 0}, 'train.max_rollbacks'),
        ({'on_collapse': 'stop', 'collapse_after': 0}, 'on_collapse needs collapse_after above 0'),
        ({'on_collapse': 'stop', 'gan_opt': {'type': 'GANLoss', 'gan_type': 'wgan'}}, 'on_collapse needs gan_opt'),
        ({'on_collapse': 'stop', 'gan_opt': None}, 'on_collapse needs gan_opt'),
        ({'on_collapse': 'rollback', 'quantize': {'bits': 8}}, 'on_collapse: rollback does not work with quantize'),
        ({'grad_clip': 0}, 'train.grad_clip'),
        ({'grad_clip': True}, 'train.grad_clip'),
    ],
)
def test_mistakes(options, more, message):
    options['train'].update(more)
    with pytest.raises(UserError) as caught:
        parse(options)
    assert message in str(caught.value) and '\n' not in str(caught.value)
