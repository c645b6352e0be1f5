"""The costs of students, beside their teacher if there is one: size, multiply-adds, memory, time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from torch import nn

from sdakd_plugin import weights
from sdakd_plugin.errors import UserError
from sdakd_plugin.evaluation import cost
from sdakd_plugin.evaluation.peak_memory import peak_memory
from sdakd_plugin.evaluation.report_networks import TEACHER, ReportedNetwork
from sdakd_plugin.evaluation.table import Row, cell
from sdakd_plugin.utils.timing import middle_half, paired_ratio

RANDOM = 'random (no checkpoint yet)'
BACKENDS = (
    " A time with a backend's name: that backend gives PyTorch's images in float32, unless it is in int8; in the same "
    'turns, with how many times faster than the time without a name it is.'
)
RATIO = '; its ratio, teacher / student, is the median over the turns'
PSNR = " PSNR: to PyTorch's images in float32, on two of scikit-image's photographs."
EQUAL = 70  # dB, from where on no value is shown; it is a mean difference of 0.08 steps of 8 bits


@dataclass(frozen=True)
class Measured:
    """The costs of a network at one size. Attributes: multiply_adds, seconds (of each pass), memory (bytes, None:
    unknown), backends (name -> seconds of each pass)."""

    multiply_adds: int
    seconds: list[float]
    memory: int | None
    backends: dict[str, list[float]] = field(default_factory=dict)

    def times(self) -> dict[str, list[float]]:
        """The seconds of each pass by the backend's name; ``''`` is PyTorch as in training."""
        return {'': self.seconds, **self.backends}


@dataclass(frozen=True)
class Entry:
    """All costs of a network. Attributes: network (a description), weights (file or ``RANDOM``), parameters,
    file_bytes (None: no file), sizes (side of the LQ image -> the costs at that size), psnr (by backend, dB, to
    PyTorch's images in float32)."""

    network: str
    weights: str
    parameters: int
    file_bytes: int | None
    sizes: dict[int, Measured]
    psnr: Mapping[str, float] = field(default_factory=dict)


def measure(
    networks: Mapping[str, ReportedNetwork],
    sizes: Sequence[int],
    repeat: int,
    device: torch.device,
    backends: Mapping[str, Mapping[str, nn.Module]] | None = None,
    psnr: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, Entry]:
    """Measure all networks.

    Args:
        networks: by name.
        sizes: sides of the square LQ images.
        repeat: how many passes are timed.
        device: where they run.
        backends: name of a network -> name of a backend -> what runs the network in it. They are timed, too.
        psnr: name of a network -> name of a backend -> PSNR to the network's images, which is shown.

    Raises:
        UserError: a network takes no images of such a size.
    """
    nets = {name: network.net.to(device) for name, network in networks.items()}
    work = {size: _work(nets, backends or {}, size, repeat, device) for size in sorted(set(sizes))}
    peaks = peak_memory([network.source for network in networks.values()], list(work), device)
    return {
        name: _entry(
            network,
            {
                size: Measured(found[name][0], found[name][1], peak, found[name][2])
                for (size, found), peak in zip(work.items(), row, strict=True)
            },
            (psnr or {}).get(name, {}),
        )
        for (name, network), row in zip(networks.items(), peaks, strict=True)
    }


def _work(
    nets: Mapping[str, nn.Module],
    backends: Mapping[str, Mapping[str, nn.Module]],
    size: int,
    repeat: int,
    device: torch.device,
) -> dict[str, tuple[int, list[float], dict[str, list[float]]]]:
    """Multiply-adds and the seconds of each forward pass of all networks at one size, the latter in all backends."""
    runners = {(name, ''): net for name, net in nets.items()}
    runners |= {(name, backend): run for name, found in backends.items() for backend, run in found.items()}
    try:
        counts = {name: cost.count(net, (3, size, size)).multiply_adds for name, net in nets.items()}
        times = cost.interleaved(runners, torch.rand(1, 3, size, size, device=device), repeat)
    except (AssertionError, RuntimeError, UserError) as error:
        reason = str(error).strip().split('\n')[0] or 'a network does not accept this size; try a multiple of 4'
        raise UserError(f'--size {size}: {reason}') from error
    return {
        name: (counts[name], times[name, ''], {backend: times[name, backend] for backend in backends.get(name, {})})
        for name in nets
    }


def _entry(reported: ReportedNetwork, sizes: dict[int, Measured], psnr: Mapping[str, float]) -> Entry:
    parameters = sum(parameter.numel() for parameter in reported.net.parameters())
    path, network = reported.weights, str(weights.Identity('generator', reported.network))
    if path is None:
        return Entry(network, RANDOM, parameters, None, sizes, psnr)
    return Entry(network, str(path), parameters, path.stat().st_size, sizes, psnr)


def quantities(entry: Entry) -> dict[str, float | None]:
    """All numbers of an entry by name, in bytes and seconds."""
    found: dict[str, float | None] = {'parameters': entry.parameters, 'file': entry.file_bytes}
    for size, one in entry.sizes.items():
        found |= {
            f'multiply-adds, {size}x{size}': one.multiply_adds,
            f'memory, {size}x{size}': one.memory,
            **{_time(size, backend): median(seconds) for backend, seconds in one.times().items()},
        }
    return found | {f'PSNR, {backend}': value for backend, value in entry.psnr.items()}


def _time(size: int, backend: str) -> str:
    """The name of the quantity."""
    return f'time, {size}x{size}' + (f', {backend}' if backend else '')


def ratios(teacher: Entry, student: Entry) -> dict[str, float | None]:
    """Each quantity of the teacher divided by the student's; for times, the median of the ratios of paired passes."""
    ours, theirs = quantities(student), quantities(teacher)
    found = {key: theirs[key] / ours[key] if theirs.get(key) and ours[key] else None for key in ours}  # type: ignore
    for size, one in student.sizes.items():
        for backend, seconds in one.times().items():
            found[_time(size, backend)] = paired_ratio(teacher.sizes[size].seconds, seconds)
    return found


def rows(entries: Mapping[str, Entry]) -> list[Row]:
    """A row for each quantity, a column for each network and, beside a teacher, for each student's ratio to it."""
    students = [name for name in entries if name != TEACHER] if TEACHER in entries else []
    columns = {name: quantities(entry) for name, entry in entries.items()}
    heads = {name: 'ratio' if len(students) == 1 else f'{TEACHER} / {name}' for name in students}
    less = {heads[name]: ratios(entries[TEACHER], entries[name]) for name in students}
    lines: list[Row] = []
    for key in dict.fromkeys(key for values in columns.values() for key in values):
        cells = {name: _shown(key, values.get(key), entries[name]) for name, values in columns.items()}
        times = {name: f'{value:.2f}x' if (value := found.get(key)) else '' for name, found in less.items()}
        lines.append({'': key, **cells, **times})
    return lines


def described(entries: Mapping[str, Entry]) -> list[str]:
    """Two lines for each network: what it is, and where its weights are from. In the table they would be its widest."""
    return [line for name, entry in entries.items() for line in (f'{name}: {entry.network}', f'  {entry.weights}')]


def as_json(entries: Mapping[str, Entry], device: torch.device) -> dict[str, Any]:
    """The report as JSON: counts, bytes and seconds."""
    found = {
        name: ratios(entries[TEACHER], entry)
        for name, entry in entries.items()
        if TEACHER in entries and name != TEACHER
    }
    return {
        'machine': cost.machine(device),
        'torch': torch.__version__,
        'networks': {name: _entry_as_json(entry) for name, entry in entries.items()},
        'ratios': found,
    }


def _entry_as_json(entry: Entry) -> dict[str, Any]:
    sizes = {
        str(size): {
            'multiply_adds': one.multiply_adds,
            'peak_memory_bytes': one.memory,
            **_seconds_as_json(one.seconds),
            'backends': {
                backend: {**_seconds_as_json(seconds), 'times_faster_than_pytorch': paired_ratio(one.seconds, seconds)}
                for backend, seconds in one.backends.items()
            },
        }
        for size, one in entry.sizes.items()
    }
    return {
        'network': entry.network,
        'weights': entry.weights,
        'parameters': entry.parameters,
        'file_bytes': entry.file_bytes,
        'sizes': sizes,
        'psnr_to_float': dict(entry.psnr),
    }


def _seconds_as_json(seconds: list[float]) -> dict[str, Any]:
    return {'seconds_median': median(seconds), 'seconds_middle_half': list(middle_half(seconds)), 'seconds': seconds}


def notes(entries: Mapping[str, Entry], device: torch.device) -> str:
    """The text below the table, which says how the numbers were measured."""
    repeat = len(next(iter(next(iter(entries.values())).sizes.values())).seconds)
    memory = (
        "the most that torch's allocator held"
        if device.type == 'cuda'
        else "rise of the process's peak resident memory"
    ) + ', in a process of its own, weights included'
    return (
        f'On {cost.machine(device)}, torch {torch.__version__}, float32, one LQ image of the size given. time: '
        f'median of {repeat} passes after one for warming up, the networks in turns (in brackets the middle half '
        f'of them){RATIO if TEACHER in entries else ""}. memory: {memory}.'
    ) + (
        (BACKENDS if any(one.backends for entry in entries.values() for one in entry.sizes.values()) else '')
        + (PSNR if any(entry.psnr for entry in entries.values()) else '')
    )


def _shown(key: str, value: float | None, entry: Entry) -> str:
    """A quantity with its unit."""
    if value is None:
        return ''
    kind, _, at = key.partition(', ')
    if kind == 'PSNR':
        return f'{value:.1f} dB' if value < EQUAL else 'the same'
    if kind == 'time':
        size, _, backend = at.partition(', ')
        one = entry.sizes[int(size.split('x')[0])]
        seconds = one.times()[backend]
        faster = f', {paired_ratio(one.seconds, seconds):.2f}x' if backend else ''
        return _time_shown(seconds) + faster
    return f'{value / 1e6:,.1f} MB' if kind in ('file', 'memory') else cell(kind, value)


def _time_shown(times: Sequence[float]) -> str:
    """The median, and in brackets the middle half, with three digits."""
    middle = median(times)
    factor, unit = (1.0, 's') if middle >= 1 else (1e3, 'ms')
    shown = (_three_digits(factor * value) for value in (middle, *middle_half(times)))
    return '{} {unit} ({} to {})'.format(*shown, unit=unit)


def _three_digits(value: float) -> str:
    return f'{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}'
