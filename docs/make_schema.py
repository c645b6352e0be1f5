"""Writes ``options/schema.json``, and names it in the first line of every option file that does not:

python docs/make_schema.py
"""

from __future__ import annotations

import os
from pathlib import Path

from sdakd_plugin.option_schema import schema_line, schema_text

OPTIONS = Path(__file__).resolve().parents[1] / 'options'
SCHEMA = OPTIONS / 'schema.json'


def first_line(path: Path) -> str:
    """The line of an option file that names its schema."""
    return schema_line(Path(os.path.relpath(SCHEMA, path.parent)).as_posix())


if __name__ == '__main__':
    SCHEMA.write_text(schema_text(), encoding='utf-8')
    for path in sorted(OPTIONS.rglob('*.yml')):
        text = path.read_text(encoding='utf-8')
        if not text.startswith(first_line(path)):
            path.write_text(first_line(path) + text, encoding='utf-8')
