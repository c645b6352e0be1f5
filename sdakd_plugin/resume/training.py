"""BasicSR's training, which resumes exactly, without CUDA too, and saves itself on SIGINT and SIGTERM."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from sdakd_plugin.resume.interruption import Interruption
from sdakd_plugin.resume.run_position import RunPosition, begun
from sdakd_plugin.resume.training_state import load_resume_state
from sdakd_plugin.stock.named_errors import with_image_names
from sdakd_plugin.stock.pipelines import message_logger, module, replaced


def train(arguments: Sequence[str], root: str) -> dict[str, Any]:
    """Run BasicSR's ``train_pipeline``.

    Args:
        arguments: those of its ``train.py``.
        root: the folder of ``experiments/`` and ``tb_logger/``.

    Returns:
        The run's options, as BasicSR's ``parse_options`` returned them.

    Raises:
        Interrupted: by one of the signals.
    """
    stock = module('train', arguments)
    seen: list[dict[str, Any]] = []
    position = RunPosition()  # of a model that is not this plugin's, or until the run begins
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
            MessageLogger=message_logger(stock.MessageLogger),
        ),
        interruption.watch(),
    ):
        stock.train_pipeline(root)
    return seen[0]
