"""Detects whether the images of a student drift away in colour, or from the teacher's images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

COLOUR = 3.0  # grey levels (of 255) by which a channel's mean may differ
NEAR = 1.0  # and within which it must have been before, so that a student that still learns is not reported
AWAY = 2.0  # factor of the smallest distance from the teacher's images
NAMES = ('red', 'green', 'blue')


class Drift:
    """Averages, on the device, the mean colour of the images and their distance from the teacher's.

    The colour is compared with that of the ground truth, or of LQ without one: the mean of each channel. The distance
    is the mean absolute difference. Both are exponential moving averages over about ``patience`` iterations.

    Args:
        patience: number of iterations over which is averaged, and after which is reported at the earliest.
        device: the device of the images.
    """

    def __init__(self, patience: int, device: torch.device) -> None:
        self.patience, self.device = patience, device
        self.reset()

    def reset(self) -> None:
        """Begin anew, as in a new run."""
        self.counts = {'colour': 0, 'distance': 0}  # of iterations
        self.averages = {name: torch.zeros((), device=self.device) for name in self.counts}
        self.smallest = {name: torch.full((), torch.inf, device=self.device) for name in self.counts}
        self.reported: list[str] = []

    def watch(self, sr: Tensor, reference: Tensor, teacher: Tensor | None) -> None:
        """Take the images of an iteration.

        Args:
            sr: the student's images (n, c, H, W), range 0..1.
            reference: images of the same mean colour, (n, c, h, w).
            teacher: the teacher's images (n, c, H, W); ``None`` if it has not run in this iteration.
        """
        self._add('colour', 255 * (sr.detach().mean((0, 2, 3), dtype=torch.float32) - reference.mean((0, 2, 3))))
        if teacher is not None:
            self._add('distance', 255 * (sr.detach() - teacher).abs().mean(dtype=torch.float32))

    def report(self) -> list[str]:
        """What has drifted since the last call, each once in a run. Waits for the device."""
        found = []
        for name, describe in (('colour', _colour), ('distance', _distance)):
            if self.counts[name] < self.patience or name in self.reported:
                continue
            if message := describe(self._current(name).reshape(-1).tolist(), float(self.smallest[name])):
                self.reported.append(name)
                found.append(f'{message}, on average over {self.patience:,} iterations')
        return found

    def state(self) -> dict[str, Any]:
        """The averages and counters, for a training state."""
        return {
            'counts': dict(self.counts),
            'averages': {name: value.cpu() for name, value in self.averages.items()},
            'smallest': {name: value.cpu() for name, value in self.smallest.items()},
            'reported': list(self.reported),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state`` returned."""
        self.counts, self.reported = dict(state['counts']), list(state['reported'])
        self.averages = {name: value.to(self.device) for name, value in state['averages'].items()}
        self.smallest = {name: value.to(self.device) for name, value in state['smallest'].items()}

    def _add(self, name: str, value: Tensor) -> None:
        decay = 1 - 1 / self.patience
        average = decay * self.averages[name] + (1 - decay) * value
        self.averages[name] = torch.where(average.isfinite(), average, self.averages[name])  # else NaN from then on
        self.counts[name] += 1
        if self.counts[name] >= self.patience:
            self.smallest[name] = torch.minimum(self.smallest[name], self._current(name).abs().max())

    def _current(self, name: str) -> Tensor:
        """The average, without the zero with which it began."""
        return self.averages[name] / (1 - (1 - 1 / self.patience) ** self.counts[name])


def _colour(values: list[float], smallest: float) -> str | None:
    furthest = max(range(len(values)), key=lambda channel: abs(values[channel]))
    if not (abs(values[furthest]) > COLOUR and smallest < NEAR):
        return None
    names = NAMES if len(values) == len(NAMES) else [f'channel {number}' for number in range(len(values))]
    return (
        f'change colour: the mean of {names[furthest]} is {values[furthest]:+.1f} of 255 off that of the training '
        f'images, after {smallest:.1f} at best'
    )


def _distance(values: list[float], smallest: float) -> str | None:
    if not values[0] > AWAY * smallest:
        return None
    return f"move away from the teacher's: they differ by {values[0]:.1f} of 255, after {smallest:.1f} at best"
