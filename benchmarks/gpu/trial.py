"""What every part of a trial is told and finds, and the process of its own in which it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import basicsr  # noqa: F401  # first: it registers the plugin, whose modules need it whole
import torch

from benchmarks.step.options import ROOT
from sdakd_plugin.evaluation.table import Row

PATIENCE = 40  # seconds after the end of the trial, for a part that is ending
SMALL = 1, 32  # batch and gt_size of measurements on a CPU


@dataclass(frozen=True)
class Trial:
    """Attributes: device (``cuda`` or ``cpu``), photos (a folder), work (a folder for runs and logs), small (whether
    sizes are for a CPU), seconds (of the whole trial), until (its end, as ``time.time()``)."""

    device: str
    photos: str
    work: str
    small: bool
    seconds: float
    until: float

    @property
    def left(self) -> float:
        """Seconds until the end."""
        return self.until - time.time()


@dataclass
class Found:
    """Attributes: tables, notes (paragraphs), surprises (what should not be; a line each), numbers (for JSON)."""

    tables: Sequence[Sequence[Row]] = ()
    notes: list[str] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)
    numbers: Any = None


def result(module: str, function: str, trial: Trial) -> dict[str, Any]:
    """The fields of what a part finds, ``seconds``, and ``failed``: the reason where it did not end well."""
    work, begun = Path(trial.work), time.time()
    (work / 'trial.json').write_text(json.dumps(asdict(trial)))
    command = [sys.executable, '-m', 'benchmarks.gpu.trial', module, function, trial.work]
    with (work / f'{function}.log').open('w') as log:
        try:
            limit = trial.left + PATIENCE if trial.left > 0 else 0
            code = subprocess.run(command, stdout=log, stderr=log, env=environment(), timeout=limit).returncode
            failed = code and f'exit code {code}: {last_line(work / f"{function}.log")}'
        except subprocess.TimeoutExpired:
            failed = 'the time was over'
    found = {} if failed else json.loads((work / f'{function}.json').read_text())
    return {'seconds': round(time.time() - begun), 'failed': failed or None, **found}


def environment() -> dict[str, str]:
    """The environment of processes that import the benchmarks, wherever they run."""
    return {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])}


def last_line(log: Path) -> str:
    return (log.read_text().strip().splitlines() or ['nothing was printed'])[-1]


def tf32(on: bool) -> None:
    """Whether float32 may use TF32; by default, cuDNN's convolutions do."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = on


def deterministic() -> None:
    """Use float32 as such and deterministic algorithms where there are any; to be called before CUDA starts.

    BasicSR's ``train.py`` lets cuDNN choose its algorithms by their time, which varies; that has no effect then."""
    os.environ['CUBLAS_WORKSPACE_CONFIG'] = ':4096:8'
    torch.use_deterministic_algorithms(True, warn_only=True)
    setattr(type(torch.backends.cudnn), 'benchmark', property(lambda _: False, lambda _, wanted: None))  # noqa: B010
    tf32(False)


if __name__ == '__main__':
    module, function, folder = sys.argv[1:]
    told = Trial(**json.loads(Path(folder, 'trial.json').read_text()))
    found = getattr(import_module(f'benchmarks.gpu.{module}'), function)(told)
    Path(folder, f'{function}.json').write_text(json.dumps(asdict(found)))
