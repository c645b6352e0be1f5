"""``sdakd train`` and ``sdakd test``: stock BasicSR with its folders under the current one, and a summary."""
from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
        from sdakd_plugin.checks.run import quiet
        from sdakd_plugin.evaluation.run_summary import summarise
        from sdakd_plugin.resume import run_position
        print('Comparing bicubic, teacher and student ...', flush=True)
        checkpoints = getattr(run_position.current.model, 'checkpoints', None)  # models of BasicSR have none
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
    from sdakd_plugin.data.named_errors import with_image_names
    from sdakd_plugin.resume import run_position
    from sdakd_plugin.resume.interruption import Interruption
    from sdakd_plugin.resume.training_state import load_resume_state
    seen: list[dict[str, Any]] = []
    interruption = Interruption(lambda: run_position.current.outlook())
    parse_options, build_model = stock.parse_options, stock.build_model

    def remember(*args: Any, **kwargs: Any) -> Any:
        opt, rest = parse_options(*args, **kwargs)
        interruption.patient, run_position.current.interruption = opt['dist'], interruption
        seen.append(deepcopy(opt))
        return opt, rest

    def build(opt: dict[str, Any]) -> Any:
        model = run_position.current.model = build_model(opt)
        return model

    with replaced(stock, parse_options=remember, build_model=build, load_resume_state=load_resume_state,
                  build_dataset=with_image_names(stock.build_dataset),
                  MessageLogger=message_logger(stock.MessageLogger)), \
            interruption.watch():
        stock.train_pipeline(root)
    return seen[0]


def message_logger(stock: type[Any]) -> Callable[..., Any]:
    """BasicSR's ``MessageLogger``, which counts the iteration that has just ended as one to come, so that the last one
    has a remaining time of -1 day, 23:59:56."""
    def make(*args: Any, **kwargs: Any) -> Any:
        logger = stock(*args, **kwargs)
        logger.max_iters += 1
        return logger
    return make


@contextmanager
def replaced(module: Any, **names: Any) -> Iterator[None]:
    """Let a module's names mean something else inside the block."""
    before = {name: getattr(module, name) for name in names}
    vars(module).update(names)
    try:
        yield
    finally:
        vars(module).update(before)


def test(arguments: Sequence[str]) -> None:
    """Stock testing."""
    stock = _stock('test', arguments)
    from sdakd_plugin.data.named_errors import with_image_names
    with replaced(stock, build_dataset=with_image_names(stock.build_dataset)):
        stock.test_pipeline(os.getcwd())


def _stock(name: str, arguments: Sequence[str]) -> Any:
    """BasicSR's ``train`` or ``test`` module, with the arguments where it looks for them."""
    import basicsr  # noqa: F401

    from sdakd_plugin.checks.run import read_yaml
    sys.argv = [f'sdakd {name}', *arguments]
    if '-opt' in arguments[:-1]:
        read_yaml(arguments[list(arguments).index('-opt') + 1])
    return sys.modules[f'basicsr.{name}']
