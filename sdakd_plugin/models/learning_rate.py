"""BasicSR's learning-rate schedulers: a schedule as long as the run, and after resuming the option file's."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
        raise UserError(f'train.scheduler.periods: make {sum(periods):,} iterations, but train.total_iter is '
                        f'{total_iter:,}; lengthen the last period, or add one')


def resumed(scheduler: Any, state: Mapping[str, Any], iteration: int) -> dict[str, Any]:
    """The state that a scheduler goes on with: its place is the training state's, the schedule the option file's.

    What lies ahead may have changed, and the log says so.

    Args:
        scheduler: one of BasicSR's, as the option file wants it.
        state: what the training state holds of it.
        iteration: the last one that was trained.

    Raises:
        UserError: the option file has another schedule for the iterations that were trained.
    """
    now = {key: value for key, value in vars(scheduler).items() if key in SETTINGS}
    was = {key: value for key, value in state.items() if key in SETTINGS}
    if now.keys() != was.keys():
        raise UserError('train.scheduler.type: the training state is of a run with another one; go on with that')
    was_past, now_past = _past(was, state['last_epoch']), _past(now, state['last_epoch'])
    for key, value in now_past.items():
        if value != was_past[key]:
            raise UserError(f'train.scheduler.{key}: up to iteration {iteration:,}, where the run goes on, they were '
                            f'{was_past[key]} and would now be {value}; change only what lies ahead')
    changes = [f'{key} {_plain(was[key])} before and {_plain(now[key])} now' for key in now
               if key != 'cumulative_period' and _plain(was[key]) != _plain(now[key])]
    if changes:
        get_root_logger().warning(f'train.scheduler: from iteration {iteration + 1:,} on the learning rate is the '
                                  f"option file's ({', '.join(changes)}).")
    if list(state['base_lrs']) != list(scheduler.base_lrs):
        get_root_logger().warning(f"The lr of an optimizer is the training state's, {state['base_lrs']}, not the "
                                  f"option file's, {scheduler.base_lrs}; lr_g and lr_d of a stage change it.")
    return {**state, **now}


def _past(settings: Mapping[str, Any], position: int) -> dict[str, list[Any]]:
    """The part of a schedule that is over: milestones and restarts that were reached, or periods that have ended."""
    weights = list(settings['restart_weights'])
    if 'periods' in settings:
        ended = sum(end <= position for end in settings['cumulative_period'])
        return {'periods': list(settings['periods'])[:ended], 'restart_weights': weights[:ended]}
    reached = [number for number, restart in enumerate(settings['restarts']) if restart <= position]
    return {'milestones': [milestone for milestone in _plain(settings['milestones']) if milestone <= position],
            'restarts': [settings['restarts'][number] for number in reached],
            'restart_weights': [weights[number] for number in reached]}


def _plain(value: Any) -> Any:
    """A setting as it stands in the option file: BasicSR counts how often each milestone is listed."""
    if isinstance(value, Mapping):
        return sorted(milestone for milestone, count in value.items() for _ in range(count))
    return list(value) if isinstance(value, tuple) else value
