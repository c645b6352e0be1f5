"""``sdakd report``: the costs of students, beside their teacher if there is one."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from textwrap import wrap

import torch
from torch import nn

from sdakd_plugin.backends.variants import build_named, fidelities
from sdakd_plugin.commands.upscale import pick_device, print_taken
from sdakd_plugin.errors import UserError
from sdakd_plugin.evaluation import budget, cost_report, report_networks
from sdakd_plugin.evaluation.table import markdown, text

WIDTH = 100  # characters of a line


def run(arguments: argparse.Namespace) -> int:
    """Print the table, and write the requested files."""
    _check(arguments)
    device = pick_device(arguments.device, arguments.backend)
    found = _networks(arguments)
    usages = _usages(arguments.budget, found)
    backends, psnr = _backends(arguments, found, device)
    entries = cost_report.measure(found, arguments.size, arguments.repeat, device, backends, psnr)
    rows, notes = cost_report.rows(entries), cost_report.notes(entries, device)
    if arguments.budget:
        notes += f'\n\n{budget.text(arguments.budget, usages)}'
    print('\n'.join([*cost_report.described(entries), '', text(rows), '', *wrapped(notes)]))
    if arguments.json:
        content = cost_report.as_json(entries, device)
        if arguments.budget:
            content['budget'] = budget.as_json(arguments.budget, usages)
        _write('--json', arguments.json, json.dumps(content, indent=2))
    if arguments.markdown:
        heads = '\n'.join(f'- {name}: {entry.network}, {entry.weights}' for name, entry in entries.items())
        _write('--markdown', arguments.markdown, f'{heads}\n\n{markdown(rows)}\n\n{notes}')
    return 0


def wrapped(notes: str) -> list[str]:
    """The lines of the notes, of at most ``WIDTH`` characters."""
    return [short for line in notes.split('\n') for short in wrap(line, WIDTH) or ['']]


def _check(arguments: argparse.Namespace) -> None:
    if bool(arguments.opt) == bool(arguments.student) or (arguments.teacher and not arguments.student):
        raise UserError('give either -opt FILE, or --student FILE_OR_NAME, with or without --teacher FILE_OR_NAME')
    for option, least in (('size', 8), ('repeat', 1)):
        value = getattr(arguments, option)
        if min(value if isinstance(value, list) else [value]) < least:
            raise UserError(f'--{option}: expected {least} or more')
    for option in ('json', 'markdown'):  # before minutes of measuring
        path = getattr(arguments, option)
        if path and (os.path.isdir(path) or not os.path.isdir(Path(path).parent)):
            raise UserError(f'--{option}: {path} is a folder, or in a folder that does not exist')


def _networks(arguments: argparse.Namespace) -> dict[str, report_networks.ReportedNetwork]:
    from sdakd_plugin.checks.custom_imports import import_custom
    from sdakd_plugin.checks.option_file import read_yaml
    from sdakd_plugin.stock.silence import quiet

    with quiet():
        if arguments.opt:
            opt = read_yaml(arguments.opt)
            import_custom(opt)
            return report_networks.from_options(opt)
        return report_networks.from_files(arguments.teacher, arguments.student)


def _backends(
    arguments: argparse.Namespace, found: dict[str, report_networks.ReportedNetwork], device: torch.device
) -> tuple[dict[str, dict[str, nn.Module]], dict[str, dict[str, float]]]:
    """What runs each student in the backends that are asked for, and with ``--int8`` the PSNR to its own images."""
    runs, psnr, left_out = {}, {}, []
    for name, network in found.items():
        if name != report_networks.TEACHER:
            model = report_networks.as_model(name, network)
            runs[name], lines = build_named(model, arguments.backend, device, arguments.int8)
            left_out += lines
            if arguments.int8:
                psnr[name] = {label: one.psnr for label, one in fidelities(model, runs[name]).items()}
    print_taken(left_out)
    return runs, psnr


def _usages(name: str | None, found: dict[str, report_networks.ReportedNetwork]) -> dict[str, budget.Usage]:
    """What each student uses of a budget; empty without one."""
    if name is None:
        return {}
    return {
        each: budget.count_usage(network.net, budget.BUDGETS[name])
        for each, network in found.items()
        if each != report_networks.TEACHER
    }


def _write(option: str, path: str, content: str) -> None:
    try:
        Path(path).write_text(content + '\n', encoding='utf-8')
    except OSError as error:
        raise UserError(f'{option}: {path} cannot be written: {error.strerror}') from error
