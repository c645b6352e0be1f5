"""``sdakd train`` and ``sdakd test``: stock BasicSR with its folders under the current one, and a summary."""
from __future__ import annotations

import os
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any


def train(arguments: Sequence[str]) -> None:
    """Stock training as ``train_alone``; then the summary.

    Raises:
        Interrupted: by SIGINT or SIGTERM.
    """
    opt = train_alone(arguments, os.getcwd())
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


def train_alone(arguments: Sequence[str], root: str) -> dict[str, Any]:
    """Stock training, which resumes without CUDA too, and exactly, and saves itself on SIGINT and SIGTERM.

    Args:
        arguments: BasicSR's.
        root: the folder of ``experiments/`` and ``tb_logger/``.

    Returns:
        The run's options, as BasicSR's ``parse_options`` returned them.

    Raises:
        Interrupted: by one of the signals.
    """
    stock = _stock('train', arguments)
    from sdakd_plugin.resume.interruption import Interruption
    from sdakd_plugin.resume.run_position import RunPosition, begun
    from sdakd_plugin.resume.training_state import load_resume_state
    from sdakd_plugin.stock.named_errors import with_image_names
    from sdakd_plugin.stock.pipelines import message_logger, replaced
    seen: list[dict[str, Any]] = []
    position = RunPosition()  # of a model that is not this plugin's, or until the run begins
    interruption = Interruption(lambda: position.outlook())
    parse_options, build_model = stock.parse_options, stock.build_model

    def remember(*args: Any, **kwargs: Any) -> Any:
        nonlocal position
        opt, rest = parse_options(*args, **kwargs)
        position = begun() or position
        interruption.patient, position.interruption = opt['dist'], interruption
        seen.append(deepcopy(opt))
        return opt, rest

    def build(opt: dict[str, Any]) -> Any:
        position.model = build_model(opt)
        return position.model

    with replaced(stock, parse_options=remember, build_model=build, load_resume_state=load_resume_state,
                  build_dataset=with_image_names(stock.build_dataset),
                  MessageLogger=message_logger(stock.MessageLogger)), \
            interruption.watch():
        stock.train_pipeline(root)
    return seen[0]


def test(arguments: Sequence[str]) -> None:
    """Stock testing."""
    stock = _stock('test', arguments)
    from sdakd_plugin.stock.named_errors import with_image_names
    from sdakd_plugin.stock.pipelines import replaced
    with replaced(stock, build_dataset=with_image_names(stock.build_dataset)):
        stock.test_pipeline(os.getcwd())


def _stock(name: str, arguments: Sequence[str]) -> Any:
    """BasicSR's ``train`` or ``test`` module, after a look at the option file."""
    from sdakd_plugin.checks.option_file import read_yaml
    from sdakd_plugin.stock.pipelines import module
    if '-opt' in arguments[:-1]:
        read_yaml(arguments[list(arguments).index('-opt') + 1])
    return module(name, arguments)
