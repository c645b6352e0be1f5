"""Two processes train one model over NCCL, where there are two cards."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import torch

from benchmarks.gpu.recipes import compact, written
from benchmarks.gpu.resume import run_sdakd
from benchmarks.gpu.trial import Found, Trial

NAME, STAGES = 'processes', (20, 20, 20)


def run(trial: Trial) -> Found:
    """A short run by torchrun, and the same in one process: iterations per second at the end."""
    cards = torch.cuda.device_count() if trial.device == 'cuda' else 0
    if cards < 2:
        return Found(notes=[f'Not tried: NCCL needs two cards, and there {"is one" if cards == 1 else "is none"}.'])
    speeds = {count: speed(trial, count) for count in (1, 2)}
    note = 'Images per second: {1:.1f} in one process, {2:.1f} in two.'.format(*[0, *speeds.values()])
    slow = [f'processes: two cards reach {speeds[2] / speeds[1]:.2f} times the speed of one'] * (
        speeds[2] < 1.2 * speeds[1]
    )
    return Found(notes=[note], surprises=slow, numbers=speeds)


def speed(trial: Trial, count: int) -> float:
    """Images per second that a run with so many processes logs last."""
    opt = compact(trial, f'{NAME}_{count}', 8, 128, STAGES, print_freq=10, save_checkpoint_freq=10**6)
    opt['num_gpu'] = count
    del opt['val'], opt['datasets']['val']
    file = written(opt, Path(trial.work))
    shutil.rmtree(Path(trial.work, f'experiments/{opt["name"]}'), ignore_errors=True)  # of an earlier trial
    many = ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={count}'] if count > 1 else []
    launcher = ['--launcher', 'pytorch'] if count > 1 else []
    log = run_sdakd([sys.executable, *many, '-m', 'sdakd_plugin.cli', 'train', '-opt', file, *launcher], trial)
    return float(re.findall(r'images_per_second: ([\d.]+)', log)[-1])
