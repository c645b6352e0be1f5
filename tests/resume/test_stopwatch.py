"""The training time that is stored with each validation."""

import json
import time

import pytest
import torch
from basicsr.models.sr_model import SRModel

from sdakd_plugin.models import stage_validation
from sdakd_plugin.resume import stopwatch
from sdakd_plugin.resume.stopwatch import Stopwatch
from tests.helpers.training import build, steps


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""

    class Clock:
        now = 100.0

    monkeypatch.setattr(stopwatch.time, 'perf_counter', lambda: Clock.now)
    return Clock


def test_it_counts_from_the_start_and_not_while_it_is_paused(clock):
    watch = Stopwatch()
    clock.now = 110
    assert watch.seconds == 0
    watch.start()
    clock.now = 113
    watch.start()
    with watch.paused():
        clock.now = 200
        assert watch.seconds == 3
    clock.now = 204
    assert watch.seconds == 7


def test_a_pause_before_the_start_starts_nothing(clock):
    watch = Stopwatch()
    with watch.paused():
        clock.now = 200
    clock.now = 300
    assert watch.seconds == 0


def test_a_resumed_run_goes_on_counting(clock, tmp_path):
    watch = Stopwatch()
    watch.start()
    for iteration, now in ((10, 105), (20, 112)):
        clock.now = now
        watch.save(str(tmp_path), iteration)
    resumed = Stopwatch()
    resumed.resume(str(tmp_path), 10)
    clock.now = 500
    assert resumed.seconds == 5
    resumed.start()
    clock.now = 501
    assert resumed.seconds == 6


@pytest.mark.parametrize('content', [None, '{"10": 5.0}', 'not JSON'])
def test_a_run_of_which_nobody_knows_how_long_it_took(clock, tmp_path, content):
    """A run of an earlier version, or a damaged file: no time is better than a wrong one."""
    if content is not None:
        (tmp_path / 'seconds.json').write_text(content)
    watch = Stopwatch()
    watch.resume(str(tmp_path), 20)
    watch.start()
    with watch.paused():
        assert watch.seconds is None
    watch.save(str(tmp_path), 30)
    assert watch.seconds is None


def test_validations_tell_the_seconds_of_training_without_their_own(options, tmp_path, monkeypatch):
    options['datasets']['val'].update(phase='val', scale=4)
    model = build(options)
    model.opt['path']['experiments_root'] = str(tmp_path)
    model.opt['val'] = options['val']
    model.stage_validation.validations[0].metric_results = {'psnr': 20.0}
    monkeypatch.setattr(SRModel, 'nondist_validation', lambda *arguments: time.sleep(0.3))
    begun = time.perf_counter()
    for iteration in (1, 2):
        steps(model, iteration, iteration)
        model.stage_validation.validate(iteration)
    total = time.perf_counter() - begun
    entries = stage_validation.read(str(tmp_path / 'validations.json'))
    first, second = (entry['elapsed'] for entry in entries)
    assert 0 < first < second < total - 0.6
    assert model.training_state(0, 2).keys() == {
        'epoch',
        'iter',
        'optimizers',
        'schedulers',
        'connectors',
        'stage',
        'data',
        'processes',
    }  # equal after a stop


def test_a_stopped_run_has_the_seconds_of_all_its_parts(stock, options):
    stock.ok('sdakd train', options)
    folder = stock.folder / 'experiments/run'
    whole = json.loads((folder / 'seconds.json').read_text())
    assert list(whole) == ['2', '4', '6']
    (folder / 'training_states/6.state').unlink()
    whole['4'] = 1000.0
    (folder / 'seconds.json').write_text(json.dumps(whole))
    stock.ok('sdakd train', options, '--auto_resume')
    seconds = {entry['iter']: entry['elapsed'] for entry in json.loads((folder / 'validations.json').read_text())}
    assert seconds[0] == 0 and seconds[2] < 1000 < seconds[6] < 1100
    assert json.loads((folder / 'stages.json').read_text())[-1]['elapsed'] == seconds[6]


def test_an_old_file_of_validations_is_read(options, tmp_path):
    options['val']['val_freq'] = 3
    (tmp_path / 'validations.json').write_text(
        json.dumps([{'iter': 4, 'stage': 'x', 'dataset': 'val', 'metrics': {'psnr': 30.0}}])
    )
    options['path']['experiments_root'] = str(tmp_path)
    torch.manual_seed(0)
    model = build(options)
    model.opt['val'] = options['val']
    model.stage_validation.resume(4)
    assert model.stage_validation.validations[0].best_metric_results['val']['psnr']['val'] == 30.0
