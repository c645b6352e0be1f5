"""Validation at the start of training and after each stage, wherever BasicSR's ``val_freq`` falls."""
from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from basicsr.data import build_dataloader, build_dataset
from basicsr.utils import get_root_logger

from sdakd_plugin.distillation.build import undisturbed_rng
from sdakd_plugin.distillation.stages import Stage

if TYPE_CHECKING:
    from sdakd_plugin.models.sdakd_model import SDAKDModel


def file_name(label: str = '') -> str:
    """``stages.json``, or that of a cohort's member."""
    return f'stages{label}.json'


class Milestones:
    """Validates the model at the ends of its stages, and keeps the metrics in ``experiments/NAME/stages.json``:
    a list of ``{iter, stage, dataset, metrics}``, the first of them at iteration 0.
    """

    def __init__(self, model: SDAKDModel) -> None:
        self.model, self.opt = model, model.opt
        self._loaders: list[Any] | None = None

    def validate(self, iteration: int) -> None:
        """Run BasicSR's validation now, without drawing from the random numbers of training."""
        if not self.opt.get('val'):
            return
        with undisturbed_rng():
            for loader in self.loaders:
                self.model.validation(loader, iteration, None, self.opt['val'].get('save_img', False))

    def validate_stage(self, stage: Stage) -> None:
        """Validate at the end of a stage, unless BasicSR is about to do so itself."""
        is_last = stage is self.model.schedule.stages[-1]
        if self.opt.get('val') and not is_last and stage.last % self.opt['val']['val_freq']:
            get_root_logger().info(f"End of stage '{stage.name}'.")
            self.validate(stage.last)

    @property
    def loaders(self) -> list[Any]:
        if self._loaders is None:
            self._loaders = [
                build_dataloader(build_dataset(block), block, num_gpu=self.opt['num_gpu'], dist=self.opt['dist'])
                for phase, block in self.opt['datasets'].items() if phase.split('_')[0] == 'val']
        return self._loaders

    def record(self, dataset: str, iteration: int, metrics: Mapping[str, float]) -> None:
        """Keep the metrics of a validation that falls on the start, the end of a stage, or the end of the run."""
        schedule = self.model.schedule
        ends = {0: 'start', **{stage.last: stage.name for stage in schedule.stages}}
        iteration = min(iteration, schedule.stages[-1].last)  # BasicSR's last validation comes one later
        if iteration not in ends:
            return
        path = os.path.join(self.opt['path']['experiments_root'], file_name(self.model.label))
        entries = [entry for entry in read(path) if (entry['iter'], entry['dataset']) != (iteration, dataset)]
        entries.append({'iter': iteration, 'stage': ends[iteration], 'dataset': dataset,
                        'metrics': {name: float(value) if math.isfinite(value) else None
                                    for name, value in metrics.items()}})
        with open(path + '.tmp', 'w', encoding='utf-8') as file:
            json.dump(sorted(entries, key=lambda entry: entry['iter']), file, indent=2)
        os.replace(path + '.tmp', path)


def read(path: str) -> list[dict[str, Any]]:
    """The entries of a ``stages.json``, none if there is no such file."""
    if not os.path.exists(path):
        return []
    with open(path, encoding='utf-8') as file:
        return json.load(file)
