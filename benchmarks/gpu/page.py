"""The page of a card, and its numbers as JSON; parts that are not asked for again stay as they are."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from sdakd_plugin.evaluation.table import markdown

PACKAGES = ('basicsr', 'torch', 'torchvision', 'numpy', 'triton')


def name_of(device: torch.device) -> str:
    """The name of a card; of a CPU, its architecture."""
    return torch.cuda.get_device_name(device) if device.type == 'cuda' else f'CPU {platform.machine()}'


def versions(device: torch.device) -> str:
    """What computes, in a line."""
    found = {'Python': platform.python_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):  # triton comes with nightly builds of torch under another name
            found[name] = version(name)
    if device.type == 'cuda':
        memory = torch.cuda.get_device_properties(device).total_memory / 2**30
        found |= {'CUDA': str(torch.version.cuda), 'cuDNN': str(torch.backends.cudnn.version())}
        found |= {'cards': str(torch.cuda.device_count()), 'memory': f'{memory:.0f} GiB'}
    return ', '.join(f'{name} {value}' for name, value in found.items())


def surprises(parts: Mapping[str, Any]) -> list[str]:
    """What should not be: what parts found, and parts that failed."""
    found = [f'{name}: {line}' for name, part in parts.items() for line in part.get('surprises', [])]
    return found + [f'{name}: not finished: {part["failed"]}' for name, part in parts.items() if part['failed']]


def write(folder: Path, card: str, results: Mapping[str, Any], asks: Mapping[str, str]) -> Path:
    """Write page and JSON into an existing folder, and return the page's path.

    Args:
        folder: where.
        card: the name of the card, of which the files' follows.
        results: of new parts, each with its ``versions``; they replace earlier ones.
        asks: what each part answers, of all parts in their order.
    """
    file = folder / f'{re.sub("[^a-z0-9]+", "-", card.lower()).strip("-")}.json'
    known = {**(json.loads(file.read_text())['parts'] if file.exists() else {}), **results}
    parts = {name: known[name] for name in asks if name in known}
    file.write_text(json.dumps({'card': card, 'parts': parts}, indent=2) + '\n', encoding='utf-8')
    rows = [{'part': name, 'seconds': part['seconds'], 'with': part['versions']} for name, part in parts.items()]
    content = [f'# {card}', 'By `python -m benchmarks.gpu` ([README.md](README.md)).', '## What is surprising']
    content += ['\n'.join(f'- {line}' for line in surprises(parts) or ['nothing']), markdown(rows)]
    for name, part in parts.items():
        content += [f'## {name}', asks[name], *(markdown(table) for table in part.get('tables', []) if table)]
        content += [f'Not finished: {part["failed"]}.'] if part['failed'] else part['notes']
    page = file.with_suffix('.md')
    page.write_text('\n\n'.join(content) + '\n', encoding='utf-8')
    return page
