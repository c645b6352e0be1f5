"""Checkpoints: the fallback folder when saving fails, and deleting old ones, but never the last valid one."""

import builtins
import errno
import io
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest
import torch

from sdakd_plugin.models.checkpoints import Checkpoints
from sdakd_plugin.options import LoggerOptions


@pytest.fixture
def checkpoints(tmp_path):
    """Checkpoints of a run that keeps the last two and the best."""
    opt = {
        'path': {name: str(tmp_path / name) for name in ('models', 'training_states')},
        'val': {'metrics': {'psnr': {'type': 'calculate_psnr'}, 'niqe': {'type': 'calculate_niqe', 'better': 'lower'}}},
    }
    opt['path']['experiments_root'] = str(tmp_path)
    for name in ('models', 'training_states'):
        (tmp_path / name).mkdir()
    return Checkpoints(opt, LoggerOptions(keep_last=2), [''])


def contents(iteration):
    return {
        f'models/net_g_{iteration}.pth': {'params': {'weight': torch.full((2,), float(iteration))}},
        f'models/net_d_{iteration}.pth': {'params': {'weight': torch.zeros(2)}},
        f'training_states/{iteration}.state': {'iter': iteration, 'epoch': 0, 'optimizers': []},
    }


def kept(folder):
    """The iterations of the training states, after checking that each has its networks."""
    numbers = sorted(int(path.stem) for path in (folder / 'training_states').iterdir())
    for label in ('g', 'd'):
        assert {path.name for path in (folder / 'models').glob(f'net_{label}_*')} == {
            f'net_{label}_{number}.pth' for number in numbers
        }
    return numbers


def measure(folder, values):
    entries = [
        {'iter': iteration, 'stage': 'x', 'dataset': 'Set5', 'metrics': {'psnr': psnr, 'niqe': niqe}}
        for iteration, (psnr, niqe) in values.items()
    ]
    (folder / 'validations.json').write_text(json.dumps(entries))


def test_the_last_and_the_best_of_each_metric_are_kept(checkpoints, tmp_path):
    measure(tmp_path, {1: (30, 5), 2: (33, 6), 3: (31, 3), 4: (32, 4), 5: (None, None)})
    for iteration in range(1, 7):
        checkpoints.write(contents(iteration))
    assert kept(tmp_path) == [2, 3, 5, 6]  # 2 has the best PSNR, 3 the lowest NIQE


def test_without_the_option_all_are_kept(checkpoints, tmp_path):
    checkpoints.kept = LoggerOptions()
    for iteration in range(1, 7):
        checkpoints.write(contents(iteration))
    assert kept(tmp_path) == [1, 2, 3, 4, 5, 6]


def test_none_is_removed_while_the_newest_cannot_be_read(checkpoints, tmp_path, monkeypatch, caplog):
    for iteration in (1, 2):
        checkpoints.write(contents(iteration))
    with monkeypatch.context() as patch:  # a disk that says that it wrote, and did not
        from sdakd_plugin import weights

        patch.setattr(weights, 'atomic_save', lambda content, path: path.write_bytes(b'half'))
        checkpoints.write(contents(3))
    assert kept(tmp_path) == [1, 2, 3]
    print('XX', caplog.text)
    checkpoints.write(contents(4))
    assert kept(tmp_path) == [3, 4]


def test_networks_without_a_training_state_are_left_alone(checkpoints, tmp_path):
    checkpoints.write({'models/net_g_latest.pth': {'params': {'weight': torch.zeros(1)}}})
    (tmp_path / 'models/net_g_77.pth').write_bytes(b"the user's own")
    for iteration in range(1, 5):
        checkpoints.write(contents(iteration))
    assert (tmp_path / 'models/net_g_77.pth').exists() and (tmp_path / 'models/net_g_latest.pth').exists()


def test_a_failed_save_goes_elsewhere(checkpoints, tmp_path, monkeypatch, capfd):
    checkpoints.write(contents(1))
    checkpoints.path['training_states'] = str(tmp_path / 'file/states')
    (tmp_path / 'file').write_text('not a folder')
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path / 'elsewhere'))
    (tmp_path / 'elsewhere').mkdir()
    checkpoints.write(contents(2))
    checkpoints.write(contents(3))
    (fallback_folder,) = (tmp_path / 'elsewhere').iterdir()
    assert kept(fallback_folder) == [2, 3]
    assert torch.load(fallback_folder / 'training_states/3.state', weights_only=True)['iter'] == 3
    assert torch.load(tmp_path / 'models/net_g_1.pth', weights_only=True)['params']['weight'].tolist() == [1, 1]


def test_training_stops_where_it_cannot_be_saved_elsewhere_either(checkpoints, tmp_path, monkeypatch):
    checkpoints.write(contents(1))
    checkpoints.path['models'] = str(tmp_path / 'file/models')
    (tmp_path / 'file').write_text('not a folder')
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path / 'file/elsewhere'))
    with pytest.raises(SystemExit) as stopped:
        checkpoints.write(contents(2))
    assert stopped.value.code == 1
    assert (tmp_path / 'models/net_g_1.pth').exists()


def test_a_run_that_keeps_two(stock, options):
    options['logger'].update(save_checkpoint_freq=1, keep_last=2)
    options['val']['val_freq'] = 1
    log = stock.ok('basicsr/train.py', options)
    folder = stock.folder / 'experiments/run'
    entries = json.loads((folder / 'validations.json').read_text())
    best = {
        max((entry for entry in entries if entry['iter']), key=lambda entry: entry['metrics'][metric])['iter']
        for metric in ('psnr', 'ssim')
    }
    saved = {int(path.stem) for path in (folder / 'training_states').iterdir()}
    assert {5, 6} | best >= saved >= {5, 6} | best - {6}, log
    options['train']['total_iter'], options['train']['stages'][2]['iters'] = 7, 3
    stock.ok('sdakd train', options, '--auto_resume')
    assert {6, 7} <= {int(path.stem) for path in (folder / 'training_states').iterdir()}


class FullDisk(io.FileIO):
    """A file of a disk on which there is room for names, and for a few bytes at a time where ``room`` says so."""

    room = 0

    def write(self, data):
        if memoryview(data).nbytes > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


def with_full_disk(arguments):
    """``sdakd`` where the folder ``experiments`` takes nothing but its log and the option file."""

    def full(path, mode='r', *args, **kwargs):
        here = isinstance(path, (str, os.PathLike)) and 'experiments' in Path(path).absolute().parts
        if not here or mode[0] not in 'wx' or str(path).endswith(('.log', '.yml')):
            return opened(path, mode, *args, **kwargs)
        raw = io.BufferedWriter(FullDisk(path, mode.replace('b', '')))
        return raw if 'b' in mode else io.TextIOWrapper(raw)

    opened, builtins.open, io.open = io.open, full, full
    from sdakd_plugin.cli import main

    return main(arguments)


def test_torch_does_not_hide_why_a_file_cannot_be_written(tmp_path, monkeypatch):
    from sdakd_plugin import weights

    monkeypatch.setattr(FullDisk, 'room', io.DEFAULT_BUFFER_SIZE)  # closing, which writes the rest, does not fail too
    monkeypatch.setattr(
        'sdakd_plugin.weights.files.open', lambda path, mode: io.BufferedWriter(FullDisk(path, 'x')), raising=False
    )
    with pytest.raises(OSError, match='No space left on device'):
        weights.atomic_save({'weight': torch.rand(100, 100)}, tmp_path / 'x.pth')
    assert not list(tmp_path.iterdir())


def test_the_summary_of_a_run_with_a_full_disk(stock, options):
    done = stock.run('sdakd train', options, function=f'{__name__}:with_full_disk')
    text = done.stdout + done.stderr
    assert done.returncode == 0 and 'Traceback' not in text, text
    assert 'enforce fail' not in text and 'no such file' not in text
    fallback_folder = Path(re.search(r'cannot be saved in \S+ \(No space left on device\); it is in (\S+)\. ', text)[1])
    student = re.search(r'^Student: (.*)$', text, re.MULTILINE)[1]
    assert (stock.folder / student).samefile(fallback_folder / 'models/net_g_latest.pth')
    assert 'psnr' in done.stdout
    assert re.search(r'^Neither tables nor picture can be written in .*: No space left on device$', done.stdout, re.M)
    shutil.rmtree(fallback_folder)


def test_a_run_whose_disk_is_full(stock, options):
    """The folder of the training states becomes a file behind the program's back."""
    del options['val']
    stock.ok('sdakd train', options)
    states = stock.folder / 'experiments/run/training_states'
    for name in ('4', '6'):
        (states / f'{name}.state').unlink()
    (states / '4.state').mkdir()  # the name is taken, and cannot be replaced by a file
    (states / '6.state').mkdir()
    fallback_folder = Path(tempfile.mkdtemp())  # the loader's workers have sockets there, whose paths must be short
    log = stock.ok('sdakd train', options, '--auto_resume', env={'TMPDIR': str(fallback_folder)})
    assert log.count('The checkpoint cannot be saved in') == 2 and 'iter:       6' in log
    (saved,) = fallback_folder.glob('sdakd_checkpoints_*')
    assert {path.name for path in (saved / 'training_states').iterdir()} == {'4.state', '6.state'}
    shutil.rmtree(fallback_folder)
