"""BasicSR's learning-rate schedulers: a schedule as long as the run, and after resuming the option file's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from basicsr.utils import get_root_logger

from sdakd_plugin.errors import UserError

# what an option file says of a schedule, as BasicSR's schedulers keep it; all else in their states is the place in it
SETTINGS = ('milestones', 'gamma', 'restarts', 'restart_weights', 'periods', 'cumulative_period', 'eta_min')


def check_periods(block: Mapping[str, Any], total_iter: int) -> None:
    """Check that cosine periods reach to the end of the run: BasicSR has no rate behind the last of them.

    Args:
        block: ``train.scheduler``; other types than the cosine one are fine.
        total_iter: iterations of the run.

    Raises:
        UserError: they are no positive numbers, or too short together.
    """
    periods = block.get('periods')
    if block.get('type') != 'CosineAnnealingRestartLR' or not isinstance(periods, list):
        return
    if not periods or not all(isinstance(period, (int, float)) and period > 0 for period in periods):
        raise UserError(f'train.scheduler.periods: expected a list of iterations above 0, not {periods}')
    if sum(periods) < total_iter - 1:  # the first iteration is number 0 for a scheduler
        raise UserError(
            f'train.scheduler.periods: make {sum(periods):,} iterations, but train.total_iter is '
            f'{total_iter:,}; lengthen the last period, or add one'
        )


def scale_rates(optimizers: Sequence[torch.optim.Optimizer], rate: float | None) -> None:
    """Give optimizers a stage's learning rate, scaled as the scheduler has scaled the option file's."""
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        if rate is not None:
            group['scheduled_lr'] = group['lr']
            group['lr'] = rate * group['lr'] / group['initial_lr']


def resumed(schedulers: Sequence[Any], states: Sequence[Mapping[str, Any]], iteration: int) -> list[dict[str, Any]]:
    """The states that schedulers go on with: the place is the training state's, the schedule the option file's.

    What lies ahead may have changed, and the log says so.

    Args:
        schedulers: BasicSR's, as the option file wants them.
        states: what the training state holds of each.
        iteration: the last one that was trained.

    Raises:
        UserError: the option file has another schedule for the iterations that were trained.
    """
    pairs = list(zip(schedulers, states, strict=True))
    merged = [_merged(scheduler, state, iteration) for scheduler, state in pairs]
    remarks = [remark for scheduler, state in pairs for remark in _remarks(scheduler, state, iteration)]
    for remark in dict.fromkeys(remarks):  # most optimizers have the same
        get_root_logger().warning(remark)
    return merged


def _merged(scheduler: Any, state: Mapping[str, Any], iteration: int) -> dict[str, Any]:
    position = state['last_epoch']  # a KeyError says that this is no scheduler's state
    now, was = _settings(vars(scheduler)), _settings(state)
    if now.keys() != was.keys():
        raise UserError('train.scheduler.type: the training state is of a run with another one; go on with that')
    was_past, now_past = _past(was, position), _past(now, position)
    for key, value in now_past.items():
        if value != was_past[key]:
            raise UserError(
                f'train.scheduler.{key}: up to iteration {iteration:,}, where the run goes on, they were '
                f'{was_past[key]} and would now be {value}; change only what lies ahead'
            )
    return {**state, **now}


def _remarks(scheduler: Any, state: Mapping[str, Any], iteration: int) -> Iterator[str]:
    """What the option file says otherwise than the training state."""
    now, was = _settings(vars(scheduler)), _settings(state)
    changes = [
        f'{key} {_plain(was[key])} before and {_plain(now[key])} now'
        for key in now
        if key != 'cumulative_period' and _plain(was[key]) != _plain(now[key])
    ]
    if changes:
        yield (
            f"train.scheduler: from iteration {iteration + 1:,} on the learning rate is the option file's "
            f'({", ".join(changes)}).'
        )
    if list(state['base_lrs']) != list(scheduler.base_lrs):
        yield (
            f"The lr of an optimizer is the training state's, {state['base_lrs']}, not the option file's, "
            f'{scheduler.base_lrs}; lr_g and lr_d of a stage change it.'
        )


def _settings(holder: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in holder.items() if key in SETTINGS}


def _past(settings: Mapping[str, Any], position: int) -> dict[str, list[Any]]:
    """The part of a schedule that is over: milestones and restarts that were reached, or periods that have ended."""
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
    """A setting as it stands in the option file: BasicSR counts how often each milestone is listed."""
    if isinstance(value, Mapping):
        return sorted(milestone for milestone, count in value.items() for _ in range(count))
    return list(value) if isinstance(value, tuple) else value
