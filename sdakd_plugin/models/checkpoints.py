"""Saves the checkpoints of a run, in a fallback folder if necessary, and deletes those that are not kept."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from basicsr.utils import get_root_logger

from sdakd_plugin import weights
from sdakd_plugin.errors import UserError
from sdakd_plugin.models import stage_validation
from sdakd_plugin.options import LoggerOptions
from sdakd_plugin.resume.interruption import held_back
from sdakd_plugin.resume.training_state import read_state

NETWORKS, STATES = 'models', 'training_states'  # BasicSR's folders inside a run's folder


class Checkpoints:
    """The checkpoints of a run, with BasicSR's file names.

    Args:
        opt: the options of the run.
        kept: the options that say how many checkpoints are kept.
        labels: the suffix of each student in the names of the metrics files.
    """

    def __init__(self, opt: Mapping[str, Any], kept: LoggerOptions, labels: Iterable[str]) -> None:
        self.path, self.kept, self.labels = opt['path'], kept, list(labels)
        self.metrics: Mapping[str, Any] = (opt.get('val') or {}).get('metrics') or {}
        self.fallback_folder: Path | None = None  # used while the folder of the run cannot be written
        self.in_fallback = False  # whether the last checkpoint is in the fallback folder

    def write(self, contents: Mapping[str, Any]) -> None:
        """Write the files of a checkpoint, each of them atomically; if that fails, all of them to a fallback folder.

        Signals are held back until it is written.

        Args:
            contents: what to ``torch.save``, by path such as ``models/net_g_5000.pth``.

        Raises:
            SystemExit: neither the folder of the run nor a temporary folder can be written.
        """
        with held_back():
            self._write(contents)

    def folder(self, name: str) -> Path:
        """The folder ``models`` or ``training_states`` that has the last checkpoint."""
        return self.fallback_folder / name if self.in_fallback and self.fallback_folder else Path(self.path[name])

    def _write(self, contents: Mapping[str, Any]) -> None:
        try:
            for name, content in contents.items():
                weights.atomic_save(content, self.file(name))
        except (OSError, RuntimeError) as error:
            self.in_fallback = True
            self._save_elsewhere(contents, error)
            return
        self.in_fallback = False
        if self.kept.keep_last is not None and (iteration := _iteration(contents)) is not None:
            self._thin_out(iteration)

    def file(self, name: str) -> Path:
        """The path of ``models/...`` or ``training_states/...``; BasicSR's options may set other folders."""
        folder, file = name.split('/')
        return Path(self.path[folder]) / file

    def _save_elsewhere(self, contents: Mapping[str, Any], error: Exception) -> None:
        """Write a checkpoint to a temporary folder, after writing it to the folder of the run has failed."""
        logger = get_root_logger()
        try:
            self.fallback_folder = self.fallback_folder or Path(tempfile.mkdtemp(prefix='sdakd_checkpoints_'))
            for name, content in contents.items():
                (self.fallback_folder / name).parent.mkdir(exist_ok=True)
                weights.atomic_save(content, self.fallback_folder / name)
        except (OSError, RuntimeError) as second:
            logger.error(
                'Training stops: the checkpoint can be saved neither in '
                f'{self.path[NETWORKS]} ({_reason(error)}) nor in '
                f'{self.fallback_folder or tempfile.gettempdir()} ({_reason(second)}). Earlier checkpoints '
                'are unchanged.'
            )
            raise SystemExit(1) from None
        logger.error(
            f'The checkpoint cannot be saved in {self.path[NETWORKS]} ({_reason(error)}); it is in '
            f'{self.fallback_folder}. To resume from it, copy its contents to the folder of the run.'
        )

    def _thin_out(self, newest: int) -> None:
        """Delete the checkpoints that are neither among the last nor among the best, once the newest is verified."""
        saved = sorted(int(path.stem) for path in Path(self.path[STATES]).glob('*.state') if path.stem.isdigit())
        assert self.kept.keep_last is not None
        superfluous = set(saved[: -self.kept.keep_last]) - self._best(saved) - {newest}
        if not superfluous or not self._is_whole(newest):
            return
        for iteration in superfluous:  # the state first: a checkpoint with a state must be complete
            self.file(f'{STATES}/{iteration}.state').unlink(missing_ok=True)
            for path in Path(self.path[NETWORKS]).glob(f'net_*_{iteration}.pth'):
                path.unlink(missing_ok=True)

    def _is_whole(self, iteration: int) -> bool:
        try:
            read_state(str(self.file(f'{STATES}/{iteration}.state')))
            for path in Path(self.path[NETWORKS]).glob(f'net_*_{iteration}.pth'):
                weights.load_state_dict(path, None, NETWORKS)
        except UserError as error:
            get_root_logger().error(f'The new checkpoint cannot be read, so no older one is deleted: {error}')
            return False
        return True

    def _best(self, saved: list[int]) -> set[int]:
        """The saved iterations with the best validations of each student, data set and metric."""
        best: set[int] = set()
        for label in self.labels:
            path = Path(self.path['experiments_root']) / stage_validation.file_name(label, stage_validation.ALL)
            entries = [entry for entry in stage_validation.read(str(path)) if entry['iter'] in saved]
            for metric, block in self.metrics.items():
                for dataset in {entry['dataset'] for entry in entries}:
                    values = {
                        entry['iter']: entry['metrics'].get(metric) for entry in entries if entry['dataset'] == dataset
                    }
                    ranked = sorted(
                        (iteration for iteration, value in values.items() if value is not None),
                        key=values.__getitem__,
                        reverse=block.get('better', 'higher') == 'higher',
                    )
                    best.update(ranked[: self.kept.keep_best])
        return best


def _reason(error: Exception) -> str:
    return getattr(error, 'strerror', None) or str(error)


def _iteration(contents: Mapping[str, Any]) -> int | None:
    """The iteration of a checkpoint; ``None`` at the end of a run, when only the networks are saved."""
    numbers = [re.search(r'/(\d+)\.state$', name) for name in contents]
    return next((int(number[1]) for number in numbers if number), None)
