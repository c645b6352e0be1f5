"""What an ablation trains: each arm with each seed, a run with an option file of its own."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sdakd_plugin.ablation.arms import Opt, built_in, user_arm
from sdakd_plugin.checks.option_file import read_yaml
from sdakd_plugin.errors import UserError
from sdakd_plugin.options import AblateOptions, shown
from sdakd_plugin.weights.files import new_file


@dataclass(frozen=True, eq=False)
class Run:
    """One run. Attributes: folder (of the ablation); arm; seed; opt (its whole options)."""

    folder: Path
    arm: str
    seed: int
    opt: Opt

    @property
    def name(self) -> str:
        return self.opt['name']

    @property
    def option_file(self) -> Path:
        return self.folder / 'options' / f'{self.name}.yml'

    @property
    def log(self) -> Path:
        return self.folder / 'logs' / f'{self.name}.log'

    @property
    def experiment(self) -> Path:
        """Where BasicSR puts the run: the ablation's folder is the root of its runs."""
        return self.folder / 'experiments' / self.name

    @property
    def fingerprint(self) -> str:
        """A hash of the options."""
        return hashlib.sha256(json.dumps(self.opt, sort_keys=True).encode()).hexdigest()[:16]

    def write(self) -> None:
        """Write the option file, whole or not at all."""
        self.option_file.parent.mkdir(parents=True, exist_ok=True)
        text = f'# Arm {self.arm}, seed {self.seed}: made by `sdakd ablate`\n'
        with new_file(self.option_file) as file:
            file.write((text + yaml.safe_dump(self.opt, sort_keys=False)).encode())


def all_arms(
    opt: Mapping[str, Any], options: AblateOptions | None, more: Sequence[tuple[str, Mapping[str, Any]]] = ()
) -> dict[str, Opt]:
    """All arms by name, the built-in ones first.

    Args:
        opt: the option file; not changed.
        options: its block ``ablate``.
        more: arms of the command line, as in that block.

    Raises:
        UserError: an arm has an invalid name or change, or trains for another number of iterations.
    """
    base = plain(opt)
    base.pop('ablate', None)
    base['path']['resume_state'] = None
    arms = built_in(base)
    for name, changes in [*(options.arms if options else {}).items(), *more]:
        if not re.fullmatch(r'[A-Za-z0-9_-]{1,60}', name):
            raise UserError(f"ablate.arms: '{name}' is not a valid name of an arm; use letters, digits, _ and -")
        if name in arms:
            raise UserError(f"ablate.arms: '{name}' is the name of another arm, {', '.join(arms)}; choose a new one")
        arms[name] = user_arm(base, name, plain(changes))
        total, expected = arms[name]['train']['total_iter'], base['train']['total_iter']
        if total != expected:
            raise UserError(
                f'ablate.arms.{name}: trains for {shown(total)} iterations, the others for {expected}; '
                'arms can only be compared after the same number'
            )
    return arms


def choose(arms: Mapping[str, Opt], names: Sequence[str]) -> dict[str, Opt]:
    """The arms with the given names, or all if there are none.

    Raises:
        UserError: there is no such arm.
    """
    for name in names:
        if name not in arms:
            raise UserError(f"--arms: there is no arm '{name}'; valid: {', '.join(arms)}")
    return {name: arm for name, arm in arms.items() if not names or name in names}


def make_runs(folder: Path, arms: Mapping[str, Opt], seeds: int) -> list[Run]:
    """The runs, all arms of a seed before the next seed, so that comparisons can be made early."""
    return [
        Run(folder, name, seed, seeded(arm, name, index))
        for index in range(seeds)
        for name, arm in arms.items()
        for seed in [(arm.get('manual_seed') or 0) + index]
    ]


def seeded(arm: Opt, name: str, index: int) -> Opt:
    """The options of an arm's run with the seed of this index. Runs of one seed start from the same student and see the
    same images; the members of a cohort have weights that no other seed has."""
    own = deepcopy(arm)
    own['manual_seed'] = (own.get('manual_seed') or 0) + index
    own['name'] = f'{name}_seed{own["manual_seed"]}'
    own['train']['reseed'] = True
    members = own.get('cohort') or []
    given = [member['manual_seed'] for member in members]
    for member in members:
        member['manual_seed'] += index * (max(given) - min(given) + 1)
    return own


def check_unchanged(run: Run) -> None:
    """Raise a UserError where the run was begun with other options than now."""
    if not run.option_file.exists():
        return
    was, now = flat(plain(read_yaml(str(run.option_file)))), flat(run.opt)
    for key in [*was, *now]:
        if was.get(key) != now.get(key):
            before, after = (shown(values[key]) if key in values else 'not there' for values in (was, now))
            raise UserError(
                f'{run.option_file}: this run was begun with other options: {key} was {before} and is '
                f'{after} now; choose another folder by --out, or another name for the arm'
            )


def flat(value: Any, inside: str = '') -> dict[str, Any]:
    """All values by their dotted keys."""
    if isinstance(value, dict) and value:
        entries = value.items()
    elif isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
        entries = dict(enumerate(value)).items()  # type: ignore[assignment]
    else:
        return {inside: value}
    return {
        key: inner for name, part in entries for key, inner in flat(part, f'{inside}{"." * bool(inside)}{name}').items()
    }


def plain(value: Any) -> Any:
    """A copy without the classes of the YAML reader, and with the home folder for ``~/``."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, str) and value.startswith('~/'):
        return os.path.expanduser(value)
    return [plain(inner) for inner in value] if isinstance(value, list) else value
