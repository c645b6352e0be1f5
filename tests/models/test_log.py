"""The log of a training: clear messages, nothing twice, and no floods of lines."""

import os
import re
import struct
import subprocess
import sys

import pytest
import yaml
from basicsr.archs import build_network
from basicsr.utils import MessageLogger

from sdakd_plugin.stock.pipelines import message_logger
from tests.helpers.degradation import degradation_options
from tests.helpers.networks import STUDENT, UNET
from tests.helpers.posix import needs_posix


@pytest.mark.parametrize('val_freq', [2, 4])
def test_the_log_of_a_run(stock, options, val_freq):
    options['val']['val_freq'] = val_freq
    log = stock.ok('sdakd train', options)
    assert re.findall(r' stage: (\S+) ', log) == ['1', '1', '2', '2', '3', '3']
    assert len(re.findall(r'Validation val\n', log)) == 4  # at 0, 2, 4 and 6, and not at 6 once more
    assert set(re.findall(r'@ (\d+) iter', log)) <= {'0', '2', '4', '6'}
    before, training = log.split('Start training')
    assert 'is not found' not in log
    assert len(before.splitlines()) < 250, before  # most are the options
    parameters = sum(parameter.numel() for parameter in build_network(STUDENT).parameters())
    assert re.findall(r'Network: (.*)', before)[0] == f'RRDBNet, with parameters: {parameters:,}'
    assert len(re.findall(r'Network: \w+, with parameters: [\d,]+\n', before)) == 2
    assert len(re.findall(r' stage: \d images_per_second: [\d.]+ \n', log)) == 6
    assert 'Conv2d' not in log and '-1 day' not in training


def test_basicsr_says_nothing_of_names_that_it_completes(stock, options, photos):
    options = degradation_options(options, photos)
    options['network_d'] = {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 8}
    del options['val']
    assert 'is not found' not in stock.ok('sdakd train', options)


def test_a_cohort_validates_once_too(stock, options):
    options.update(
        model_type='MutualSRGANModel',
        network_d=dict(UNET),
        cohort=[{'name': 'a', 'manual_seed': 0}, {'name': 'b', 'manual_seed': 1}],
    )
    log = stock.ok('sdakd train', options)
    for name in 'ab':
        assert len(re.findall(f'Validation val/{name}\n', log)) == 4
    assert log.count('Best of the cohort on val') == 3  # the members alone make the one before training


def test_the_remaining_time_is_that_of_the_iterations_to_come(monkeypatch):
    opt = {'name': 'run', 'logger': {'print_freq': 1, 'use_tb_logger': False}, 'train': {'total_iter': 20}}
    opt |= {'datasets': {'train': {'batch_size_per_gpu': 8}}, 'world_size': 2}
    logger, lines = message_logger(MessageLogger)(opt, 10), []
    logger.start_time -= 40
    monkeypatch.setattr(logger.logger, 'info', lines.append)
    for iteration in (10, 20):
        logger({'epoch': 0, 'iter': iteration, 'lrs': [1e-4], 'time': 1.0, 'data_time': 0.0})
    assert re.findall(r'eta: ([^,]+),', ' '.join(lines)) == ['0:06:40', '0:00:00']
    assert all(line.endswith(' images_per_second: 16.0 ') for line in lines)


@needs_posix('a pseudo-terminal')
def test_the_bar_of_a_terminal_shows_the_last_validation_and_the_best(stock, options):
    (stock.folder / 'opt.yml').write_text(yaml.safe_dump(options, sort_keys=False))
    import fcntl
    import pty
    import termios

    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack('HHHH', 40, 200, 0, 0))
    command = [sys.executable, '-m', 'sdakd_plugin.cli', 'train', '-opt', 'opt.yml']
    with open(stock.folder / 'log', 'w') as log:
        process = subprocess.Popen(command, cwd=stock.folder, stdout=log, stderr=terminal)
    os.close(terminal)
    shown = b''
    try:
        while part := os.read(screen, 4096):
            shown += part
    except OSError:  # the end of a terminal
        pass
    assert process.wait(60) == 0, shown.decode()
    text = shown.decode()
    assert re.search(r'stage 1/3 supervised: .*, psnr [\d.]+ \(best [\d.]+ @ 0\), ssim [\d.]+ \(best', text)
    assert re.search(r'stage 3/3 adversarial: .*, psnr [\d.]+ \(best [\d.]+ @ \d\)', text)
