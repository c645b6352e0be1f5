"""A run that is interrupted by a signal or an error resumes and equals an uninterrupted one, bit for bit."""

import os
import posix
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml

from tests.helpers.exact_resume import equal
from tests.helpers.posix import needs_posix

RUN = 'experiments/run'


@pytest.fixture
def final(stock, options):
    """Options of a run that saves every second iteration, and what an undisturbed one ends with."""
    options['train']['total_iter'] = 18
    for stage in options['train']['stages']:
        stage['iters'] = 6
    options['datasets']['train']['dataset_enlarge_ratio'] = 3  # an epoch has six iterations
    options['logger'].update(save_checkpoint_freq=2, print_freq=1)
    del options['val']
    stock.ok('sdakd train', options)
    ends = contents(stock.folder)
    (stock.folder / RUN).rename(stock.folder / 'undisturbed')
    return options, ends


def contents(folder):
    """All weights and states of the last iteration."""
    found = {path.name: torch.load(path, weights_only=True) for path in (folder / RUN).glob('*/*18.*')}
    assert {'net_g_18.pth', 'net_d_18.pth', '18.state'} <= set(found)
    return found


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_run(stock, final, number):
    options, ends = final
    (stock.folder / 'opt.yml').write_text(yaml.safe_dump(options))
    command = [sys.executable, '-u', '-m', 'sdakd_plugin.cli', 'train', '-opt', 'opt.yml']
    process = subprocess.Popen(
        command,
        cwd=stock.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if re.search(r'iter: +5,', line):
            posix.killpg(process.pid, number)  # the workers too, as a terminal does
    assert process.wait(60) == 128 + number, ''.join(lines)
    assert 'Traceback' not in ''.join(lines)
    stopped = re.search(number.name + r': stopped after iteration (\d+), which is saved', ''.join(lines))
    assert 5 <= int(stopped[1]) < 18
    assert (stock.folder / RUN / f'training_states/{stopped[1]}.state').exists()
    assert f'iter: {stopped[1]}.' in stock.ok('sdakd train', options, '--auto_resume')
    assert equal(contents(stock.folder), ends)


def slow_saves(arguments):
    """``sdakd`` where it takes a second to write a file of iteration 5 or later."""
    from sdakd_plugin import weights
    from sdakd_plugin.cli import main

    save = weights.atomic_save

    def slowly(content, path):
        save(content, path)
        if int(re.search(r'(\d+|latest)\.', path.name)[1].replace('latest', '0')) >= 5:
            time.sleep(1)

    weights.atomic_save = slowly
    return main(arguments)


def slow_iterations(arguments):
    """``sdakd`` whose fifth iteration takes four seconds, and says when it has begun."""
    from sdakd_plugin.cli import main
    from sdakd_plugin.distillation.trainee import Trainee

    begin = Trainee.begin_iteration

    def slowly(trainee, batch, iteration, stage):
        begin(trainee, batch, iteration, stage)
        if iteration == 5:
            print('the fifth has begun', file=sys.stderr, flush=True)
            time.sleep(4)

    Trainee.begin_iteration = slowly
    return main(arguments)


def like_windows(arguments):
    """``sdakd`` without the names that Windows lacks."""
    import_module('tests.like_windows.sitecustomize')
    return slow_iterations(arguments)


def started(stock, options, function):
    """Start ``sdakd train`` in a child of the warm process; its process number, and the file with its log."""
    (stock.folder / 'opt.yml').write_text(yaml.safe_dump(options))
    log = Path(f'{stock.folder}.err')
    log.write_text('')
    return stock.warm.start(stock.folder, ['train', '-opt', 'opt.yml'], function=f'{__name__}:{function}'), log


def until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.long
def test_windows_lacks_names_and_saves_all_the_same(stock, final):
    options, _ = final
    options['datasets']['train']['num_worker_per_gpu'] = 1  # which is spawned
    child, log = started(stock, options, 'like_windows')
    until(lambda: 'the fifth has begun' in log.read_text())
    posix.killpg(child, signal.SIGINT)  # the worker too, as a terminal does
    done = stock.warm.wait(stock.folder, [])
    assert done.returncode == 130 and 'Traceback' not in done.stderr, done.stderr
    assert 'stopped after iteration 5, which is saved' in done.stderr
    assert (stock.folder / RUN / 'training_states/5.state').exists()


def test_a_signal_is_answered_at_once(stock, final):
    options, ends = final
    child, log = started(stock, options, 'slow_iterations')
    until(lambda: 'the fifth has begun' in log.read_text())
    os.kill(child, signal.SIGINT)
    said = 'SIGINT: finishing iteration 5, then saving; press again to quit without saving'
    until(lambda: said in log.read_text(), 3)
    assert not (stock.folder / RUN / 'training_states/5.state').exists()
    os.kill(child, signal.SIGINT)
    assert stock.warm.wait(stock.folder, []).returncode == -signal.SIGINT
    assert not list((stock.folder / RUN).glob('*/*5*'))
    assert 'iter: 4.' in stock.ok('sdakd train', options, '--auto_resume')
    assert equal(contents(stock.folder), ends)


def test_a_second_signal_waits_for_the_checkpoint(stock, final):
    options, _ = final
    options['logger']['save_checkpoint_freq'] = 100
    child, log = started(stock, options, 'slow_saves')
    until(lambda: 'iter:       5' in log.read_text())
    os.kill(child, signal.SIGINT)
    networks = stock.folder / RUN / 'models'
    until(lambda: list(networks.glob('net_*.pth')))
    os.kill(child, signal.SIGINT)
    done = stock.warm.wait(stock.folder, [])
    assert done.returncode == -signal.SIGINT
    assert 'SIGINT: completing the checkpoint first' in done.stderr
    iterations = {
        kind: [re.search(r'(\d+)\.', path.name)[1] for path in (stock.folder / RUN).glob(f'{kind}*')]
        for kind in ('models/net_g_', 'models/net_d_', 'training_states/')
    }
    assert len({tuple(found) for found in iterations.values()}) == 1, iterations
    assert f'iter: {iterations["training_states/"][0]}.' in stock.ok('sdakd train', options, '--auto_resume')


def test_an_image_that_goes_away_saves_the_run(stock, final, photos):
    options, ends = final
    shutil.copytree(photos, stock.folder / 'photos')
    options['datasets']['train'].update(
        {
            f'dataroot_{kind.lower()}': str(stock.folder / 'photos' / folder)
            for kind, folder in (('GT', 'HR'), ('LQ', 'LR'))
        }
    )
    (stock.folder / 'opt.yml').write_text(yaml.safe_dump(options))
    arguments = ['train', '-opt', 'opt.yml']
    log, end = Path(f'{stock.folder}.err'), time.monotonic() + 60
    log.write_text('')
    stock.warm.start(stock.folder, arguments)
    while 'iter:       3' not in log.read_text() and time.monotonic() < end:
        time.sleep(0.02)
    (stock.folder / 'photos/HR/coffee.png').rename(stock.folder / 'coffee.png')
    done = stock.warm.wait(stock.folder, arguments)
    text = done.stdout + done.stderr
    assert done.returncode == 1 and 'Traceback' not in text and 'coffee.png' in done.stderr, text
    stopped = re.search(r'No batch after iteration (\d+), which is saved', text)[1]
    (stock.folder / 'coffee.png').rename(stock.folder / 'photos/HR/coffee.png')
    assert f'iter: {stopped}.' in stock.ok('sdakd train', options, '--auto_resume')
    assert equal(contents(stock.folder), ends)


@pytest.mark.long
@needs_posix('SIGKILL')
def test_thirty_kills(stock, final):
    """SIGKILL at random moments, from the start of the process to the end of training, saves included."""
    options, ends = final
    (stock.folder / 'opt.yml').write_text(yaml.safe_dump(options))

    def train(patience):
        """Start or resume the run, kill it after some seconds."""
        arguments = ['train', '-opt', 'opt.yml', '--auto_resume']
        child = stock.warm.start(stock.folder, arguments)
        if patience is not None:
            time.sleep(patience)
            with suppress(ProcessLookupError):  # it has not begun a session of its own yet, or has ended
                posix.killpg(child, signal.SIGKILL)
        return stock.warm.wait(stock.folder, arguments)

    start = time.monotonic()
    assert train(None).returncode == 0
    longest = time.monotonic() - start
    shuffled = random.Random(0)
    kills = ended = 0
    while kills < 30:
        done = train(shuffled.uniform(0.1, 0.8) * longest)
        log = done.stdout + done.stderr
        assert done.returncode in (0, -signal.SIGKILL) and 'damaged' not in log, log
        assert done.returncode or 'Traceback' not in log, log  # workers that are killed may complain
        kills += done.returncode != 0
        saved = sorted(int(path.stem) for path in (stock.folder / RUN).glob('training_states/*.state'))
        half = len([*(stock.folder / RUN).glob('*/.*.tmp')])
        print(
            f'{"killed" if done.returncode else "ended"}; last saved: {saved[-1] if saved else "nothing"}; '
            f'half-written files: {half}'
        )
        if done.returncode == 0:  # the next kills meet a new run
            assert equal(contents(stock.folder), ends)
            ended += 1
            (stock.folder / RUN).rename(stock.folder / f'ended_{ended}')
    assert train(None).returncode == 0
    assert equal(contents(stock.folder), ends)
