"""BasicSR's training with exact resuming, also without CUDA, and with saving on SIGINT and SIGTERM."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from sdakd_plugin.resume.interruption import Interruption
from sdakd_plugin.resume.run_position import RunPosition, begun
from sdakd_plugin.resume.training_state import load_resume_state
from sdakd_plugin.stock.named_errors import with_image_names
from sdakd_plugin.stock.pipelines import guarded, message_logger, module, replaced


def train(arguments: Sequence[str], root: str) -> dict[str, Any]:
    """Run BasicSR's ``train_pipeline``.

    Args:
        arguments: command-line arguments of BasicSR's ``train.py``.
        root: the folder that contains ``experiments/`` and ``tb_logger/``.

    Returns:
        The options of the run, as returned by BasicSR's ``parse_options``.

    Raises:
        Interrupted: one of the signals has ended the run.
    """
    stock = module('train', arguments)
    seen: list[dict[str, Any]] = []
    position = RunPosition()  # until the run begins, or for a model of another package
    interruption = Interruption(lambda: position.outlook())
    parse_options, build_model = stock.parse_options, stock.build_model

    def parse(*args: Any, **kwargs: Any) -> Any:
        nonlocal position
        opt, rest = parse_options(*args, **kwargs)
        position = begun() or position
        interruption.patient, position.interruption = opt['dist'], interruption
        seen.append(deepcopy(opt))
        return opt, rest

    def build(opt: dict[str, Any]) -> Any:
        position.model = build_model(opt)
        return position.model

    with (
        replaced(
            stock,
            parse_options=parse,
            build_model=build,
            load_resume_state=load_resume_state,
            build_dataset=with_image_names(stock.build_dataset),
            init_tb_loggers=guarded(stock.init_tb_loggers),
            MessageLogger=message_logger(stock.MessageLogger),
        ),
        interruption.watch(),
    ):
        stock.train_pipeline(root)
    return seen[0]
