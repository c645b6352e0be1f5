"""A real training of the small compact student for the time that is left, which the next trial goes on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.gpu.recipes import compact, written
from benchmarks.gpu.trial import Found, Trial
from benchmarks.step.options import ROOT
from sdakd_plugin.evaluation.table import Row

SAVING = 20  # seconds before the end, when the run is asked to save itself


def run(trial: Trial) -> Found:
    """``sdakd train --auto_resume`` until the time is over; the metrics of all slices so far."""
    work = Path(trial.work)
    sizes = (2, 64, (40, 10, 10)) if trial.small else (12, 256, (8000, 1000, 3000))
    often = 20 if trial.small else 500
    opt = compact(trial, f'training{"_small" * trial.small}', *sizes, print_freq=often, save_checkpoint_freq=often)
    opt['val']['val_freq'] = often
    if not trial.small and torch.cuda.is_bf16_supported(including_emulation=False):
        opt['train'].update(amp=dict.fromkeys(('teacher', 'student'), 'bfloat16'), channels_last=True)
    folder = work / 'experiments' / opt['name']
    code, last_line = slice_of(written(opt, work), trial, work / 'training.out')
    metrics = folder / 'validations.json'
    entries = json.loads(metrics.read_text()) if metrics.exists() else []
    rows: list[Row] = [{'iteration': entry['iter'], 'stage': entry['stage'], **shown(entry['metrics'])} for entry in entries]
    saved = max((int(path.stem) for path in folder.glob('training_states/*.state')), default=0)
    total = opt['train']['total_iter']
    note = f'{saved:,} of {total:,} iterations are trained, {sizes[0]} crops of {sizes[1]}x{sizes[1]} each.'
    if saved < total:
        note += ' The next trial, or `--only training`, goes on.'
    found = Found(tables=[rows] if rows else [], notes=[note], numbers={'saved': saved, 'total': total, 'metrics': entries})
    if code not in (0, 128 + signal.SIGINT):
        found.surprises.append(f'training: exit code {code}: {last_line}')
    psnr = [entry['metrics']['psnr'] for entry in entries]
    if len(psnr) > 1 and max(psnr[1:]) <= psnr[0]:
        found.surprises.append(f'training: PSNR has not risen above the {psnr[0]:.2f} dB before training')
    return found


def shown(metrics: dict[str, float]) -> dict[str, str]:
    return {name: f'{value:.3f}' for name, value in metrics.items()}


def slice_of(file: str, trial: Trial, log: Path) -> tuple[int, str]:
    """Train until shortly before the end, then interrupt the run, which saves itself; exit code and last line."""
    command = [sys.executable, '-m', 'sdakd_plugin.cli', 'train', '-opt', file, '--auto_resume']
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])}
    with log.open('w') as out:
        process = subprocess.Popen(command, cwd=trial.work, env=environment, stdout=out, stderr=subprocess.STDOUT)
        try:
            process.wait(max(1, trial.left - SAVING))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(3 * SAVING)
        finally:
            process.kill()
    return process.returncode, (log.read_text().strip().splitlines() or [''])[-1]
