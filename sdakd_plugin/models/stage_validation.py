"""Validation of a run's students: when BasicSR asks, at the start of training and at the end of each stage."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.utils import get_root_logger
from torch import Tensor
from torch.utils.data import DataLoader

from sdakd_plugin.data.against_teacher import AgainstTeacher
from sdakd_plugin.data.lq_photo_dataset import without_gt
from sdakd_plugin.data.scales import at_scales
from sdakd_plugin.distillation.stages import Schedule
from sdakd_plugin.models import reference_pictures
from sdakd_plugin.models.early_stop import has_stalled
from sdakd_plugin.models.student import Student
from sdakd_plugin.networks.frozen import weights_are_local
from sdakd_plugin.options import StopOptions, parse
from sdakd_plugin.resume.run_position import RunPosition
from sdakd_plugin.stock.validation import StudentValidation
from sdakd_plugin.utils import processes
from sdakd_plugin.utils.random_state import undisturbed_rng

ALL, ENDS = 'validations', 'stages'


def file_name(label: str = '', kind: str = ENDS) -> str:
    """The name of a metrics file, ``stages.json`` or ``validations.json``, with the suffix of a cohort's member."""
    return f'{kind}{label}.json'


class StageValidation:
    """Validates the students of a run, also at the start of training and at the end of each stage.

    The metrics are stored in ``experiments/NAME/validations.json``, a list of
    ``{iter, stage, dataset, metrics, elapsed}``. ``elapsed`` is the training time in seconds up to that point, without
    validations; files of earlier versions lack it. ``stages.json`` has the entries of the start, at iteration 0, and of
    the ends of stages.

    Args:
        opt: BasicSR's options.
        scales: the scales of the run, if it has several.
        students: the students to validate.
        schedule: the stages; ``None`` in testing.
        position: the position of the run.
        device: the device of the students.
        validate: the model's ``validate``, called with a data loader, the iteration, ``None`` and whether to save
            images.
        teach: the teacher: turns an LQ image (1, c, h, w) into (1, c, H, W). In training, the metrics of data sets
            without ground truth compare with its images.
    """

    def __init__(
        self,
        opt: Mapping[str, Any],
        scales: Sequence[int] | None,
        students: Sequence[Student],
        schedule: Schedule | None,
        position: RunPosition,
        device: torch.device,
        validate: Callable[[Any, int, None, bool], Any],
        teach: Callable[[Tensor], Tensor],
    ) -> None:
        self.teach = teach
        self.taught: dict[str, AgainstTeacher] = {}  # the views of the data sets without ground truth, by name
        self.opt, self.scales, self.schedule, self.position = opt, scales, schedule, position
        self._validate = validate
        self.suffixes = [student.run.suffix for student in students]
        self.validations = [
            StudentValidation(student.run.opt, device, student.run.name, student.super_resolve) for student in students
        ]
        self.resumed = 0  # the iteration from which the run was resumed
        self._validated: dict[str, int] = {}  # the last iteration, by data set
        self._of_the_loop: WeakValueDictionary[str, Any] = WeakValueDictionary()  # BasicSR's own loaders, by data set

    def due(self, dataloader: Any, current_iter: Any) -> Any:
        """The iteration of a validation, or ``None`` if this validation has already been done.

        After the last iteration BasicSR's loop validates again, with a counter that is higher by one or, at the end of
        an epoch, by two.
        """
        if self.schedule is None:  # in testing the "iteration" is a name
            return current_iter
        name, last = dataloader.dataset.opt['name'], max(self.schedule.stages[-1].last, self.resumed)
        if current_iter > last and self._validated.get(name) == last:
            return None
        if self.position.finished and self._validated.get(name) == current_iter:  # it ended early, after this one
            return None
        self._validated[name] = min(current_iter, last)
        return self._validated[name]

    def run(self, dataloader: Any, iteration: Any, tb_logger: Any, save_img: bool) -> bool:
        """Validate all students and store their metrics; return whether all of it succeeded.

        In a run that has begun, a full disk or too little memory of the GPU costs the validation, not the run.
        """
        try:
            self._run(dataloader, iteration, tb_logger, save_img)
        except (OSError, torch.cuda.OutOfMemoryError) as error:
            if self.schedule is None or iteration == 0:
                raise
            reason = str(error).split('\n')[0]
            get_root_logger().error(
                f'The validation on {dataloader.dataset.opt["name"]} at iteration {iteration:,} is incomplete, and '
                f'training continues: {type(error).__name__}: {reason}'
            )
            return False
        return True

    def _run(self, dataloader: Any, iteration: Any, tb_logger: Any, save_img: bool) -> None:
        if self.schedule is not None:
            self._of_the_loop[dataloader.dataset.opt['name']] = dataloader
        for validation, suffix in zip(self.validations, self.suffixes, strict=True):
            for view in self._views(dataloader.dataset):
                loader = dataloader if view is dataloader.dataset else DataLoader(view)
                validation.nondist_validation(loader, iteration, tb_logger, save_img)
                if save_img and self.schedule is not None:
                    self._save_references(view)
                if self.schedule is not None and self.opt['val'].get('metrics') is not None:
                    self._record(view.opt['name'], iteration, validation.metric_results, suffix, self.schedule)

    def last_and_best(self) -> str:
        """The last validation in a few words, such as ``psnr 25.31 (best 25.40 @ 800)``; empty before the first."""
        return '; '.join(validation.last_and_best for validation in self.validations if validation.last_and_best)

    def validate(self, iteration: int, done: Collection[str] = ()) -> None:
        """Run BasicSR's validation now, without affecting the random numbers of training.

        Args:
            iteration: the iteration of the run.
            done: names of data sets (or of their views at one scale) to skip.
        """
        if not self.opt.get('val'):
            return
        with undisturbed_rng():
            for loader in self._loaders():
                views = self._views(loader.dataset) if done else ()
                if not views or any(view.opt['name'] not in done for view in views):
                    self._validate(loader, iteration, None, self.opt['val'].get('save_img', False))

    def end_stage_before(self, iteration: int) -> None:
        """Validate if a stage has ended just before an iteration, unless BasicSR has already validated there."""
        assert self.schedule is not None
        stage = self.schedule.at(iteration - 1)
        if (
            iteration == 1
            or iteration - 1 != stage.last
            or not self.opt.get('val')
            or stage is self.schedule.stages[-1]
            or stage.last % self.opt['val']['val_freq'] == 0
        ):
            return
        get_root_logger().info(f"End of stage '{stage.name}'.")
        # only a run that was stopped right here can have been validated; what is trained again is validated again
        done = [self._done(suffix, stage.last) if self.resumed == stage.last else set() for suffix in self.suffixes]
        self.validate(stage.last, set.intersection(*done))

    def resume(self, iteration: int) -> None:
        """Restore the best results up to an iteration, and validate if the interrupted run did not get to it."""
        self.resumed = iteration
        if not self.opt.get('val'):
            return
        for validation, suffix in zip(self.validations, self.suffixes, strict=True):
            for entry in self._known(suffix):
                if entry['iter'] <= iteration:
                    validation.set_best(entry['dataset'], entry['metrics'], entry['iter'])
        if iteration % self.opt['val']['val_freq'] == 0:
            self.validate(iteration, set.intersection(*(self._done(suffix, iteration) for suffix in self.suffixes)))

    def stalled(self, iteration: int, when: StopOptions) -> bool:
        """Whether the metric of every student has stalled on the first validation set, in the last stage up to now.

        Args:
            iteration: the iteration of the run.
            when: the metric and the number of validations.
        """
        first = next(block['name'] for phase, block in self.opt['datasets'].items() if phase.split('_')[0] == 'val')
        assert self.schedule is not None
        begun = self.schedule.stages[-1].first - 1  # the validation before its first iteration is the one to improve on
        views = {first, f'{first}_to_teacher', f'{first}_x{min(self.scales or [1])}'}
        lower = self.opt['val']['metrics'][when.metric].get('better') == 'lower'
        histories = [
            [
                entry['metrics'].get(when.metric)
                for entry in self._known(suffix)
                if entry['dataset'] in views and begun <= entry['iter'] <= iteration
            ]
            for suffix in self.suffixes
        ]  # a list: all processes take part in reading each
        return all(has_stalled(history, when.patience, lower) for history in histories)

    def _views(self, dataset: Any) -> list[Any]:
        """The data sets that a validation on one data set consists of."""
        taught = self.opt.get('teacher') or self.opt.get('teachers')
        if self.schedule is None or not taught or not self.opt['val'].get('metrics') or not without_gt(dataset.opt):
            return at_scales(dataset, self.scales)
        name = dataset.opt['name']
        if name not in self.taught:
            self.taught[name] = AgainstTeacher(dataset, self.teach)
        return [self.taught[name]]

    def _save_references(self, dataset: Any) -> None:
        """Save the pictures to look at beside the student's; the teacher's too, unless that needs a download."""
        block = next(iter(parse(self.opt).all_teachers.values()), None)
        here = block is not None and (block.cache is None or weights_are_local(block.pretrain_network_g))
        folder = Path(self.opt['path']['experiments_root'], reference_pictures.FOLDER)
        reference_pictures.save(dataset, folder, self.teach if here else None)

    def _loaders(self) -> Iterator[Any]:
        """Yield the validation loaders: those of BasicSR's loop once it has used them, otherwise new ones.

        New loaders are not kept, because a process may open an LMDB only once at a time.
        """
        for phase, block in self.opt['datasets'].items():
            if phase.split('_')[0] == 'val':
                loader = self._of_the_loop.get(block['name'])
                yield (
                    loader
                    if loader is not None
                    else build_dataloader(
                        build_dataset(block), block, num_gpu=self.opt['num_gpu'], dist=self.opt['dist']
                    )
                )

    def _done(self, suffix: str, iteration: int) -> set[str]:
        """The data sets for which the metrics of a student at an iteration are stored."""
        return {entry['dataset'] for entry in self._known(suffix) if entry['iter'] == iteration}

    def _known(self, suffix: str) -> list[dict[str, Any]]:
        """The stored validations of a student, read by the first process, which also writes them."""
        return processes.from_first(read(self._path(ALL, suffix)))

    def _record(
        self, dataset: str, iteration: int, metrics: Mapping[str, float], suffix: str, schedule: Schedule
    ) -> None:
        """Store the metrics of a validation; those of the start and of the ends of stages in ``stages.json`` too."""
        seconds = self.position.stopwatch.seconds
        ends = {0: 'start', **{stage.last: stage.name for stage in schedule.stages}}
        entry = {
            'iter': iteration,
            'stage': ends.get(iteration, schedule.at(iteration).name),
            'dataset': dataset,
            'metrics': {name: float(value) if math.isfinite(value) else None for name, value in metrics.items()},
            'elapsed': seconds if seconds is None else round(seconds, 3),
        }
        try:
            add(self._path(ALL, suffix), entry)
            if iteration in ends:
                add(self._path(ENDS, suffix), entry)
        except OSError as error:  # such as a full disk; checkpoints then go to a fallback folder
            get_root_logger().error(
                f'The metrics of this validation cannot be stored in {self._path(ALL, suffix)}: {error.strerror}'
            )

    def _path(self, kind: str, suffix: str) -> str:
        return os.path.join(self.opt['path']['experiments_root'], file_name(suffix, kind))


def add(path: str, entry: dict[str, Any]) -> None:
    """Add an entry to a metrics file, replacing the one of the same iteration and data set."""
    same = entry['iter'], entry['dataset']
    entries = [other for other in read(path) if (other['iter'], other['dataset']) != same]
    with open(path + '.tmp', 'w', encoding='utf-8') as file:
        json.dump(sorted([*entries, entry], key=lambda each: each['iter']), file, indent=2)
    os.replace(path + '.tmp', path)


def read(path: str) -> list[dict[str, Any]]:
    """The entries of a metrics file; empty if the file does not exist."""
    if not os.path.exists(path):
        return []
    with open(path, encoding='utf-8') as file:
        return json.load(file)
