"""``sdakd schema``: prints the JSON Schema of option files."""

from __future__ import annotations

import argparse
import json

from sdakd_plugin.option_schema import option_schema


def run(_arguments: argparse.Namespace) -> int:
    """Print the schema."""
    print(json.dumps(option_schema(), indent=1, ensure_ascii=False))
    return 0
