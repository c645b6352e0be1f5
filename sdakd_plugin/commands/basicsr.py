"""``sdakd train`` and ``sdakd test``: stock BasicSR with its folders under the current one, and a summary."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdakd_plugin.errors import UserError


def train(arguments: Sequence[str]) -> None:
    """Stock training, which resumes exactly and saves itself on signals; then the summary and the report.

    Raises:
        Interrupted: by SIGINT or SIGTERM.
    """
    _look_at_options(arguments)
    from sdakd_plugin.resume.training import train

    opt = train(arguments, os.getcwd())
    if opt['rank'] == 0 and opt.get('val'):
        from sdakd_plugin.evaluation.run_summary import summarise
        from sdakd_plugin.resume.run_position import begun
        from sdakd_plugin.stock.silence import quiet

        print('Comparing bicubic, teacher and student ...', flush=True)
        position = begun()
        checkpoints = getattr(position and position.model, 'checkpoints', None)  # models of BasicSR have none
        models = checkpoints.folder('models') if checkpoints else Path(opt['path']['models'])
        try:
            with quiet():
                text = summarise(opt, models)
        except (OSError, RuntimeError) as error:  # such as images too large for the teacher's memory
            text = f'The training is complete, but the comparison could not be made: {error}'
        print(text)
    elif opt['rank'] == 0:
        print('Nothing is compared: the option file has no block val.')
    if opt['rank'] == 0:
        from sdakd_plugin.watching.page import write_report

        try:
            print(f'Report: {os.path.relpath(write_report(Path(opt["path"]["experiments_root"])))}')
        except OSError as error:
            print(f'The report cannot be written: {error}')


def test(arguments: Sequence[str]) -> None:
    """Stock testing; of a training's option file, the comparison that the training ends with, in ``results/NAME``."""
    if 'train' in _look_at_options(arguments):
        return _compare(arguments)
    from sdakd_plugin.stock.named_errors import with_image_names
    from sdakd_plugin.stock.pipelines import module, replaced

    stock = module('test', arguments)
    with replaced(stock, build_dataset=with_image_names(stock.build_dataset)):
        stock.test_pipeline(os.getcwd())


def _compare(arguments: Sequence[str]) -> None:
    from basicsr.utils.options import parse_options

    from sdakd_plugin.checks.option_file import is_ours
    from sdakd_plugin.checks.run import read_options
    from sdakd_plugin.evaluation.run_summary import student_file, summarise
    from sdakd_plugin.options import parse
    from sdakd_plugin.stock.pipelines import module
    from sdakd_plugin.stock.silence import quiet

    module('test', arguments)
    with quiet():
        opt, _ = read_options(parse_options.__wrapped__, os.getcwd(), is_train=True)
    path = arguments[list(arguments).index('-opt') + 1]
    if not is_ours(opt):
        raise UserError(f'-opt: {path} is for training, with model_type {opt["model_type"]}, which only BasicSR tests')
    models = Path(opt['path']['models'])
    for label, _ in parse(opt).students.values():
        if not student_file(models, label).is_file():
            raise UserError(f'-opt: {path}: there is no {student_file(models, label)} yet: sdakd train -opt {path}')
    folder = Path('results', opt['name'])
    folder.mkdir(parents=True, exist_ok=True)
    with quiet():
        text = summarise(opt, models, folder)
    print(text)


def _look_at_options(arguments: Sequence[str]) -> dict[str, Any]:
    """Raise a UserError where the option file cannot be read, before BasicSR raises something else."""
    from sdakd_plugin.checks.option_file import read_yaml

    return read_yaml(arguments[list(arguments).index('-opt') + 1]) if '-opt' in arguments[:-1] else {}
