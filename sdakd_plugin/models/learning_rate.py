"""Checks for BasicSR's learning-rate schedulers, learning rates of stages, and schedulers after resuming."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from basicsr.utils import get_root_logger

from sdakd_plugin.errors import UserError

# the option file's settings in the state of a BasicSR scheduler; everything else there is the position in the schedule
SETTINGS = ('milestones', 'gamma', 'restarts', 'restart_weights', 'periods', 'cumulative_period', 'eta_min')


def check_periods(block: Mapping[str, Any], total_iter: int) -> None:
    """Check that the cosine periods reach the end of the run: BasicSR has no learning rate after the last period.

    Args:
        block: ``train.scheduler``; types other than the cosine scheduler are not checked.
        total_iter: iterations of the run.

    Raises:
        UserError: the periods are not positive numbers, or their sum is too small.
    """
    periods = block.get('periods')
    if block.get('type') != 'CosineAnnealingRestartLR' or not isinstance(periods, list):
        return
    if not periods or not all(isinstance(period, (int, float)) and period > 0 for period in periods):
        raise UserError(f'train.scheduler.periods: expected a list of iterations above 0, not {periods}')
    if sum(periods) < total_iter - 1:  # a scheduler counts from 0
        raise UserError(
            f'train.scheduler.periods: add up to {sum(periods):,} iterations, but train.total_iter is '
            f'{total_iter:,}; lengthen the last period, or add one'
        )


def check_milestones(block: Mapping[str, Any]) -> None:
    """Check ``milestones`` and ``restarts`` of ``train.scheduler``: BasicSR ignores what is not an iteration.

    Raises:
        UserError: they are not lists of whole numbers.
    """
    for key in ('milestones', 'restarts'):
        value = block.get(key, [])
        if not isinstance(value, list) or not all(
            isinstance(one, (int, float)) and not isinstance(one, bool) and one >= 0 and float(one).is_integer()
            for one in value
        ):
            raise UserError(f'train.scheduler.{key}: expected a list of iterations, such as [200000], not {value!r}')


def scale_rates(optimizers: Sequence[torch.optim.Optimizer], rate: float | None) -> None:
    """Set the learning rate of a stage, multiplied by the scheduler's current factor; does nothing without a rate."""
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        if rate is not None:
            group['scheduled_lr'] = group['lr']
            group['lr'] = rate * group['lr'] / group['initial_lr']


def resumed(schedulers: Sequence[Any], states: Sequence[Mapping[str, Any]], iteration: int) -> list[dict[str, Any]]:
    """The states with which schedulers resume: the position of the training state in the schedule of the option file.

    The future part of the schedule may have changed, which is logged.

    Args:
        schedulers: BasicSR's schedulers, built from the option file.
        states: their states in the training state.
        iteration: the last trained iteration.

    Raises:
        UserError: the option file has another schedule for iterations that are already trained.
    """
    pairs = list(zip(schedulers, states, strict=True))
    merged = [_merged(scheduler, state, iteration) for scheduler, state in pairs]
    remarks = [remark for scheduler, state in pairs for remark in _remarks(scheduler, state, iteration)]
    for remark in dict.fromkeys(remarks):  # most schedulers yield the same remarks
        get_root_logger().warning(remark)
    return merged


def _merged(scheduler: Any, state: Mapping[str, Any], iteration: int) -> dict[str, Any]:
    position = state['last_epoch']  # raises KeyError if this is not the state of a scheduler
    now, was = _settings(vars(scheduler)), _settings(state)
    if now.keys() != was.keys():
        raise UserError('train.scheduler.type: the training state is of a run with another type; keep that type')
    was_past, now_past = _past(was, position), _past(now, position)
    for key, value in now_past.items():
        if value != was_past[key]:
            raise UserError(
                f'train.scheduler.{key}: up to iteration {iteration:,}, where the run resumes, they were '
                f'{was_past[key]} and would now be {value}; change only the part after it'
            )
    return {**state, **now}


def _remarks(scheduler: Any, state: Mapping[str, Any], iteration: int) -> Iterator[str]:
    """Messages about the differences between the option file and the training state."""
    now, was = _settings(vars(scheduler)), _settings(state)
    changes = [
        f'{key} {_plain(was[key])} before and {_plain(now[key])} now'
        for key in now
        if key != 'cumulative_period' and _plain(was[key]) != _plain(now[key])
    ]
    if changes:
        yield (
            f'train.scheduler: from iteration {iteration + 1:,} the learning rate follows the option file '
            f'({", ".join(changes)}).'
        )
    if list(state['base_lrs']) != list(scheduler.base_lrs):
        yield (
            f'The lr of an optimizer comes from the training state, {state["base_lrs"]}, not from the option file, '
            f'{scheduler.base_lrs}; use lr_g and lr_d of a stage to change it.'
        )


def _settings(holder: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in holder.items() if key in SETTINGS}


def _past(settings: Mapping[str, Any], position: int) -> dict[str, list[Any]]:
    """The past part of a schedule: the milestones and restarts that were reached, or the periods that have ended."""
    weights = list(settings['restart_weights'])
    if 'periods' in settings:
        ended = sum(end <= position for end in settings['cumulative_period'])
        return {'periods': list(settings['periods'])[:ended], 'restart_weights': weights[:ended]}
    reached = [number for number, restart in enumerate(settings['restarts']) if restart <= position]
    return {
        'milestones': [milestone for milestone in _plain(settings['milestones']) if milestone <= position],
        'restarts': [settings['restarts'][number] for number in reached],
        'restart_weights': [weights[number] for number in reached],
    }


def _plain(value: Any) -> Any:
    """A setting as written in the option file: BasicSR stores milestones as a counter."""
    if isinstance(value, Mapping):
        return sorted(milestone for milestone, count in value.items() for _ in range(count))
    return list(value) if isinstance(value, tuple) else value
