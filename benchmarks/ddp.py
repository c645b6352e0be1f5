"""What distributed training costs: SDAKD's last stage in two processes on one machine (gloo), against one process.

    python -m benchmarks.ddp --markdown docs/speed.md

Every process has one thread and a batch of its own, so that two of them should take as long for two batches as one
takes for one. In turns, one process trains alone; all train, each a model of its own; and all train one model. The
second shows what sharing the machine costs, the third what exchanging gradients adds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median

import basicsr  # noqa: F401  # first: it registers the plugin, whose modules need it whole
import torch
from torch import distributed, multiprocessing

from benchmarks.command import command, new_parser, write
from benchmarks.step import options
from benchmarks.step.measure import WARM_UP
from benchmarks.step.options import Setting
from benchmarks.step.timed import Training
from sdakd_plugin.evaluation.table import Row
from sdakd_plugin.utils.timing import in_turns, paired_ratio, shown

ALONE, APART, TOGETHER = 'one process alone', 'all, a model each', 'all, one model'


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = new_parser('benchmarks.ddp', __doc__, rounds=8)
    options.add_arguments(parser)
    parser.set_defaults(model='sdakd', device='cpu')
    parser.add_argument('--processes', type=int, default=2, metavar='N', help='(%(default)s)')
    return command(parser, run, arguments)


def run(parsed: argparse.Namespace) -> None:
    """What the command line asks for."""
    measured = options.from_arguments(parsed)
    turn = multiprocessing.get_context('spawn').Barrier(2 * parsed.processes, timeout=600)  # seconds for an iteration
    with tempfile.TemporaryDirectory() as folder:
        shared = measured, parsed.processes, parsed.rounds, folder, turn
        multiprocessing.spawn(work, shared, 2 * parsed.processes)
        times = json.loads(Path(folder, 'seconds').read_text())
    torch.set_num_threads(1)  # as in the processes
    note = f'{parsed.processes} processes, each on {measured.where}: {measured.words} for each process.'
    write(parsed, 'ddp', [rows(times, parsed.processes)], [note], {'seconds': times, 'setting': measured.words})


def work(index: int, measured: Setting, processes: int, rounds: int, folder: str, turn: Barrier) -> None:
    """One of the processes. The first half train models of their own, the second half one model, and those whose turn
    it is not sleep: who is in a group exchanges, so nobody can do both."""
    torch.set_num_threads(1)
    rank = index - processes
    opt = options.sdakd(measured)
    if rank >= 0:
        distributed.init_process_group('gloo', rank=rank, world_size=processes, init_method=f'file://{folder}/store')
        opt |= {'dist': True, 'rank': rank, 'world_size': processes}
    training = Training(opt, measured.images(), stage=2)

    def step(mine: bool) -> None:
        turn.wait()
        if mine:
            training()
        turn.wait()

    active = {ALONE: index == 0, APART: rank < 0, TOGETHER: rank >= 0}
    times = in_turns({name: partial(step, mine) for name, mine in active.items()}, rounds, measured.device, WARM_UP)
    if index == 0:
        Path(folder, 'seconds').write_text(json.dumps(times))
    turn.wait()  # who leaves first would end the others' connection
    os._exit(0)  # gloo's threads sometimes abort a process that is torn down in order, after all is done


def rows(times: dict[str, list[float]], processes: int) -> list[Row]:
    """A line for each way of training. Efficiency: images per second for each process, as part of one alone."""
    lines: list[Row] = []
    for name, found in times.items():
        per_second, batches = 1 / median(found), 1 if name == ALONE else processes
        speeds = {'iterations/s': f'{per_second:.3f}', 'batches/s': f'{batches * per_second:.3f}'}
        efficiency = f'{paired_ratio(times[ALONE], found):.0%}'
        lines.append({'': name, 'time': shown(found), **speeds, 'efficiency': efficiency})
    return lines


if __name__ == '__main__':
    sys.exit(main())
