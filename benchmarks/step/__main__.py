"""Measure a training step: distillation against stock BasicSR, a plain loop, and the floor of its parts.

    python -m benchmarks.step                                    # SDAKD for Real-ESRGAN x4plus, at what fits
    python -m benchmarks.step --model mutual --cohort 3
    python -m benchmarks.step --channels-last --markdown docs/speed.md --section channels_last --json FILE
    python -m benchmarks.step --sweep                            # cost against batch, crop, width and cohort

The timed trainings share one process and take turns. Everything but the options under test is as in ``options/``,
without perceptual losses and R1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import basicsr  # noqa: F401  # first: it registers the plugin, whose modules need it whole

from benchmarks.command import command, new_parser, write
from benchmarks.step import measure, options, tables
from benchmarks.step.plan import PLANS, sweep


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = new_parser('benchmarks.step', __doc__, rounds=10)
    parser.add_argument('--model', choices=PLANS, default='sdakd', help='what is trained (%(default)s)')
    parser.add_argument('--device', choices=('auto', 'cpu', 'cuda'), default='auto', help='(%(default)s)')
    options.add_arguments(parser)
    parser.add_argument('--cohort', type=int, default=2, metavar='K', help='members, for mutual (%(default)s)')
    parser.add_argument('--section', metavar='NAME', help="the page's section that they replace (the model's name)")
    parser.add_argument('--sweep', action='store_true', help='instead: last stage and stock over the sizes')
    return command(parser, run, arguments)


def run(arguments: argparse.Namespace) -> None:
    """What the command line asks for."""
    measured = options.from_arguments(arguments)
    if arguments.sweep:
        settings = sweep(measured)
        points = {name: measure.point(each, arguments.rounds) for name, each in settings.items()}
        note = tables.SWEEP.format(measured.where, measured.words, settings['cohort 2'].size, arguments.rounds)
        write(arguments, 'sweep', [tables.of_sweep(points)], [note], points)
    else:
        found = measure.numbers(PLANS[measured.model](measured), measured, arguments.rounds)
        write(arguments, arguments.section or measured.model, tables.of_runs(found), tables.notes(found), found)


if __name__ == '__main__':
    sys.exit(main())
