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


@pytest.mark.long
def test_the_commands_need_nothing_of_linux(options, tmp_path, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', python_path(LIKE_WINDOWS, ROOT))
    options['datasets']['train']['num_worker_per_gpu'] = 1
    (tmp_path / 'opt.yml').write_text(yaml.safe_dump(options, sort_keys=False))
    assert 'is fine' in on_another_system(tmp_path, 'check', '-opt', 'opt.yml')
    assert 'Comparing bicubic' in on_another_system(tmp_path, 'train', '-opt', 'opt.yml')
    picture = next((tmp_path / 'experiments').rglob('comparison.png'))
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
