"""The results of the runs of an ablation, kept in ``ablation.json``, to which later runs are added."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from sdakd_plugin.ablation.plan import Run
from sdakd_plugin.errors import UserError
from sdakd_plugin.models import stage_validation
from sdakd_plugin.weights.files import new_file

FILE = 'ablation.json'
LOWER = ('lpips', 'dists', 'niqe')  # in the type of a metric whose lower values are better


@dataclass(frozen=True)
class Outcome:
    """A finished run. Attributes:
    arm, seed: which one.
    fingerprint: of its options.
    machine: a description of the machine that trained it.
    curve: its validations, ``{iter, stage, dataset, metrics, elapsed}``; of a cohort the mean of its members.
    """

    arm: str
    seed: int
    fingerprint: str
    machine: str
    curve: list[dict[str, Any]]

    @property
    def seconds(self) -> float | None:
        """Seconds of training."""
        return self.curve[-1]['elapsed']

    def points(self, dataset: str, metric: str) -> list[dict[str, Any]]:
        """The validations on a data set in which a metric is defined: ``{iter, elapsed, value}``."""
        return [
            {'iter': entry['iter'], 'elapsed': entry['elapsed'], 'value': entry['metrics'][metric]}
            for entry in self.curve
            if entry['dataset'] == dataset and entry['metrics'].get(metric) is not None
        ]

    def final(self, dataset: str, metric: str) -> float | None:
        """A metric at the end."""
        points = self.points(dataset, metric)
        return points[-1]['value'] if points and points[-1]['iter'] == self.curve[-1]['iter'] else None


@dataclass
class Results:
    """All finished runs. Attributes: name; control (the arm that others are compared with); better (``higher`` or
    ``lower`` by metric); total_iter; order (of the arms, others come last); outcomes."""

    name: str
    control: str
    better: dict[str, str]
    total_iter: int
    order: list[str] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> Results | None:
        """Those of a folder, if it has some.

        Raises:
            UserError: the file is damaged.
        """
        try:
            content = json.loads((folder / FILE).read_text(encoding='utf-8'))
            content['outcomes'] = [Outcome(**outcome) for outcome in content.pop('runs')]
            return cls(**content)
        except FileNotFoundError:
            return None
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f'{folder / FILE} is damaged or cannot be read; move it away, and the runs are collected '
                f'anew ({type(error).__name__}: {error})'
            ) from error

    def write(self, folder: Path) -> None:
        """Write them, a line for each run."""
        content = asdict(self)
        runs = ',\n'.join(json.dumps(outcome) for outcome in content.pop('outcomes'))
        with new_file(folder / FILE) as file:
            file.write(f'{json.dumps(content)[:-1]}, "runs": [\n{runs}\n]}}\n'.encode())

    def add(self, outcome: Outcome) -> None:
        """Add a run, in place of an earlier one of the same arm and seed."""
        others = [other for other in self.outcomes if (other.arm, other.seed) != (outcome.arm, outcome.seed)]
        self.outcomes = [*others, outcome]

    def find(self, arm: str, seed: int) -> Outcome | None:
        return next((outcome for outcome in self.outcomes if (outcome.arm, outcome.seed) == (arm, seed)), None)

    @property
    def arms(self) -> list[str]:
        """The control, and the others in their order."""
        names = dict.fromkeys(outcome.arm for outcome in self.outcomes)
        names = dict.fromkeys([name for name in self.order if name in names] + list(names))
        return [name for name in names if name == self.control] + [name for name in names if name != self.control]

    @property
    def datasets(self) -> list[str]:
        return list(dict.fromkeys(entry['dataset'] for outcome in self.outcomes for entry in outcome.curve))

    def of(self, arm: str) -> list[Outcome]:
        """An arm's runs by their seeds."""
        return sorted((outcome for outcome in self.outcomes if outcome.arm == arm), key=lambda each: each.seed)


def outcome_of(run: Run, machine: str) -> Outcome | None:
    """The outcome of a run, ``None`` if it is not finished."""
    files = sorted(run.experiment.glob(f'{stage_validation.ALL}*.json'))
    if not files or not any(run.experiment.glob('models/net_g*_latest.pth')):
        return None
    curve = average([stage_validation.read(str(path)) for path in files])
    if not curve or curve[-1]['iter'] != run.opt['train']['total_iter']:
        return None
    return Outcome(run.arm, run.seed, run.fingerprint, machine, curve)


def average(members: Iterable[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The means of the members' metrics; one member's entries are as they were."""
    found: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for entry in (entry for entries in members for entry in entries):
        found.setdefault((entry['iter'], entry['dataset']), []).append(entry)
    curve = []
    for same in found.values():
        values = {metric: [entry['metrics'][metric] for entry in same] for metric in same[0]['metrics']}
        curve.append(
            {
                **same[0],
                'elapsed': same[-1].get('elapsed'),
                'metrics': {metric: None if None in each else mean(each) for metric, each in values.items()},
            }
        )
    return sorted(curve, key=lambda entry: entry['iter'])


def directions(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """For each metric of ``val.metrics`` whether ``higher`` or ``lower`` values are better."""
    return {
        name: block.get('better') or ('lower' if any(part in block['type'] for part in LOWER) else 'higher')
        for name, block in metrics.items()
    }
