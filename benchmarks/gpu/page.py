"""The page of a card, and its numbers as JSON; parts that are not asked for again stay as they are."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks.command import put
from sdakd_plugin.evaluation.table import markdown

PACKAGES = ('sdakd-plugin', 'basicsr', 'torch', 'torchvision', 'numpy', 'triton')


def slug(card: str) -> str:
    """The name of a card as a file's, such as ``nvidia-h100-80gb-hbm3``."""
    return re.sub('[^a-z0-9]+', '-', card.lower()).strip('-')


def card_of(device: torch.device) -> str:
    """The name of a card; of a CPU, its architecture."""
    return torch.cuda.get_device_name(device) if device.type == 'cuda' else f'CPU {platform.machine()}'


def versions(device: torch.device) -> dict[str, str]:
    """The versions of what computes."""
    found = {'python': platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if device.type == 'cuda':
        memory = torch.cuda.get_device_properties(device).total_memory
        more = {'CUDA': torch.version.cuda, 'cuDNN': torch.backends.cudnn.version(), 'cards': torch.cuda.device_count()}
        found |= {**{name: str(value) for name, value in more.items()}, 'memory': f'{memory / 2**30:.0f} GiB'}
    return found


def merged(file: Path, card: str, device: torch.device, results: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON file with new results, each with the versions that it was found with; written."""
    parts = json.loads(file.read_text(encoding='utf-8'))['parts'] if file.exists() else {}
    own = versions(device)
    parts |= {name: {**result, 'versions': own} for name, result in results.items()}
    numbers = {'card': card, 'parts': parts}
    file.write_text(json.dumps(numbers, indent=2) + '\n', encoding='utf-8')
    return numbers


def surprises(numbers: Mapping[str, Any]) -> list[str]:
    """What should not be, of all parts: what was found, and what failed."""
    parts = numbers['parts'].items()
    found = [line for _, part in parts for line in part.get('surprises', [])]
    return found + [f'{name}: not finished: {part["failed"]}' for name, part in parts if part['failed']]


def write(folder: Path, card: str, device: torch.device, results: Mapping[str, Any], asks: Mapping[str, str]) -> Path:
    """Write page and JSON, and return the page's path.

    Args:
        folder: an existing folder.
        card: the name of the card.
        device: the device.
        results: of each new part.
        asks: what each part answers, of all parts in their order.
    """
    page = folder / f'{slug(card)}.md'
    numbers = merged(page.with_suffix('.json'), card, device, results)
    if not page.exists():
        page.write_text(f'# {card}\n\nMade by `python -m benchmarks.gpu`; [what each part answers](README.md).\n')
    put(page, 'summary', summary(numbers, asks))
    for name in asks:
        if name in results:
            put(page, name, f'## {name}\n\n{asks[name]}\n\n{section(results[name])}')
    return page


def summary(numbers: Mapping[str, Any], asks: Mapping[str, str]) -> str:
    """What is surprising, a table of the parts, and the versions."""
    parts = numbers['parts']
    lines = [f'- {line}' for line in surprises(numbers)] or ['Nothing.']
    rows = [
        {'part': name, 'result': parts[name]['failed'] or 'finished', 'seconds': parts[name]['seconds']}
        for name in asks
        if name in parts
    ]
    kinds = {', '.join(f'{key} {value}' for key, value in part['versions'].items()) for part in parts.values()}
    return '\n\n'.join(['## What is surprising', '\n'.join(lines), '## Parts', markdown(rows), *sorted(kinds)])


def section(result: Mapping[str, Any]) -> str:
    """Tables and notes of a part, or why there are none."""
    if result['failed']:
        return f'Not finished: {result["failed"]}.'
    return '\n\n'.join([*(markdown(table) for table in result['tables'] if table), *result['notes'], *result['surprises']])
