"""What a training state holds: BasicSR's, plus all that a resumed run needs to go on as if it had not been stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sdakd_plugin.distillation.stages import Schedule
from sdakd_plugin.distillation.trainee import Trainee
from sdakd_plugin.errors import UserError
from sdakd_plugin.resume.run_position import RunPosition
from sdakd_plugin.stock.degradation import BatchDegradation

IMPLEMENTATION = ('fused', 'foreach', 'capturable', 'differentiable')  # how an optimizer computes, not what


def plain(net: nn.Module) -> dict[str, Tensor]:
    """A network's tensors on the CPU, in the usual order of memory whatever the training used."""
    return {name: tensor.cpu().contiguous() for name, tensor in net.state_dict().items()}


def data_options(opt: Mapping[str, Any]) -> dict[str, Any]:
    """What decides which images a batch holds."""
    block = opt['datasets'].get('train', {})
    keys = ('type', 'batch_size_per_gpu', 'num_worker_per_gpu', 'dataset_enlarge_ratio')
    return {'world_size': opt['world_size'], **{key: block.get(key) for key in keys}}


def other_data(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What it means to go on with other ``data_options`` than before."""
    changes = ', '.join(f'{key} {was.get(key)} before and {now[key]} now' for key in now if was.get(key) != now[key])
    return (
        f'Resuming with other data, workers or processes than before ({changes}): weights, optimizers, learning '
        'rates and stages go on. The epoch begins anew, a process that was not there before draws its random '
        'numbers from its seed and fills its own pool, and the run is not the one that it would have been.'
    )


def check(state: Mapping[str, Any], optimizers: int, connectors: Mapping[str, nn.Module], schedule: Schedule) -> None:
    """Check that a run can go on from a training state.

    Args:
        state: the training state.
        optimizers: how many the run has.
        connectors: its losses with parameters of their own, by name.
        schedule: its stages.

    Raises:
        UserError: the state belongs to a run with other networks or losses, its iteration was in another stage, or it
            lies behind the end.
    """
    if len(state['optimizers']) != optimizers or set(state.get('connectors', {})) != set(connectors):
        raise UserError('path.resume_state: the state is of a run with other networks or losses')
    iteration, stage, last = state['iter'], state.get('stage'), schedule.stages[-1].last
    if iteration > last:
        raise UserError(
            f'path.resume_state: is of iteration {iteration}, but train.total_iter is {last}; '
            'make the schedule longer, or go on from an earlier state'
        )
    if stage not in (None, schedule.at(iteration).name):
        raise UserError(
            f"train.stages: iteration {iteration} of the run was in the stage '{stage}', and would now "
            f"be in '{schedule.at(iteration).name}'; change only stages that have not begun"
        )


def as_built(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimizer's state, to be computed with as this optimizer was built: another machine, or stock BasicSR, may
    have saved it with another implementation, such as none that is fused."""
    own = {key: optimizer.defaults[key] for key in IMPLEMENTATION if key in optimizer.defaults}
    return {**state, 'param_groups': [{**group, **own} for group in state['param_groups']]}


def capture_process(position: RunPosition, trainees: Sequence[Trainee], degradation: Any) -> dict[str, Any]:
    """What each process has for itself: its random numbers, its place in the epoch, its pool of training pairs, and
    what each student counts."""
    pool = degradation.state() if isinstance(degradation, BatchDegradation) else {}
    shared = {'random': position.state(), 'pool': pool}
    if len(trainees) == 1 and not trainees[0].suffix:
        return {**shared, **trainees[0].state()}
    return {**shared, 'members': [trainee.state() for trainee in trainees]}


def restore_process(
    state: Mapping[str, Any],
    position: RunPosition,
    trainees: Sequence[Trainee],
    degradation: Any,
    device: torch.device,
    same_data: bool,
) -> None:
    """Put back what ``capture_process`` found; without the place in the epoch where the data differ."""
    restore_counts(state, trainees, device)
    if isinstance(degradation, BatchDegradation):
        degradation.load_state(state['pool'] if 'pool' in state else state['members'][0]['pool'])  # as of old
    position.load_state(state['random'], same_data)


def restore_counts(
    state: Mapping[str, Any], trainees: Sequence[Trainee], device: torch.device, is_new: bool = False
) -> None:
    """Put back what each student counts; where a process ``is_new``, only that in which all must agree."""
    for trainee, own in zip(trainees, state.get('members', [state]), strict=True):
        trainee.load_state(own, device, is_new)
