"""Every option file trains: a few iterations of each stage on real photographs, with finite losses."""

from __future__ import annotations

import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.recipes import absent_weights, fitted
from benchmarks.gpu.sync import NONE, UNCHECKED, wait_in
from benchmarks.gpu.trial import Found, Trial
from benchmarks.step.options import ROOT
from sdakd_plugin.checks.dry_run import first_batch, iteration_to_try
from sdakd_plugin.checks.option_file import read_yaml
from sdakd_plugin.checks.run import check
from sdakd_plugin.data.published import completed
from sdakd_plugin.evaluation.table import Row
from sdakd_plugin.recipe.measurement import repeated
from sdakd_plugin.stock.silence import quiet

SHARE = 0.3  # of the trial's time, which is left to what follows


def run(trial: Trial) -> Found:
    """A line for each file; a file that fails is a surprise, one that lacks weights is not."""
    found = Found(tables=[rows := []])
    torch.backends.cudnn.benchmark = True  # as BasicSR's train.py sets it
    for path in sorted(ROOT.glob('options/**/*.yml')):
        name = str(path.relative_to(ROOT / 'options').with_suffix(''))
        if name.startswith('test/'):
            continue
        if not trial.has(SHARE):
            rows.append({'file': name, 'result': 'left out: no time'})
        elif reason := absent_weights(read_yaml(str(path))):
            rows.append({'file': name, 'result': f'left out: {reason}'})
        else:
            try:
                rows.append({'file': name, **tried(path, trial)})
            except (Exception, SystemExit) as error:
                rows.append({'file': name, 'result': f'failed: {type(error).__name__}: {error}'})
        result, waits = (str(rows[-1].get(key, '')) for key in ('result', 'waits'))
        if not result.startswith('left out') and (result != 'trains' or waits not in (NONE, UNCHECKED)):
            found.surprises.append(f'files: {name}: {result}{f", waits in {waits}" if waits else ""}')
    return found


def tried(path: Path, trial: Trial) -> Row:
    """Train each stage of a file; ``ms``: of the fastest iteration of each stage."""
    opt, changes = fitted(path, trial)
    with quiet():
        block = opt['datasets']['train']
        block.update({'phase': 'train', **{key: opt[key] for key in ('scale',) if key in opt}})  # as parse_options does
        opt = {**completed(opt), 'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1}
        model = check(opt, int(trial.device == 'cuda'))
        batch = repeated(first_batch(opt), block['batch_size_per_gpu'])
        if trial.small:  # of the 400 pixels that are degraded
            batch = {key: value[..., :128, :128] for key, value in batch.items()}
        times, waits = [], []
        for stage in model.schedule.stages:
            seconds, wait = train(model, stage, batch, 1 if trial.small else 4)
            times.append(f'{1e3 * seconds:.0f}')
            waits.append(wait)
    elsewhere = [wait for wait in waits if wait != NONE]
    return {'result': 'trains', 'ms': ' / '.join(times), 'waits': (elsewhere or [NONE])[0], 'remark': '; '.join(changes)}


def train(model: Any, stage: Any, batch: dict[str, Any], iterations: int) -> tuple[float, str]:
    """Seconds of an iteration of a stage, and where it waits. The first may wait: a stage begins with it."""
    train, found, fastest = model.options.train, NONE, math.inf
    number = iteration_to_try(stage, model.schedule, train)
    for turn in range(iterations):
        begun = time.perf_counter()
        model.update_learning_rate(number, warmup_iter=train.warmup_iter)
        model.feed_data(batch)
        step = partial(model.optimize_parameters, number)
        if model.device.type != 'cuda' or (turn and found == NONE):
            found = wait_in(step, model.device)
        else:
            step()
        log = model.get_current_log()
        fastest = min(fastest, time.perf_counter() - begun)
    wrong = [key for key, value in log.items() if key.startswith('l_') and not math.isfinite(value)]
    if wrong:
        raise ValueError(f'stage {stage.name}: {", ".join(wrong)} is not finite')
    return fastest, found
