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
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median

import basicsr  # noqa: F401  # first: it registers the plugin, whose modules need it whole
import torch
from torch import distributed, multiprocessing

from benchmarks.step import options, page
from benchmarks.step.command import add_outputs, command
from benchmarks.step.result import shown, where
from benchmarks.step.setting import Setting
from benchmarks.step.timing import WARM_UP, ratio
from benchmarks.step.training import Training
from sdakd_plugin.evaluation.table import Row, markdown, text

ALONE, APART, TOGETHER = 'one process alone', 'all, a model each', 'all, one model'
PATIENCE = 600  # seconds for an iteration


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.ddp', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--batch', type=int, default=2, metavar='N', help='images of each process (%(default)s)')
    parser.add_argument('--gt-size', type=int, default=128, metavar='N', help='side of each (%(default)s)')
    parser.add_argument('--width', type=float, default=0.5, metavar='X', help="the student's width (%(default)s)")
    parser.add_argument('--blocks', type=int, metavar='N', help="RRDBNet's blocks (23)")
    parser.add_argument('--processes', type=int, default=2, metavar='N', help='(%(default)s)')
    add_outputs(parser, rounds=8)
    return command(parser, run, arguments)


def run(parsed: argparse.Namespace) -> int:
    """What the command line asks for."""
    setting = Setting('sdakd', torch.device('cpu'), parsed.batch, parsed.gt_size, parsed.width, parsed.blocks)
    times = measure(setting, parsed.processes, parsed.rounds)
    print(text(rows(times, parsed.processes)))
    if parsed.json:
        parsed.json.write_text(json.dumps({'seconds': times, 'setting': setting.words}, indent=2) + '\n')
    if parsed.markdown:
        torch.set_num_threads(1)  # as in the processes
        note = f'{parsed.processes} processes, each on {where(setting)}: {setting.words} for each process.'
        page.put(parsed.markdown, 'ddp', f'{markdown(rows(times, parsed.processes))}\n\n{note}')
    return 0


def measure(setting: Setting, processes: int, rounds: int) -> dict[str, list[float]]:
    """The seconds of an iteration, by who trains, in each round."""
    turn = multiprocessing.get_context('spawn').Barrier(2 * processes, timeout=PATIENCE)
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(work, (setting, processes, rounds, folder, turn), 2 * processes)
        return json.loads(Path(folder, 'seconds').read_text())


def work(index: int, setting: Setting, processes: int, rounds: int, folder: str, turn: Barrier) -> None:
    """One of the processes. The first half train models of their own, the second half one model, and those whose turn
    it is not sleep: who is in a group exchanges, so nobody can do both."""
    torch.set_num_threads(1)
    rank = index - processes
    opt = options.sdakd(setting)
    if rank >= 0:
        distributed.init_process_group('gloo', rank=rank, world_size=processes, init_method=f'file://{folder}/store')
        opt |= {'dist': True, 'rank': rank, 'world_size': processes}
    training = Training(opt, setting.images(), len(options.STAGES) - 1)
    active = {ALONE: index == 0, APART: rank < 0, TOGETHER: rank >= 0}
    times: dict[str, list[float]] = {name: [] for name in active}
    for _ in range(WARM_UP + rounds):
        for name, mine in active.items():
            turn.wait()
            start = time.perf_counter()
            if mine:
                training()
            turn.wait()
            times[name].append(time.perf_counter() - start)
    if index == 0:
        Path(folder, 'seconds').write_text(json.dumps({name: found[WARM_UP:] for name, found in times.items()}))
    turn.wait()  # who leaves first would end the others' connection
    os._exit(0)  # gloo's threads sometimes abort a process that is torn down in order, after all is done


def rows(times: dict[str, list[float]], processes: int) -> list[Row]:
    """A line for each way of training. Efficiency: images per second for each process, as part of one alone."""
    count = {ALONE: 1, APART: processes, TOGETHER: processes}
    return [{'': name, 'time': shown(found), 'iterations/s': f'{1 / median(found):.3f}',
             'batches/s': f'{count[name] / median(found):.3f}',
             'efficiency': f'{ratio(times[ALONE], found):.0%}'} for name, found in times.items()]


if __name__ == '__main__':
    sys.exit(main())
