"""The arguments of ``sdakd train`` and ``sdakd test``, which BasicSR parses itself once it is imported."""

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
    parser.add_argument('--auto_resume', action='store_true', help='resume the run from its last training state')
    parser.add_argument('--debug', action='store_true', help='name the run debug_NAME, and log each iteration')
    parser.add_argument('--local_rank', type=int, default=0, metavar='N', help='set by the launcher')
    parser.add_argument(
        '--force_yml', nargs='+', metavar='KEY:KEY=VALUE', help='change options, for example train:ema_decay=0.999'
    )
