"""Every option file trains, and no iteration that prints nothing waits for the GPU."""

from __future__ import annotations

import traceback
from functools import partial
from pathlib import Path

import torch

from benchmarks.gpu.recipes import absent_weights, fitted
from benchmarks.gpu.trial import Found, Trial
from benchmarks.step import options
from benchmarks.step.options import ROOT, Setting
from benchmarks.step.timed import Step, Training
from sdakd_plugin.checks.dry_run import dry_run, first_batch
from sdakd_plugin.checks.option_file import read_yaml
from sdakd_plugin.checks.run import check
from sdakd_plugin.data.published import completed
from sdakd_plugin.evaluation.table import Row

NOWHERE, NO_TIME = 'nowhere', 'left out: no time'
SIGN = 'synchronizing CUDA operation'  # in torch's message
ROUNDS = 3  # iterations of each stage, on two images, after the first
SHARE = 0.3  # of the time, which is left to what follows


def sync(trial: Trial) -> Found:
    """Stage 3 of SDAKD in each precision; a value that is read on purpose shows that the check sees it."""
    if trial.device != 'cuda':
        return Found(notes=['Not checked: only CUDA computes while its host goes on.'])
    device, rows = torch.device('cuda'), []
    planted = wait(torch.ones(1, device=device).item)
    for amp in (None, 'bfloat16', 'float16'):
        setting = Setting('sdakd', device, 2, 64, blocks=4, amp=amp, channels_last=True)
        training = Training(options.sdakd(setting), setting.images(), stage=2)
        training()
        rows.append({'precision': amp or 'float32', 'waits': wait(training)})
    found = [f'{row["precision"]} waits in {row["waits"]}' for row in rows if row['waits'] != NOWHERE]
    return Found([rows], [], found + ['a value read on purpose is not noticed'] * (planted == NOWHERE))


def wait(step: Step) -> str:
    """Call a step on CUDA, and return where it waits: the innermost line of this project, or ``NOWHERE``."""
    torch.cuda.set_sync_debug_mode('error')
    try:
        step()
    except RuntimeError as error:
        if SIGN not in str(error):
            raise
        frames = traceback.extract_tb(error.__traceback__)
        innermost = [frame for frame in frames if 'sdakd_plugin' in frame.filename] or frames
        return f'{Path(innermost[-1].filename).name}:{innermost[-1].lineno}'
    finally:
        torch.cuda.set_sync_debug_mode('default')
    return NOWHERE


def files(trial: Trial) -> Found:
    """A line for each file; a file that fails is a surprise, one that lacks weights is not."""
    torch.backends.cudnn.benchmark = True  # as BasicSR's train.py sets it
    rows: list[Row] = []
    for path in sorted(ROOT.glob('options/**/*.yml')):
        name = path.relative_to(ROOT / 'options').with_suffix('').as_posix()
        if not name.startswith('test/'):
            rows.append({'file': name, **one_file(path, trial)})
    bad = [row for row in rows if row['result'].startswith('failed') or row.get('waits', NOWHERE) != NOWHERE]
    about = 'ms: of the last iteration of each stage, with its degradation, on two images.'
    found = [f'{row["file"]}: {row["result"]}, waits {row.get("waits", "")}' for row in bad]
    late = sum(row['result'] == NO_TIME for row in rows)
    return Found([rows], [about], found + [f'{late} files were left out, as there was no time'] * (late > 0))


def one_file(path: Path, trial: Trial) -> Row:
    """Train each stage for a few iterations, or say why not."""
    if trial.left < SHARE * trial.seconds:
        return {'result': NO_TIME}
    if reason := absent_weights(read_yaml(str(path))):
        return {'result': f'left out: {reason}'}
    try:
        opt, changes = fitted(path, trial)
        block = opt['datasets']['train']
        block.update({'phase': 'train', **{key: opt[key] for key in ('scale',) if key in opt}})  # as parse_options does
        opt = {**completed(opt), 'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1}
        model = check(opt, opt['num_gpu'])
        batch, waits = first_batch(opt), []
        tried = list(dry_run(model, batch))
        if trial.device == 'cuda':  # not the first time, since a stage may begin with waiting
            step = model.optimize_parameters
            model.optimize_parameters = lambda iteration: waits.append(wait(partial(step, iteration)))
            for _ in range(ROUNDS):
                tried = list(dry_run(model, batch))
    except (Exception, SystemExit) as error:
        return {'result': f'failed: {type(error).__name__}: {error}'}
    times = ' / '.join(f'{1e3 * each.again:.0f}' for each in tried)
    where = {'waits': next((place for place in waits if place != NOWHERE), NOWHERE)} if waits else {}
    return {'result': 'trains', 'ms': times, **where, '': changes}
