"""One part of a trial, in a process of its own: a card that fails there, or a setting, does not reach the others.

    python -m benchmarks.gpu.part NAME FOLDER  # reads FOLDER/trial.json, writes FOLDER/NAME.json
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import basicsr  # noqa: F401  # first: it registers the plugin, whose modules need it whole

from benchmarks.gpu.trial import Trial
from benchmarks.step.options import ROOT

PATIENCE = 40  # seconds after the trial's end for a part that is ending


def main(name: str, folder: str) -> None:
    """Run the part of that name."""
    trial = Trial(**json.loads(Path(folder, 'trial.json').read_text()))
    found = import_module(f'benchmarks.gpu.{name}').run(trial)
    Path(folder, f'{name}.json').write_text(json.dumps(asdict(found)))


def result(name: str, trial: Trial) -> dict[str, Any]:
    """What a part finds: the fields of ``Found``, ``seconds``, and ``failed``, the reason where it does not end well.
    What it prints is in ``NAME.log``."""
    work, begun, reason = Path(trial.work), time.time(), None
    (work / f'{name}.json').unlink(missing_ok=True)
    if trial.left < 5:
        return {'seconds': 0.0, 'failed': 'no time was left'}
    path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    with (work / f'{name}.log').open('w') as log:
        try:
            code = subprocess.run(
                [sys.executable, '-m', 'benchmarks.gpu.part', name, trial.work],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, 'PYTHONPATH': path},
                timeout=trial.left + PATIENCE,
            ).returncode
        except subprocess.TimeoutExpired:
            code, reason = None, 'it was not finished when the time was over'
    seconds = round(time.time() - begun, 1)
    if code == 0:
        return {'seconds': seconds, 'failed': None, **json.loads((work / f'{name}.json').read_text())}
    lines = (work / f'{name}.log').read_text().strip().splitlines() or ['nothing was printed']
    return {'seconds': seconds, 'failed': reason or f'exit code {code}: {lines[-1]}'}


if __name__ == '__main__':
    main(*sys.argv[1:])
