"""``sdakd ablate``: measures what each part of a recipe gains, against runs without it."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sdakd_plugin.ablation import processes, report
from sdakd_plugin.ablation.arms import read_arm
from sdakd_plugin.ablation.plan import Run, all_arms, check_unchanged, choose, make_runs
from sdakd_plugin.ablation.results import FILE, Outcome, Results, directions, outcome_of
from sdakd_plugin.checks.custom_imports import import_custom
from sdakd_plugin.checks.keys import check_keys
from sdakd_plugin.checks.option_file import check_keys_are_unique, is_ours, read_yaml
from sdakd_plugin.checks.run import check
from sdakd_plugin.errors import Interrupted, UserError
from sdakd_plugin.evaluation.cost import machine
from sdakd_plugin.options import AblateOptions, parse
from sdakd_plugin.stock.silence import quiet
from sdakd_plugin.teacher_cache.fill import fill_before_training


def run(arguments: argparse.Namespace) -> int:
    """Train the missing runs, and write the report."""
    if arguments.report is not None:
        return rewrite(Path(arguments.report), arguments.control)
    if arguments.opt is None:
        raise UserError('-opt: the option file of the recipe is missing; or give --report DIR, of one that was trained')
    for key in ('jobs', 'seeds'):
        if getattr(arguments, key) is not None and getattr(arguments, key) < 1:
            raise UserError(f'--{key}: expected 1 or more, not {getattr(arguments, key)}')
    opt, options = read(arguments.opt)
    arms = all_arms(opt, options, [read_arm(*words) for words in arguments.arm])
    arms = choose(arms, [name.strip() for name in (arguments.arms or '').split(',') if name.strip()])
    folder = Path(arguments.out or f'experiments/{opt["name"]}_ablation')
    runs = make_runs(folder, arms, arguments.seeds or options.seeds)
    results = known_results(folder, opt, runs)
    before = results.control if results.outcomes else ''
    set_control(results, arguments.control or options.control or before, [*arms, *results.arms])
    for name in arms:
        print(f'Checking {name} ...', flush=True)
        check_arm(next(each for each in runs if each.arm == name))
    results.order = list(arms)
    try:
        with processes.locked(folder) as lock:
            for name in arms:  # before the runs, which would make the same images at the same time
                opt_of_arm = next(each for each in runs if each.arm == name).opt
                with quiet():
                    fill_before_training({**opt_of_arm, 'dist': False, 'is_train': True})
            failed = train(runs, results, arguments.jobs, lock)
    except OSError as error:
        raise UserError(f'{folder}: cannot be written to ({error}); what is finished is kept') from error
    except Interrupted as interrupted:
        print(f'{interrupted}: the runs are saved; the same command goes on', file=sys.stderr)
        raise
    print(report.page(results))
    print(f'{folder / report.PAGE}, {report.PICTURE}, {FILE}')
    return 1 if failed else 0


def rewrite(folder: Path, control: str | None) -> int:
    """Write the report of the finished runs, also while others are training."""
    results = Results.read(folder)
    if results is None:
        raise UserError(f'--report: {folder} holds no {FILE}')
    set_control(results, control or results.control, results.arms)
    print(report.write(results, folder))
    return 0


def read(path: str) -> tuple[dict[str, Any], AblateOptions]:
    """The option file, and its block ``ablate``.

    Raises:
        UserError: its model is not one of this plugin, or it has no metrics or validation data.
    """
    opt = read_yaml(path)
    if not is_ours(opt):
        raise UserError(f'-opt: model_type {opt["model_type"]} in {path} is not one of sdakd-plugin')
    check_keys_are_unique(path)
    options = parse(opt)
    import_custom(opt)
    with quiet():
        check_keys(opt, is_train=True)
    if not (opt.get('val') or {}).get('metrics') or not any(phase.startswith('val') for phase in opt['datasets']):
        raise UserError(
            f'val.metrics: {path} measures nothing, so that arms cannot be compared; add metrics, and a '
            'data set datasets.val'
        )
    return opt, options.ablate or AblateOptions()


def known_results(folder: Path, opt: dict[str, Any], runs: Sequence[Run]) -> Results:
    """The results of earlier runs in the folder, if there are any.

    Raises:
        UserError: a finished or an interrupted run has other options than now.
    """
    total = opt['train']['total_iter']
    results = Results.read(folder) or Results(opt['name'], '', {}, total)
    if results.total_iter != total:
        raise UserError(
            f'{folder}: the runs there train for {results.total_iter} iterations, those of the option file '
            f'for {total}; choose another folder by --out'
        )
    for each in runs:
        check_unchanged(each)
        known = results.find(each.arm, each.seed)
        if known is not None and known.fingerprint != each.fingerprint:
            raise UserError(
                f'{folder}: {each.name} was trained with other options; choose another folder by --out, or '
                'another name for the arm'
            )
    results.better = directions(opt['val']['metrics'])
    return results


def set_control(results: Results, wanted: str, arms: Sequence[str]) -> None:
    """Set the arm that the others are compared with; the first one if none is wanted.

    Raises:
        UserError: there is no such arm.
    """
    if wanted and wanted not in arms:
        raise UserError(
            f"--control: there is no arm '{wanted}' among those that are chosen or trained; valid: "
            f'{", ".join(dict.fromkeys(arms))}'
        )
    results.control = wanted or next(iter(arms), '')


def check_arm(each: Run) -> None:
    """Check a run as `sdakd check` would, but for its iterations.

    Raises:
        UserError: a one-line message that begins with the name of the arm.
    """
    try:
        check({**each.opt, 'root_path': str(each.folder)})
    except UserError as error:
        raise UserError(f'arm {each.arm}: {error}') from None


def train(runs: Sequence[Run], results: Results, jobs: int, lock: int) -> list[Run]:
    """Train the runs that are not finished; return those that fail."""
    folder, waiting = runs[0].folder, list[Run]()
    where = machine(torch.device('cuda' if torch.cuda.is_available() else 'cpu'))
    where += f', {jobs} runs at a time' if jobs > 1 else ''
    for each in runs:
        found = results.find(each.arm, each.seed) or (outcome_of(each, where) if each.option_file.exists() else None)
        if found is None:
            waiting.append(each)
        else:
            results.add(found)
    keep(results, folder)
    for each in waiting:
        each.write()
    print(f'{len(runs)} runs, of which {len(runs) - len(waiting)} are finished', flush=True)
    begun, failed = time.monotonic(), list[Run]()
    for number, (each, code) in enumerate(processes.train(waiting, jobs, lock), 1):
        outcome = outcome_of(each, where) if code == 0 else None
        left = (time.monotonic() - begun) / number * (len(waiting) - number)
        rest = f'{len(waiting) - number} to go, about {left / 60:.0f} min' if number < len(waiting) else 'the last'
        if outcome is None:
            failed.append(each)
            print(
                f'{each.name} failed (exit code {code}); {each.log} ends: {processes.last_line(each.log)}; {rest}',
                flush=True,
            )
            continue
        results.add(outcome)
        keep(results, folder)
        print(f'{each.name}: {shown(outcome)}; {rest}', flush=True)
    return failed


def keep(results: Results, folder: Path) -> None:
    """Write the results and the report of the finished runs."""
    results.write(folder)
    report.write(results, folder)


def shown(outcome: Outcome) -> str:
    """The metrics at the end, and the time."""
    last = [entry for entry in outcome.curve if entry['iter'] == outcome.curve[-1]['iter']]
    metrics = [
        f'{entry["dataset"]} {name} {value:.4g}'
        for entry in last
        for name, value in entry['metrics'].items()
        if value is not None
    ]
    seconds = '' if outcome.seconds is None else f', {outcome.seconds:.0f} s of training'
    return ', '.join(metrics) + seconds
