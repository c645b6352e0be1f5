"""Whatever ends a process, the run goes on, and ends as if nothing had happened, bit for bit."""
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
import yaml

from tests.test_resume import equal

pytestmark = pytest.mark.slow

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
    process = subprocess.Popen(command, cwd=stock.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               start_new_session=True, env={**os.environ, 'OMP_NUM_THREADS': '1'})
    lines = []
    for line in process.stdout:
        lines.append(line)
        if re.search(r'iter: +5,', line):
            os.killpg(process.pid, number)  # the workers too, as a terminal does
    assert process.wait(60) == 128 + number, ''.join(lines)
    assert 'Traceback' not in ''.join(lines)
    stopped = re.search(number.name + r': stopped after iteration (\d+), which is saved', ''.join(lines))
    assert 5 <= int(stopped[1]) < 18
    assert (stock.folder / RUN / f'training_states/{stopped[1]}.state').exists()
    assert f'iter: {stopped[1]}.' in stock.ok('sdakd train', options, '--auto_resume')
    assert equal(contents(stock.folder), ends)


def test_an_image_that_goes_away_saves_the_run(stock, final, photos):
    options, ends = final
    shutil.copytree(photos, stock.folder / 'photos')
    options['datasets']['train'].update({f'dataroot_{kind.lower()}': str(stock.folder / 'photos' / folder)
                                         for kind, folder in (('GT', 'HR'), ('LQ', 'LR'))})
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
                os.killpg(child, signal.SIGKILL)
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
        print(f"{'killed' if done.returncode else 'ended'}; last saved: {saved[-1] if saved else 'nothing'}; "
              f'half-written files: {half}')
        if done.returncode == 0:  # the next kills meet a new run
            assert equal(contents(stock.folder), ends)
            ended += 1
            (stock.folder / RUN).rename(stock.folder / f'ended_{ended}')
    assert train(None).returncode == 0
    assert equal(contents(stock.folder), ends)
