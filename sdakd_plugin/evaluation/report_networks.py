"""The networks of a cost report, from weight files, or from an option file with the checkpoints of its run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from sdakd_plugin import weights
from sdakd_plugin.errors import UserError
from sdakd_plugin.families.calling import folded
from sdakd_plugin.families.spandrel import is_of_spandrel
from sdakd_plugin.inference.model import Model, load_model
from sdakd_plugin.networks.build import build_network
from sdakd_plugin.networks.frozen import load_frozen
from sdakd_plugin.options import TeacherOptions, parse

TEACHER = 'teacher'


@dataclass(frozen=True)
class ReportedNetwork:
    """A network of the report. Attributes: network (its option block), net, weights (their file, None: random)."""

    network: dict[str, Any]
    net: nn.Module
    weights: Path | None

    @property
    def source(self) -> Mapping[str, Any] | Path:
        """What the network can be built from again: its option block, or the file if only spandrel can build it."""
        return self.weights if self.weights and is_of_spandrel(self.net) else self.network


def from_files(teacher: str | None, students: Sequence[str]) -> dict[str, ReportedNetwork]:
    """The networks of weight files. A single student is named ``'student'``, several are named after their files.

    Raises:
        UserError: as ``load_model``; or two files have one name.
    """
    networks = {} if teacher is None else {TEACHER: _from_file(teacher, '--teacher')}
    for source in students:
        name = 'student' if len(students) == 1 else Path(source).stem
        if name in networks:
            raise UserError(f"--student: {source}: there already is a '{name}'; rename the file")
        networks[name] = _from_file(source, '--student')
    return networks


def from_options(opt: Mapping[str, Any], experiments: Path = Path('experiments')) -> dict[str, ReportedNetwork]:
    """The teacher of an option file, if it has one, and its students as they were saved last.

    Args:
        opt: the option file's content.
        experiments: where the runs are.

    Raises:
        UserError: the options are wrong, or the weights are not the network's.
    """
    options = parse({**opt, 'is_train': opt.get('train') is not None})
    networks = {TEACHER: _frozen_teacher(options.first_teacher)} if options.first_teacher is not None else {}
    for name, (label, network) in options.students.items():
        net = build_network(network, 'network_g')
        path = newest_checkpoint(experiments / options.name / 'models', label)
        if path is not None:
            weights.load_into(net, weights.load_state_dict(path, 'params_ema', name), path, name)
        networks[name] = ReportedNetwork(dict(network), folded(net).eval(), path)
    return networks


def as_model(name: str, reported: ReportedNetwork) -> Model:
    """A network of the report for a backend that converts it."""
    found = weights.identify(reported.net.state_dict())
    identity = weights.Identity('generator', reported.network, found.scale if found else None)
    return Model(name, reported.weights or Path(name), identity, {}, reported.net)


def newest_checkpoint(folder: Path, label: str = '') -> Path | None:
    """The generator that a run saved last, at its end (``net_g_latest.pth``) or before (``net_g_5000.pth``)."""
    pattern = re.compile(rf'net_g{re.escape(label)}_(\d+|latest)\.pth')
    found = [path for path in folder.glob('net_g*.pth') if pattern.fullmatch(path.name)]
    return max(found, key=lambda path: path.stat().st_mtime) if found else None


def _from_file(source: str, role: str) -> ReportedNetwork:
    model = load_model(source, role)
    return ReportedNetwork(model.identity.network, model.net, model.path)


def _frozen_teacher(block: TeacherOptions) -> ReportedNetwork:
    role = 'teacher.pretrain_network_g'
    net, network = load_frozen(block.network_g, block.pretrain_network_g, block.param_key_g, 'g')
    return ReportedNetwork(dict(network), folded(net), weights.resolve(block.pretrain_network_g, role))
