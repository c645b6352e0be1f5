"""What is read of a run's log files, as BasicSR writes them."""

import logging
import os

import pytest
from basicsr.utils import MessageLogger

from sdakd_plugin.stock.pipelines import message_logger
from sdakd_plugin.watching.run_log import MOST, RunLog, thinned

OPT = {
    'name': 'my:run',
    'logger': {'print_freq': 1, 'use_tb_logger': False},
    'train': {'total_iter': 400_000},
    'datasets': {'train': {'batch_size_per_gpu': 8}},
    'world_size': 2,
}


@pytest.fixture
def log(tmp_path, monkeypatch):
    """A log file that BasicSR's own logger writes."""
    file = logging.FileHandler(tmp_path / 'train_run_1.log')
    file.setFormatter(logging.Formatter('%(asctime)s %(levelname)s: %(message)s'))
    logger = message_logger(MessageLogger)(OPT, 0)
    logger.logger.addHandler(file)
    monkeypatch.setattr(logger.logger, 'level', logging.INFO)
    logger.logger.manager._clear_cache()
    logger.logger.info('Training statistics:\n\tBatch size per gpu: 8\n\tWorld size (gpu number): 2\n'
                       '\tTotal epochs: 9; iters: 400000.')  # fmt: skip
    logger.logger.info("Stage 1 of 2, 'a, b': iterations 1 to 200,000; losses pixel; discriminator off.")
    yield logger
    logger.logger.removeHandler(file)


def say(logger, iteration, **values):
    logger({'epoch': 3, 'iter': iteration, 'lrs': [1e-4, 1e-4], 'time': 0.5, 'data_time': 0.01, **values})


def test_what_basicsr_writes_is_read(log, tmp_path):
    log.start_time -= 90_000  # the remaining time has days and a comma
    say(log, 100_000, l_g_pix=0.25, share_pix=1.0, out_d_real=1.0, l_g_gan=float('nan'))
    found = RunLog(tmp_path)
    found.read()
    assert (found.iteration, found.total, found.of, found.finished) == (100_000, 400_000, 2, False)
    assert found.stages == {1: {'number': 1, 'name': 'a, b', 'first': 1, 'last': 200_000}}
    assert found.images_per_second == 32.0 and found.eta.startswith('3 days, ')
    assert found.curves() == {'l_g_pix': [[100_000, 0.25]], 'share_pix': [[100_000, 1.0]]}


def test_a_line_is_read_once_and_when_it_is_complete(log, tmp_path):
    found = RunLog(tmp_path)
    say(log, 1, l_g_pix=1.0)
    found.read()
    with open(tmp_path / 'train_run_1.log', 'r+b') as file:
        whole = file.read()
        line = whole.splitlines()[-1].replace(b'iter:       1', b'iter:       2')
        file.write(line[:60])
        file.flush()
        found.read()
        assert found.iteration == 1
        file.write(line[60:] + b'\n')
    found.read()
    assert list(found.values) == [1, 2]


def test_a_resumed_run_replaces_what_came_after_its_checkpoint(log, tmp_path):
    for iteration in (1, 2, 3):
        say(log, iteration, l_g_pix=float(iteration))
    second = tmp_path / 'train_run_0.log'  # the time of a log decides, not its name
    second.write_text(
        'x INFO: Resuming training from epoch: 0, iter: 2.\n'
        'x INFO: [run..][epoch:  0, iter:       3, lr:(1e-4,)] [eta: 0:01:00, time (data): 1.0 (0.0)] l_g_pix: 9e0 \n'
    )
    os.utime(second, (2e9, 2e9))
    found = RunLog(tmp_path)
    found.read()
    assert found.curves()['l_g_pix'] == [[1, 1.0], [2, 2.0], [3, 9.0]]


def test_long_curves_are_averaged():
    found = thinned([(iteration, float(iteration % 2)) for iteration in range(1, 10 * MOST + 1)])
    assert len(found) == MOST and found[-1] == [10 * MOST, 0.5]
    assert thinned([(1, 2.0)]) == [[1, 2.0]] and thinned([]) == []
