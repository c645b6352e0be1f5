"""What the log files of a run say: losses, stages, speed and remaining time."""

from __future__ import annotations

import math
import re
from pathlib import Path
from statistics import fmean
from typing import Any

ITERATION = re.compile(
    r'\]\[epoch: *\d+, iter: *([\d,]+), lr:\([^)]*\)\] (?:\[eta: (.+?), time \(data\): ([\d.]+) \([\d.]+\)\] )?(.*)'
)
VALUE = re.compile(r'(\S+): (\S+)')
STAGE = re.compile(r"Stage (\d+) of (\d+), '(.*)': iterations ([\d,]+) to ([\d,]+); losses ")
RESUMED = re.compile(r'Resuming training from epoch: \d+, iter: (\d+)')
TOTAL = re.compile(r'Total epochs: \d+; iters: (\d+)')
BATCH = re.compile(r'Batch size per gpu: (\d+)')
PROCESSES = re.compile(r'World size \(gpu number\): (\d+)')
END = 'End of training. Time consumed'
MOST = 300  # points of a curve; more are averaged


class RunLog:
    """The log files of a run's folder, of which ``read`` reads what is new.

    Attributes: values (the logged values by iteration), stages (``{number, name, first, last}`` by number), of (the
    number of stages), total (the number of iterations), iteration, eta (as logged), images_per_second, finished.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.values: dict[int, dict[str, float]] = {}
        self.stages: dict[int, dict[str, Any]] = {}
        self.of, self.total, self.iteration, self.finished = 0, 0, 0, False
        self.eta: str | None = None
        self.images_per_second: float | None = None
        self._batch, self._processes = 0, 1
        self._read: dict[Path, int] = {}  # the number of bytes that were read

    @property
    def files(self) -> list[Path]:
        """The log files, the oldest first: a resumed run begins a new one."""
        return sorted(self.folder.glob('train_*.log'), key=lambda path: path.stat().st_mtime)

    @property
    def is_replaced(self) -> bool:
        """Whether files that were read are gone: a new run of the same name has taken the folder."""
        return not all(path.exists() for path in self._read)

    def read(self) -> None:
        """Read the lines that have been added since the last call."""
        for path in self.files:
            with open(path, 'rb') as file:
                file.seek(self._read.get(path, 0))
                text, newline, _ = file.read().rpartition(b'\n')  # the last line may be incomplete
            self._read[path] = self._read.get(path, 0) + len(text) + len(newline)
            for line in text.decode('utf-8', 'replace').splitlines():
                self._line(line)

    def curves(self) -> dict[str, list[list[float]]]:
        """``[iteration, value]`` of every logged loss and share, by key."""
        keys = dict.fromkeys(key for values in self.values.values() for key in values)
        return {
            key: thinned([(iteration, values[key]) for iteration, values in self.values.items() if key in values])
            for key in keys
            if key.startswith(('l_', 'share_'))
        }

    def _line(self, line: str) -> None:
        if match := ITERATION.search(line):
            self._values(int(match[1].replace(',', '')), match[2], match[3], match[4])
        elif match := STAGE.search(line):
            number, self.of = int(match[1]), int(match[2])
            first, last = (int(match[group].replace(',', '')) for group in (4, 5))
            self.stages[number] = {'number': number, 'name': match[3], 'first': first, 'last': last}
        elif match := RESUMED.search(line):
            self.iteration, self.finished = int(match[1]), False
            self.values = {at: values for at, values in self.values.items() if at <= self.iteration}
            self.stages = {number: stage for number, stage in self.stages.items() if stage['first'] <= self.iteration}
        elif match := TOTAL.search(line):
            self.total = int(match[1])
        elif match := BATCH.search(line):
            self._batch = int(match[1])
        elif match := PROCESSES.search(line):
            self._processes = int(match[1])
        elif END in line:
            self.finished, self.iteration, self.eta = True, self.total, None

    def _values(self, iteration: int, eta: str | None, seconds: str | None, rest: str) -> None:
        self.iteration, self.eta = iteration, eta
        if seconds and float(seconds):
            self.images_per_second = self._batch * self._processes / float(seconds)
        self.values[iteration] = {key: float(value) for key, value in VALUE.findall(rest) if _is_finite(value)}


def thinned(points: list[tuple[int, float]]) -> list[list[float]]:
    """At most ``MOST`` points, each the mean of neighbours at the last of their iterations."""
    size = math.ceil(len(points) / MOST) or 1
    groups = (points[start : start + size] for start in range(0, len(points), size))
    return [[group[-1][0], fmean(value for _, value in group)] for group in groups]


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
