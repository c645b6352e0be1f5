"""``train.stop_when`` ends a run as after its last iteration, once a metric no longer improves."""

import json
import re

import pytest
import torch

from sdakd_plugin.models.early_stop import has_stalled
from tests.helpers.exact_resume import equal


@pytest.mark.parametrize(
    ('values', 'patience', 'stalled'),
    [
        ([3, 2, 2, 1], 2, False),
        ([3, 1, 2, 2], 2, True),
        ([3, 1, 2], 2, False),
        ([1], 1, False),
        ([], 1, False),
        ([1, 1], 1, True),  # as good is not better
        ([1, None], 1, True),
        ([None, 1], 1, False),
    ],
)
def test_has_stalled(values, patience, stalled):
    assert has_stalled(values, patience, lower=True) is stalled
    assert has_stalled([None if value is None else -value for value in values], patience, lower=False) is stalled


@pytest.fixture
def stuck(options):
    """A run whose student no longer changes in the last stage, so that no validation is better than the one before."""
    options['train']['stages'][2].update(iters=8, lr_g=1e-30)
    options['train'].update(total_iter=12, ema_decay=0)
    options['train']['stop_when'] = {'metric': 'psnr', 'patience': 2}
    options['logger'].update(save_checkpoint_freq=6)
    return options


def files(stock):
    return {path.name for path in (stock.folder / 'experiments/run').glob('*/*') if path.suffix in ('.pth', '.state')}


@pytest.mark.parametrize('command', ['sdakd train', pytest.param('basicsr/train.py', marks=pytest.mark.long)])
def test_ends_as_finished(stock, stuck, command):
    log = stock.ok(command, stuck)
    assert 'The run ends after iteration 8: psnr has not improved in the last 2 validations' in log
    assert re.findall(r'iter: +(\d+),', log)[-1] == '8' and 'End of training' in log
    assert {'8.state', 'net_g_8.pth', 'net_d_8.pth', 'net_g_latest.pth'} <= files(stock)
    entries = json.loads((stock.folder / 'experiments/run/validations.json').read_text())
    assert [entry['iter'] for entry in entries] == [0, 2, 4, 6, 8]  # the last one once
    assert log.count('Validation val') == len(entries)
    if command == 'sdakd train':
        assert (stock.folder / 'experiments/run/summary.md').exists()


def test_runs_to_the_end_without(stock, stuck):
    del stuck['train']['stop_when']
    stock.ok('sdakd train', stuck)
    assert '12.state' in files(stock)


def test_improving_metrics_do_not_end_it(stock, options):
    options['train']['stop_when'] = {'metric': 'psnr', 'patience': 6}
    assert 'The run ends' not in stock.ok('sdakd train', options)


@pytest.mark.long
def test_resuming_what_has_ended_and_with_more_patience(stock, stuck):
    """What has ended stays so; with more patience it goes on exactly as if it had never ended."""
    ended = stuck['train'].pop('stop_when')
    stock.ok('sdakd train', stuck)
    folder = stock.folder / 'experiments/run'
    whole = {
        name: torch.load(folder / name, weights_only=True) for name in ('models/net_g_12.pth', 'models/net_d_12.pth')
    }
    folder.rename(stock.folder / 'whole')
    stock.ok('sdakd train', {**stuck, 'train': {**stuck['train'], 'stop_when': ended}})
    again = stock.ok('sdakd train', {**stuck, 'train': {**stuck['train'], 'stop_when': ended}}, '--auto_resume')
    assert 'The run ends after iteration 8' in again and '9.state' not in files(stock)
    assert not re.search(r'iter: +9,', again)
    more = {**ended, 'patience': 20}
    stock.ok('sdakd train', {**stuck, 'train': {**stuck['train'], 'stop_when': more}}, '--auto_resume')
    for name, content in whole.items():
        assert equal(torch.load(folder / name, weights_only=True), content), name


def test_two_processes_end_together(stock, stuck):
    log = stock.ok('sdakd train', stuck, processes=2)
    assert 'The run ends after iteration 8' in log and '8.state' in files(stock)


@pytest.mark.parametrize(
    ('block', 'message'),
    [
        ({'metric': 'pnsr', 'patience': 2}, "train.stop_when.metric: 'pnsr' is not in val.metrics"),
        ({'metric': 'psnr', 'patience': 0}, 'train.stop_when.patience'),
        ({'metric': 'psnr'}, 'train.stop_when.patience'),
        ({'metric': 'psnr', 'patiense': 2, 'patience': 2}, 'train.stop_when'),
    ],
)
def test_mistakes(stock, options, block, message):
    options['train']['stop_when'] = block
    done = stock.run('sdakd train', options)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if 'error:' in line]
    assert done.returncode == 1 and len(lines) == 1 and message in lines[0]
    assert not (stock.folder / 'experiments').exists()
