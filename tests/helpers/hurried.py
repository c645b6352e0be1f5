"""``sdakd`` for a reader in a hurry: ``sdakd init`` takes the teacher and the backbone that the environment names, and
its file trains for a few iterations, with pictures."""

import os
import re
import sys
from pathlib import Path

from sdakd_plugin.cli import main

ITERATIONS = 6


def hurry(path):
    text = re.sub(r'(iters: |total_iter: |periods: \[)\d+', rf'\g<1>{ITERATIONS}', path.read_text())
    path.write_text(text.replace('save_img: false', 'save_img: true'))


if __name__ == '__main__':
    arguments, is_init = sys.argv[1:], sys.argv[1] == 'init'
    if is_init:
        arguments += ['--teacher', os.environ['TEACHER'], '--lpips', os.environ['ALEXNET']]
    code = main(arguments)
    if is_init and code == 0:
        hurry(Path('my.yml'))
    sys.exit(code)
