"""Validation at the start of training and after each stage, wherever BasicSR's ``val_freq`` falls."""
from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from basicsr.data import build_dataloader, build_dataset
from basicsr.utils import get_root_logger

from sdakd_plugin.data.scales import at_scales
from sdakd_plugin.distillation.stages import Stage
from sdakd_plugin.resume import run_position
from sdakd_plugin.utils import processes
from sdakd_plugin.utils.random_state import undisturbed_rng

if TYPE_CHECKING:
    from sdakd_plugin.models.sdakd_model import SDAKDModel


ALL, ENDS = 'validations', 'stages'


def file_name(label: str = '', kind: str = ENDS) -> str:
    """``stages.json`` or ``validations.json``, or that of a cohort's member."""
    return f'{kind}{label}.json'


class StageValidation:
    """Validates the model at the ends of its stages, and keeps the metrics in ``experiments/NAME/stages.json``:
    a list of ``{iter, stage, dataset, metrics, elapsed}``, the first of them at iteration 0. ``validations.json`` has
    those of every validation. ``elapsed`` is the seconds of training until then, validations left out; files of earlier
    versions lack it.
    """

    def __init__(self, model: SDAKDModel) -> None:
        self.model, self.opt = model, model.opt
        self._of_the_loop: WeakValueDictionary[str, Any] = WeakValueDictionary()  # BasicSR's own loaders, by data set

    def validate(self, iteration: int, done: Collection[str] = ()) -> None:
        """Run BasicSR's validation now, without drawing from the random numbers of training.

        Args:
            iteration: of the run.
            done: names of data sets, or of their views at one scale, that need no validation.
        """
        if not self.opt.get('val'):
            return
        with undisturbed_rng():
            for loader in self.loaders():
                views = at_scales(loader.dataset, self.model.options.scales) if done else ()
                if not views or any(view.opt['name'] not in done for view in views):
                    self.model.validation(loader, iteration, None, self.opt['val'].get('save_img', False))

    def validate_stage(self, stage: Stage) -> None:
        """Validate at the end of a stage, unless BasicSR is about to do so itself."""
        is_last = stage is self.model.schedule.stages[-1]
        if self.opt.get('val') and not is_last and stage.last % self.opt['val']['val_freq']:
            get_root_logger().info(f"End of stage '{stage.name}'.")
            self.validate(stage.last)

    def loaders(self) -> Iterator[Any]:
        """The validation loaders, one after the other: those of BasicSR's loop, once it has validated with them, else
        new ones, which nobody keeps. A process may open an LMDB only once at a time."""
        for phase, block in self.opt['datasets'].items():
            if phase.split('_')[0] == 'val':
                loader = self._of_the_loop.get(block['name'])
                yield loader if loader is not None else build_dataloader(
                    build_dataset(block), block, num_gpu=self.opt['num_gpu'], dist=self.opt['dist'])

    def seen(self, loader: Any) -> None:
        """Take note of a loader that is validated with. It is kept by its owner alone."""
        self._of_the_loop[loader.dataset.opt['name']] = loader

    def resume(self, iteration: int) -> None:
        """Tell the model its best results up to an iteration, and validate if the run was stopped before it could."""
        if not self.opt.get('val'):
            return
        known = processes.from_first(read(self._path(ALL)))  # the file changes as soon as the first one validates
        entries = [entry for entry in known if entry['iter'] <= iteration]
        for entry in entries:
            self.model._initialize_best_metric_results(entry['dataset'])
            for metric, value in entry['metrics'].items():
                if value is not None and metric in self.model.best_metric_results[entry['dataset']]:
                    self.model._update_best_metric_result(entry['dataset'], metric, value, entry['iter'])
        if iteration % self.opt['val']['val_freq'] == 0:
            self.validate(iteration, {entry['dataset'] for entry in entries if entry['iter'] == iteration})

    def record(self, dataset: str, iteration: int, metrics: Mapping[str, float]) -> None:
        """Keep the metrics of a validation, those of the start and of the ends of stages once more by themselves."""
        schedule = self.model.schedule
        seconds = run_position.current.stopwatch.seconds
        ends = {0: 'start', **{stage.last: stage.name for stage in schedule.stages}}
        iteration = min(iteration, schedule.stages[-1].last)  # BasicSR's last validation comes one later
        entry = {'iter': iteration, 'stage': ends.get(iteration, schedule.at(iteration).name), 'dataset': dataset,
                 'metrics': {name: float(value) if math.isfinite(value) else None for name, value in metrics.items()},
                 'elapsed': seconds if seconds is None else round(seconds, 3)}
        try:
            add(self._path(ALL), entry)
            if iteration in ends:
                add(self._path(ENDS), entry)
        except OSError as error:  # such as a full disk, from which checkpoints flee
            get_root_logger().error(f'The metrics of this validation cannot be kept in {self._path(ALL)}: '
                                    f'{error.strerror}')

    def _path(self, kind: str) -> str:
        return os.path.join(self.opt['path']['experiments_root'], file_name(self.model.label, kind))


def add(path: str, entry: dict[str, Any]) -> None:
    """Add an entry to a file of them, in place of the one of the same iteration and data set."""
    same = entry['iter'], entry['dataset']
    entries = [other for other in read(path) if (other['iter'], other['dataset']) != same]
    with open(path + '.tmp', 'w', encoding='utf-8') as file:
        json.dump(sorted([*entries, entry], key=lambda each: each['iter']), file, indent=2)
    os.replace(path + '.tmp', path)


def read(path: str) -> list[dict[str, Any]]:
    """The entries of such a file, none if there is no such file."""
    if not os.path.exists(path):
        return []
    with open(path, encoding='utf-8') as file:
        return json.load(file)
