"""``sdakd schema``: prints the JSON Schema of option files."""

from __future__ import annotations

import argparse

from sdakd_plugin.option_schema import schema_text


def run(_arguments: argparse.Namespace) -> int:
    """Print the schema."""
    print(schema_text(), end='')
    return 0
