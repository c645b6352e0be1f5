"""What every part of a trial is told, and what it finds."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from sdakd_plugin.evaluation.table import Row

SMALL = 1, 32  # batch and gt_size of measurements on a CPU


@dataclass(frozen=True)
class Trial:
    """What a part is told. Attributes: device (``cuda`` or ``cpu``), photos (a folder), work (a folder for runs and
    logs), small (whether to use sizes for a CPU), seconds (of the whole trial), until (its end, as ``time.time()``)."""

    device: str
    photos: str
    work: str
    small: bool
    seconds: float
    until: float

    @property
    def torch_device(self) -> torch.device:
        return torch.device(self.device)

    @property
    def left(self) -> float:
        """Seconds until the end."""
        return self.until - time.time()

    def has(self, share: float) -> bool:
        """Whether more than this share of the trial's time is left, for the parts that follow."""
        return self.left > share * self.seconds


@dataclass
class Found:
    """What a part finds. Attributes: tables, notes (paragraphs below them), surprises (what should not be; a line
    each), numbers (for JSON)."""

    tables: Sequence[Sequence[Row]] = ()
    notes: list[str] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)
    numbers: Any = None


def float32() -> None:
    """Compute float32 as such: by default, cuDNN's convolutions use TF32."""
    tf32(False)


def tf32(on: bool) -> None:
    """Whether convolutions and matrix products of float32 may use TF32."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = on


def deterministic() -> None:
    """Let this process use deterministic algorithms where there are any; to be called before CUDA starts.

    BasicSR's ``train.py`` lets cuDNN choose its algorithms by their time, which varies; here that has no effect."""
    os.environ['CUBLAS_WORKSPACE_CONFIG'] = ':4096:8'
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    type(torch.backends.cudnn).benchmark = property(lambda _: False, lambda _, wanted: None)  # type: ignore[assignment]
