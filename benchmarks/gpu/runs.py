"""Whole runs of ``sdakd train``: resumed exactly, in two processes over NCCL, and for as long as there is time."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.recipes import compact
from benchmarks.gpu.trial import Found, Trial, deterministic, environment, last_line
from sdakd_plugin.cli import main

SDAKD, DETERMINISTIC = ('-m', 'sdakd_plugin.cli'), ('-m', 'benchmarks.gpu.runs')
TORCHRUN = ('-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2')
SAVING = 20  # seconds before the end, when a run is asked to save itself
MARGIN = 4  # times the difference of two uninterrupted runs, which is 0 if all algorithms are deterministic


def resume(trial: Trial) -> Found:
    """Train at once; then as if that run had been stopped, and resumed; and, if they differ, at once again."""
    batch, size, stages = (1, 64, (1, 1, 2)) if trial.small else (8, 128, (4, 4, 6))
    file, folder = compact(trial, 'resume', batch, size, stages, every=1)
    stop = sum(stages) - stages[-1] // 2
    whole = trained(trial, file, folder, sum(stages))
    for path in folder.glob('*/*'):
        number = re.search(r'(\d+)\.(pth|state)$', path.name)
        if (number and int(number[1]) > stop) or path.name.endswith('latest.pth'):
            path.unlink()
    resumed = difference(trained(trial, file, folder, sum(stages), '--auto_resume'), whole)
    again = difference(trained(trial, file, folder, sum(stages)), whole) if resumed else 0.0
    note = f'{len(whole)} tensors of the last checkpoint differ by at most {resumed:.1e} where the run was resumed'
    note += f', and by {again:.1e} where it was repeated.' if resumed else ': it is exact.'
    wrong = [f'a resumed run differs by {resumed:.1e}, a repeated one by {again:.1e}'] * (resumed > MARGIN * again)
    return Found(notes=[note], surprises=wrong, numbers={'resumed': resumed, 'repeated': again})


def trained(trial: Trial, file: str, folder: Path, last: int, *more: str) -> dict[str, torch.Tensor]:
    """Train by deterministic algorithms; all tensors of the checkpoint of the last iteration, by name."""
    if not more:
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier run
    sdakd(trial, *DETERMINISTIC, 'train', '-opt', file, *more)
    files = sorted(folder.glob(f'*/*{last}.*'))
    return {
        f'{path.name}{name}': tensor for path in files for name, tensor in tensors(torch.load(path, weights_only=True))
    }


def tensors(tree: Any, name: str = '') -> list[tuple[str, torch.Tensor]]:
    """The tensors of a tree that are not empty, with their names."""
    if isinstance(tree, torch.Tensor):
        return [(name, tree.cpu().double())] * bool(tree.numel())
    branches = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, (list, tuple)) else ()
    return [found for key, inner in branches for found in tensors(inner, f'{name}/{key}')]


def difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The largest difference of two checkpoints; infinite if they do not have the same tensors."""
    same = one and one.keys() == other.keys()
    return max(float((one[key] - other[key]).abs().max()) for key in one) if same else float('inf')


def processes(trial: Trial) -> Found:
    """The images per second of a short run in one process and in two."""
    cards = torch.cuda.device_count() if trial.device == 'cuda' else 0
    if cards < 2:
        return Found(notes=[f'Not tried: NCCL needs two cards, and there {"is one" if cards else "are none"}.'])
    speeds = []
    for name, command, more in (('one', SDAKD, ()), ('two', (*TORCHRUN, *SDAKD), ('--launcher', 'pytorch'))):
        # BasicSR's average starts anew after 201 iterations: the last line is without those in which much is set up
        file, folder = compact(trial, f'process_{name}', 8, 128, (4, 4, 292), every=100)
        shutil.rmtree(folder, ignore_errors=True)
        log = sdakd(trial, *command, 'train', '-opt', file, *more)
        speeds.append(float(re.findall(r'images_per_second: ([\d.]+)', log)[-1]))
    note = f'Images per second: {speeds[0]:.1f} in one process, {speeds[1]:.1f} in two.'
    return Found(
        notes=[note], surprises=[f'two cards gain little: {note}'] * (speeds[1] < 1.5 * speeds[0]), numbers=speeds
    )


def sdakd(trial: Trial, *command: str) -> str:
    """Run Python in the folder of the trial; what it prints. A RuntimeError has the last line of one that fails."""
    settings: dict[str, Any] = {'cwd': trial.work, 'env': environment(), 'timeout': max(1, trial.left)}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, **settings)
    if done.returncode:
        print(done.stdout, done.stderr)  # into the part's log
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise RuntimeError(lines[-1] if lines else f'exit code {done.returncode}, and nothing was printed')
    return done.stdout + done.stderr


def training(trial: Trial) -> Found:
    """Train until shortly before the end, or go on with the training of an earlier trial."""
    if trial.left < 2 * SAVING:
        late = 'not begun, as there was no time; `--only training` begins'
        return Found(notes=[late], surprises=[late], numbers={'saved': 0})
    batch, size, stages, every = (2, 64, (40, 10, 10), 20) if trial.small else (12, 256, (8000, 1000, 3000), 500)
    file, folder = compact(trial, f'training{"_small" * trial.small}', batch, size, stages, every, validate=True)
    log = Path(trial.work, 'training.out')
    with log.open('w') as out:
        command = [sys.executable, *SDAKD, 'train', '-opt', file, '--auto_resume']
        process = subprocess.Popen(command, cwd=trial.work, env=environment(), stdout=out, stderr=out)
        try:
            process.wait(max(1, trial.left - SAVING))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # it saves itself
        try:
            process.wait(SAVING + 10)
        finally:
            process.kill()
    entries = json.loads((folder / 'validations.json').read_text()) if (folder / 'validations.json').exists() else []
    rows = [{'iteration': e['iter'], 'stage': e['stage'], 'PSNR': f'{e["metrics"]["psnr"]:.2f} dB'} for e in entries]
    psnr = [entry['metrics']['psnr'] for entry in entries]
    saved = max((int(path.stem) for path in folder.glob('training_states/*.state')), default=0)
    found = Found([rows], [f'{saved:,} of {sum(stages):,} iterations, {batch} crops of {size}x{size} each.'])
    if saved < sum(stages):
        found.notes.append('`--only training` goes on.')
    if process.returncode not in (0, 128 + signal.SIGINT):
        found.surprises.append(f'exit code {process.returncode}: {last_line(log)}')
    if len(psnr) > 1 and max(psnr[1:]) <= psnr[0]:
        found.surprises.append(f'PSNR has not risen above the {psnr[0]:.2f} dB before training')
    found.numbers = {'saved': saved, 'total': sum(stages), 'validations': entries}
    return found


if __name__ == '__main__':
    deterministic()
    sys.exit(main())
