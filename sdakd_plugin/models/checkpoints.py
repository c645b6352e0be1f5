"""Where checkpoints go: into the run's folder, elsewhere if that fails, and away again if fewer are to be kept."""

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

NETWORKS, STATES = 'models', 'training_states'  # BasicSR's folders of a run


class Checkpoints:
    """The checkpoints of a run, as BasicSR names them.

    Args:
        opt: the run's options.
        kept: how many of them are kept.
        labels: behind the names of the files with the metrics, one for each student.
    """

    def __init__(self, opt: Mapping[str, Any], kept: LoggerOptions, labels: Iterable[str]) -> None:
        self.path, self.kept, self.labels = opt['path'], kept, list(labels)
        self.metrics: Mapping[str, Any] = (opt.get('val') or {}).get('metrics') or {}
        self.fallback_folder: Path | None = None  # where they go while the run's folder takes none
        self.in_fallback = False  # whether the last one is there

    def write(self, contents: Mapping[str, Any]) -> None:
        """Write the files of a checkpoint, each whole or not at all; or all of them elsewhere. A signal waits for it.

        Args:
            contents: what ``torch.save`` takes, by path such as ``models/net_g_5000.pth``.

        Raises:
            SystemExit: neither the run's folder nor a temporary one takes them.
        """
        with held_back():
            self._write(contents)

    def folder(self, name: str) -> Path:
        """Where the last checkpoint's ``models`` or ``training_states`` are."""
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
        """The place of ``models/...`` or ``training_states/...``: BasicSR's options may name other folders."""
        folder, file = name.split('/')
        return Path(self.path[folder]) / file

    def _save_elsewhere(self, contents: Mapping[str, Any], error: Exception) -> None:
        """Write to a temporary folder what the run's folder did not take."""
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
                f'{self.fallback_folder or tempfile.gettempdir()} ({_reason(second)}). The checkpoints '
                'before it are as they were.'
            )
            raise SystemExit(1) from None
        logger.error(
            f'The checkpoint cannot be saved in {self.path[NETWORKS]} ({_reason(error)}); it is in '
            f'{self.fallback_folder}. To go on from it, copy what is there into the folder of the run.'
        )

    def _thin_out(self, newest: int) -> None:
        """Remove the checkpoints that are neither among the last nor among the best; never before the newest is known
        to be readable."""
        saved = sorted(int(path.stem) for path in Path(self.path[STATES]).glob('*.state') if path.stem.isdigit())
        assert self.kept.keep_last is not None
        superfluous = set(saved[: -self.kept.keep_last]) - self._best(saved) - {newest}
        if not superfluous or not self._is_whole(newest):
            return
        for iteration in superfluous:  # the state first: what has one is complete
            self.file(f'{STATES}/{iteration}.state').unlink(missing_ok=True)
            for path in Path(self.path[NETWORKS]).glob(f'net_*_{iteration}.pth'):
                path.unlink(missing_ok=True)

    def _is_whole(self, iteration: int) -> bool:
        try:
            read_state(str(self.file(f'{STATES}/{iteration}.state')))
            for path in Path(self.path[NETWORKS]).glob(f'net_*_{iteration}.pth'):
                weights.load_state_dict(path, None, NETWORKS)
        except UserError as error:
            get_root_logger().error(f'The checkpoint that was just written cannot be read, so none is removed: {error}')
            return False
        return True

    def _best(self, saved: list[int]) -> set[int]:
        """The iterations of the best validations of each student, data set and metric, of those that were saved."""
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
    """The iteration of a checkpoint, ``None`` for the networks by themselves at the end of a run."""
    numbers = [re.search(r'/(\d+)\.state$', name) for name in contents]
    return next((int(number[1]) for number in numbers if number), None)
