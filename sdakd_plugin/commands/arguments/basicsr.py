"""The arguments of ``sdakd train`` and ``sdakd test``, which are BasicSR's; it parses them itself once torch is there."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument('-opt', required=True, metavar='FILE', help='the option file')
    parser.add_argument(
        '--launcher',
        default='none',
        choices=('none', 'pytorch', 'slurm'),
        help='what started the processes of distributed training (%(default)s)',
    )
    parser.add_argument('--auto_resume', action='store_true', help='resume the run of this name where it was saved last')
    parser.add_argument('--debug', action='store_true', help="prefix the run's name with debug_, and log each iteration")
    parser.add_argument('--local_rank', type=int, default=0, metavar='N', help='set by the launcher')
    parser.add_argument(
        '--force_yml', nargs='+', metavar='KEY:KEY=VALUE', help='change options, for example train:ema_decay=0.999'
    )
