"""The arguments of ``sdakd schema``."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line, which has no arguments."""
