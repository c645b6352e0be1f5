"""Options that several commands have."""

from __future__ import annotations

import argparse

from sdakd_plugin.backends import CHOICES

GPUS = {'cuda': 'with CUDA', 'mps': "of Apple's (Metal)"}


def add_backend(parser: argparse.ArgumentParser, meaning: str) -> None:
    """The option ``--backend``."""
    parser.add_argument('--backend', default='auto', choices=CHOICES, help=f'{meaning} (%(default)s)')


def add_device(parser: argparse.ArgumentParser) -> None:
    """The option ``--device``."""
    parser.add_argument('--device', default='auto', choices=('auto', 'cpu', *GPUS), help='(%(default)s)')
