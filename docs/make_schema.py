"""Writes ``options/schema.json``, and names it in the first line of every option file that does not:

python docs/make_schema.py
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from sdakd_plugin.option_schema import option_schema

OPTIONS = Path(__file__).resolve().parents[1] / 'options'
SCHEMA = OPTIONS / 'schema.json'


def first_line(path: Path) -> str:
    """The line by which the editors' YAML language server finds the schema of an option file."""
    return f'# yaml-language-server: $schema={Path(os.path.relpath(SCHEMA, path.parent)).as_posix()}\n'


def schema() -> str:
    """The content of the file."""
    return json.dumps(option_schema(), indent=1, ensure_ascii=False) + '\n'


if __name__ == '__main__':
    SCHEMA.write_text(schema(), encoding='utf-8')
    for path in sorted(OPTIONS.rglob('*.yml')):
        text = path.read_text(encoding='utf-8')
        if not text.startswith(first_line(path)):
            path.write_text(first_line(path) + text, encoding='utf-8')
