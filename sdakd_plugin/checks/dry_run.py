"""Trains each stage for one iteration on real images. Nothing is written."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from basicsr.data import build_dataset
from torch.utils.data import default_collate

from sdakd_plugin.checks.timing import time_iteration
from sdakd_plugin.distillation.stages import Schedule, Stage
from sdakd_plugin.errors import UserError
from sdakd_plugin.options import TrainOptions
from sdakd_plugin.stock.named_errors import with_image_names
from sdakd_plugin.stock.silence import quiet

QUICK = 3.0  # seconds: an iteration that takes no longer is repeated, since the first is slower


@dataclass(frozen=True)
class DryIteration:
    """The result of one iteration. Attributes: stage; iteration (its number); losses (as in the log); seconds; again
    (seconds of its repetition, which is faster; of itself, if it takes long); images (number); updates (iterations of
    the stage in which the generator is updated); alone (seconds of an iteration in which only the discriminator is; 0
    if there are none)."""

    stage: Stage
    iteration: int
    losses: dict[str, float]
    seconds: float
    again: float
    images: int
    updates: int
    alone: float = 0.0

    def __str__(self) -> str:
        losses = ', '.join(f'{key} {value:.4g}' for key, value in self.losses.items())
        return (
            f'stage {self.stage.number} {self.stage.name}: iterations {self.stage.first:,} to '
            f'{self.stage.last:,}; {losses}; {self.seconds:.2f} s'
        )


def dry_run(model: Any, batch: Mapping[str, Any]) -> Iterator[DryIteration]:
    """Train each stage for one iteration, and for others to time it.

    Args:
        model: the model of the run, as ``check`` returns it.
        batch: as ``first_batch`` returns it.

    Raises:
        UserError: an iteration fails, a loss is not finite, or all gradients of a stage are zero.
    """
    images, schedule, train = len(next(iter(batch.values()))), model.schedule, model.options.train
    for stage in schedule.stages:
        iteration, begun = iteration_to_try(stage, schedule, train), time.perf_counter()
        try:
            with quiet():
                for optimizer in model.optimizers:
                    optimizer.zero_grad()
                time_iteration(model, iteration, batch)
                log = model.get_current_log()
        except UserError:
            raise
        except torch.cuda.OutOfMemoryError:
            raise UserError(
                f"datasets.train.batch_size_per_gpu: stage '{stage.name}' with a batch of {images} does not fit into "
                'the memory that is free on the GPU; use fewer images, or smaller crops'
            ) from None
        except Exception as error:  # whatever the user's own losses and networks may raise
            raise UserError(f"stage '{stage.name}': an iteration fails: {type(error).__name__}: {error}") from error
        losses = {key: value for key, value in log.items() if key.startswith('l_')}
        _check_training(model, stage, losses)
        again = seconds = time.perf_counter() - begun
        if seconds < QUICK:
            with quiet():
                again = time_iteration(model, iteration, batch)
        alone, of_d = 0.0, iteration_of_d(stage, schedule, train)
        if of_d is not None:
            with quiet():
                alone = time_iteration(model, of_d, batch)
        updates = schedule.generator_updates(stage, train)
        yield DryIteration(stage, iteration, losses, seconds, again, images, updates, alone)


def _check_training(model: Any, stage: Stage, losses: Mapping[str, float]) -> None:
    """Raise a UserError if a loss is not finite, or nothing trains."""
    for key, value in losses.items():
        if not math.isfinite(value):
            raise UserError(
                f"stage '{stage.name}': {key} is {value} in the first iteration; look at its loss, its "
                'weight and the learning rate'
            )
    if not any(
        parameter.grad is not None and parameter.grad.any()
        for optimizer in model.optimizers
        for group in optimizer.param_groups
        for parameter in group['params']
    ):
        raise UserError(
            f"train.stages: nothing trains in stage '{stage.name}': the gradient of all of its losses "
            f'({", ".join(stage.losses)}) is zero; look at their weights, or leave the stage out'
        )


def first_batch(opt: Mapping[str, Any]) -> dict[str, Any]:
    """The first images of the training set as a batch: two, or one if the batch size of the run is odd, since the size
    of the degradation's training-pair pool must be a multiple of the batch size."""
    block = deepcopy(opt['datasets']['train'])
    dataset = with_image_names(build_dataset)(block)
    count = 1 if block['batch_size_per_gpu'] % 2 else 2
    batch: dict[str, Any] = default_collate([dataset[index % len(dataset)] for index in range(count)])
    return batch


def iteration_to_try(stage: Stage, schedule: Schedule, train: TrainOptions) -> int:
    """The stage's first iteration that updates the generator, or the first of all if there is none.

    If a ramp begins at 0, it is the second, so that a stage is tried in which something trains.
    """
    if not stage.trains_d:
        return min(stage.first + (0 in stage.ramped(stage.first).values()), stage.last)
    first = schedule.first_beside_d(stage, train)
    first += -first % train.net_d_iters
    return first if first <= stage.last else stage.first


def iteration_of_d(stage: Stage, schedule: Schedule, train: TrainOptions) -> int | None:
    """An iteration of the stage in which only the discriminator is updated; ``None`` if there are none."""
    first_two = range(stage.first, min(stage.first + 1, stage.last) + 1)  # one of the two, if there are any
    return next((iteration for iteration in first_two if not schedule.generator_steps(iteration, train)), None)
