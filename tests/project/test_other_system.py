import subprocess
import sys

import pytest
import yaml

from tests.helpers.paths import LIKE_WINDOWS, ROOT, python_path


def on_another_system(folder, *arguments):
    command = [sys.executable, '-m', 'sdakd_plugin', *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=300)
    assert done.returncode == 0 and 'Traceback' not in done.stderr, done.stdout + done.stderr
    return done.stdout + done.stderr


LACKING = """
import multiprocessing, os, signal
from pathlib import Path
from torch.utils.data._utils import signal_handling

def works(function, argument):
    try:
        return function(argument) is not None
    except (ImportError, OSError, ValueError):
        return False

if __name__ == '__main__':
    print([name for name in ('fork', 'getuid', 'killpg', 'sched_getaffinity') if hasattr(os, name)])
    print([name for name in ('SIGCHLD', 'SIGHUP', 'SIGKILL', 'SIGUSR1', 'alarm') if hasattr(signal, name)])
    print([name for name in ('fcntl', 'resource', 'termios') if works(__import__, name)])
    print([path for path in ('/proc/meminfo', '/proc/self/status') if Path(path).exists() or works(open, path)])
    print([method for method in ('fork', 'forkserver') if works(multiprocessing.get_context, method)])
    print(multiprocessing.get_start_method(allow_none=True), multiprocessing.get_start_method())
    signal_handling._set_SIGCHLD_handler()
"""


def test_a_process_lacks_what_windows_lacks(tmp_path, monkeypatch):
    (tmp_path / 'program.py').write_text(LACKING)
    monkeypatch.setenv('PYTHONPATH', python_path(LIKE_WINDOWS))
    done = subprocess.run([sys.executable, 'program.py'], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ['[]'] * 5 + ['None spawn']


@pytest.mark.long
def test_the_commands_need_nothing_of_linux(options, photos, tmp_path, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', python_path(LIKE_WINDOWS, ROOT))
    options['datasets']['train']['num_worker_per_gpu'] = 1
    (tmp_path / 'opt.yml').write_text(yaml.safe_dump(options, sort_keys=False))
    assert 'is fine' in on_another_system(tmp_path, 'check', '-opt', 'opt.yml')
    assert 'Comparing bicubic' in on_another_system(tmp_path, 'train', '-opt', 'opt.yml')
    assert list((tmp_path / 'experiments').rglob('comparison.png'))
    picture = photos / 'HR/coffee.png'
    assert '1 of 1' in on_another_system(
        tmp_path, 'upscale', picture, 'x.png', '--model', 'sdakd_nano_x4', '--tile', 64
    )
    assert 'student' in on_another_system(tmp_path, 'test', '-opt', 'opt.yml')
    student = next((tmp_path / 'experiments').rglob('net_g_latest.pth'))
    assert (
        'bicubic'
        in on_another_system(
            tmp_path, 'compare', '--gt', picture, '--model', f'mine={student}', '--out', 'compared'
        ).lower()
    )
    assert 'parameters' in on_another_system(tmp_path, 'report', '--student', student, '--size', 16, '--repeat', 1)
    on_another_system(tmp_path, 'export', student, '--format', 'onnx', '--out', 'mine.onnx')
    assert (tmp_path / 'mine.onnx').is_file()
    ablation = ['--seeds', 1, '--arms', 'stock', '--out', 'ablation']
    options['ablate'] = {}
    (tmp_path / 'opt.yml').write_text(yaml.safe_dump(options, sort_keys=False))
    assert 'stock' in on_another_system(tmp_path, 'ablate', '-opt', 'opt.yml', *ablation)
