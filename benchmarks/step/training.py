"""A model in BasicSR's training loop, on the same batch in every iteration."""
from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from basicsr.models import build_model
from basicsr.utils import get_root_logger
from torch import Tensor

from benchmarks.step.options import FOREVER, Options


class Training:
    """``training()`` is an iteration that prints nothing. The images are already where the model runs, as with
    BasicSR's ``CUDAPrefetcher``.

    Args:
        opt: BasicSR's options.
        images: ``lq`` and ``gt``.
        stage: which of its stages the model is in, from 0.
    """

    def __init__(self, opt: Options, images: Mapping[str, Tensor], stage: int = 0) -> None:
        get_root_logger(log_level=logging.ERROR).setLevel(logging.ERROR)
        torch.manual_seed(0)
        self.model: Any = build_model(opt)
        self.images = images
        self.iteration = stage * FOREVER
        self.warmup = opt['train'].get('warmup_iter', -1)

    def __call__(self) -> None:
        self.iteration += 1
        self.model.update_learning_rate(self.iteration, warmup_iter=self.warmup)
        self.model.feed_data(self.images)
        self.model.optimize_parameters(self.iteration)

