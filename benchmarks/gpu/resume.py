"""A run that was stopped and resumed ends as an uninterrupted one: ``sdakd train``, deterministic as far as can be."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.recipes import compact, written
from benchmarks.gpu.trial import Found, Trial, deterministic, float32
from benchmarks.step.options import ROOT
from sdakd_plugin.cli import main

NAME = 'resume'


def run(trial: Trial) -> Found:
    """Train at once; then as if the run had been stopped, and resumed; and at once again, if they differ."""
    work = Path(trial.work)
    batch, size, stages = (2, 64, (1, 1, 2)) if trial.small else (8, 128, (4, 4, 6))
    stop = sum(stages) - stages[-1] // 2  # in the last stage
    opt = compact(trial, NAME, batch, size, stages, print_freq=1, save_checkpoint_freq=1, keep_last=None)
    opt['queue_size'] = 2 * batch  # of the degradation's pool, which is saved
    opt['datasets']['train']['num_worker_per_gpu'] = 1
    del opt['val'], opt['datasets']['val']
    file, folder = written(opt, work), work / f'experiments/{NAME}'
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier trial
    whole = trained(trial, file, folder, sum(stages))
    for path in folder.glob('*/*'):
        number = re.search(r'(\d+)\.(pth|state)$', path.name)
        if (number and int(number[1]) > stop) or path.name.endswith('latest.pth'):
            path.unlink()
    resumed = difference(trained(trial, file, folder, sum(stages), '--auto_resume'), whole)
    if not resumed:
        return Found(notes=[f'Exact: {len(whole)} tensors are equal, bit for bit.'], numbers={'resumed': 0.0})
    shutil.rmtree(folder)
    again = difference(trained(trial, file, folder, sum(stages)), whole)
    note = f'Largest difference of a weight or moment: {resumed:.1e} resumed, {again:.1e} trained at once again.'
    wrong = [f'resume: a resumed run differs by {resumed:.1e}, two uninterrupted ones by {again:.1e}']
    return Found(notes=[note], surprises=wrong if resumed > 4 * again else [], numbers=dict(resumed=resumed, again=again))


def trained(trial: Trial, file: str, folder: Path, last: int, *more: str) -> dict[str, torch.Tensor]:
    """Train in a process of its own; all tensors of the last checkpoint by name.

    Raises:
        RuntimeError: the training fails; with the last line that it printed.
    """
    run_sdakd([sys.executable, '-m', 'benchmarks.gpu.resume', 'train', '-opt', file, *more], trial)
    return {
        f'{path.name}/{name}': tensor
        for path in sorted(folder.glob(f'*/*{last}.*'))
        for name, tensor in tensors(torch.load(path, map_location='cpu', weights_only=True))
    }


def run_sdakd(command: list[str], trial: Trial) -> str:
    """Run a command in the trial's folder until its time is over, and return what it prints."""
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])}
    done = subprocess.run(
        command, cwd=trial.work, env=environment, capture_output=True, text=True, timeout=max(1, trial.left)
    )
    if done.returncode:
        raise RuntimeError(f'{" ".join(command[1:4])} fails: {(done.stderr or done.stdout).strip().splitlines()[-1]}')
    return done.stdout + done.stderr


def tensors(tree: Any, name: str = '') -> list[tuple[str, torch.Tensor]]:
    """The tensors of a tree, with their names."""
    if isinstance(tree, torch.Tensor):
        return [(name, tree)]
    branches = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, (list, tuple)) else ()
    return [found for key, inner in branches for found in tensors(inner, f'{name}/{key}')]


def difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The largest difference of two checkpoints; infinite where they do not have the same tensors, or none."""
    if not one or one.keys() != other.keys():
        return float('inf')
    return max(float((one[key].double() - other[key].double()).abs().max()) for key in one if one[key].numel())


if __name__ == '__main__':
    deterministic()
    float32()
    sys.exit(main())
