"""``docs/tutorial.md`` and its notebook are followed as printed, with a small teacher and a few iterations."""

import json
import os
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
import requests

from tests.helpers.paths import ROOT, python_path

PAGE = (ROOT / 'docs/tutorial.md').read_text(encoding='utf-8')
NOTEBOOK = json.loads((ROOT / 'examples/notebook/sdakd_plugin.ipynb').read_text(encoding='utf-8'))
BLOCK = re.compile(r'^<!-- run( until it serves)? -->\n```(bash|python)\n(.+?)^```$', re.DOTALL | re.MULTILINE)
CODE = [''.join(cell['source']) for cell in NOTEBOOK['cells'] if cell['cell_type'] == 'code']
PROGRAMS = {'bash': ['bash', '-euo', 'pipefail', '-c'], 'python': [sys.executable, '-c']}


@pytest.fixture
def reader(tmp_path, small_teacher, alexnet):
    """The arguments of a process in an empty folder, in which ``sdakd`` is that of ``tests/helpers/hurried.py``."""
    programs, folder = tmp_path / 'bin', tmp_path / 'evening'
    programs.mkdir()
    folder.mkdir()
    (programs / 'sdakd').write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tests.helpers.hurried "$@"\n')
    (programs / 'sdakd').chmod(0o755)
    given = {'TEACHER': str(small_teacher / 'net_g.pth'), 'ALEXNET': str(alexnet), 'PYTHONPATH': python_path(ROOT)}
    path = os.pathsep.join([str(programs), os.environ['PATH']])
    return {'cwd': folder, 'text': True, 'env': {**os.environ, **given, 'PATH': path, 'OMP_NUM_THREADS': '1'}}


def done(command, reader):
    ended = subprocess.run(command, capture_output=True, timeout=500, **reader)
    assert ended.returncode == 0, (command, ended.stdout + ended.stderr)
    return ended.stdout


def assert_served(command, reader):
    """The command serves a page at the address that it prints."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, **reader) as process:
        try:
            address = re.search(r'http://127\.0\.0\.1:\d+/', process.stdout.readline())[0]
            assert '<html' in requests.get(address, timeout=30).text
        finally:
            process.kill()


def assert_led_to_an_app(folder):
    """The run has its comparison, and the exported file enlarges as the student does, but for its 8 bits."""
    rows = json.loads((folder / 'experiments/my/summary.json').read_text())['held_out']
    assert {'bicubic', 'teacher', 'student'} <= {row['method'] for row in rows}
    mine, app = (cv2.imread(str(folder / name)).astype(float) for name in ('mine.png', 'app.png'))
    assert mine.shape == (512, 512, 3)
    assert 20 * np.log10(255 / np.sqrt(np.mean((mine - app) ** 2))) > 35  # dB


@pytest.mark.long
def test_the_tutorial_leads_from_photographs_to_an_app(reader):
    blocks = BLOCK.findall(PAGE)
    assert len(blocks) == len(re.findall('^<!-- run', PAGE, re.MULTILINE)) == PAGE.count('```') // 2 > 6
    for serves, language, code in blocks:
        if serves:
            assert_served(f'exec {code.strip()} --port 0', {**reader, 'shell': True})
        else:
            done([*PROGRAMS[language], code], reader)
    assert_led_to_an_app(reader['cwd'])
    assert (reader['cwd'] / 'results/compare/compare.html').is_file()


def plain(cell):
    """A cell in plain Python; what it installs is there already."""
    if '!pip' in cell:
        return ''
    return re.sub(r'^!(.+)$', r'subprocess.run(f"""\1""", shell=True, check=True)', cell, flags=re.MULTILINE)


@pytest.mark.long
def test_the_notebook_leads_from_photographs_to_an_app(reader):
    done([sys.executable, '-c', '\n'.join(['import subprocess', *map(plain, CODE)])], reader)
    assert_led_to_an_app(reader['cwd'])


def test_the_notebook_is_valid_and_holds_no_output():
    assert NOTEBOOK['nbformat'] == 4 and NOTEBOOK['nbformat_minor'] >= 5
    identities = [cell['id'] for cell in NOTEBOOK['cells']]
    assert len(set(identities)) == len(identities) and all(re.fullmatch('[a-zA-Z0-9_-]{1,64}', i) for i in identities)
    for cell in NOTEBOOK['cells']:
        more = {'outputs', 'execution_count'} if cell['cell_type'] == 'code' else set()
        assert cell.keys() == {'cell_type', 'id', 'metadata', 'source'} | more
        assert not cell.get('outputs') and cell.get('execution_count') is None
    assert CODE[0].startswith('REPOSITORY = ')
