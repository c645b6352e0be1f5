"""The training state: BasicSR's, plus what a resumed run needs to equal an uninterrupted one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sdakd_plugin.distillation.stages import Schedule
from sdakd_plugin.distillation.trainee import Trainee
from sdakd_plugin.errors import UserError
from sdakd_plugin.families.calling import unwrap
from sdakd_plugin.networks import learnt_ranges
from sdakd_plugin.resume.run_position import RunPosition
from sdakd_plugin.stock.degradation import BatchDegradation

# optimizer options that change how it computes, not what
IMPLEMENTATION = ('fused', 'foreach', 'capturable', 'differentiable')  # of optimizers


def plain(net: nn.Module) -> dict[str, Tensor]:
    """The state dict of a network on the CPU, in the default (contiguous) memory format."""
    return {name: tensor.cpu().contiguous() for name, tensor in net.state_dict().items()}


def checkpoints(trainee: Trainee) -> dict[str, dict[str, Any]]:
    """The contents of a trainee's checkpoints by file name; a quantised student's has its learnt ranges too."""
    contents: dict[str, dict[str, Any]] = {
        label: {key: plain(unwrap(net)) for key, net in nets.items()} for label, nets in trainee.networks.items()
    }
    quantization = trainee.quantization
    if quantization is not None and quantization.active:
        label, nets = next(iter(trainee.networks.items()))  # the generator
        bare = {key: unwrap(net) for key, net in nets.items()}
        contents[label].update(learnt_ranges.entry(bare, quantization.bits))
    return contents


def data_options(opt: Mapping[str, Any], images: int | None) -> dict[str, Any]:
    """What determines which images a batch contains: options, and the number of training images if it is known."""
    block = opt['datasets'].get('train', {})
    keys = ('type', 'batch_size_per_gpu', 'num_worker_per_gpu', 'dataset_enlarge_ratio')
    known = {} if images is None else {'images': images}
    return {'world_size': opt['world_size'], **{key: block.get(key) for key in keys}, **known}


def changes(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between the ``data_options`` of a training state, empty for one of stock BasicSR, and those of the
    run; states of earlier versions have no number of images."""
    compared = [key for key in now if key in was or key != 'images']
    return [f'{key} {was.get(key)} before and {now[key]} now' for key in compared if was.get(key) != now[key]]


def other_data(changes: Sequence[str]) -> str:
    """The warning for a run that is resumed with such changes."""
    return (
        f'Resuming with other data, workers or processes than before ({", ".join(changes)}): weights, optimizers, '
        'learning rates and stages continue. The epoch starts again, a new process draws its random numbers from its '
        'seed and fills its own pool, and the run differs from an uninterrupted one.'
    )


def check(
    state: Mapping[str, Any],
    optimizers: int,
    connectors: Mapping[str, nn.Module],
    schedule: Schedule,
    bits: int | None = None,
) -> None:
    """Check that a run can be resumed from a training state.

    Args:
        state: the training state.
        optimizers: number of optimizers of the run.
        connectors: its losses with trainable parameters, by name.
        schedule: its stages.
        bits: of its quantised stage; ``None`` for a float run.

    Raises:
        UserError: the state belongs to a run with other networks or losses, its iteration was in another stage, or its
            iteration is after the end of the run.
    """
    if len(state['optimizers']) != optimizers or set(state.get('connectors', {})) != set(connectors):
        raise UserError('path.resume_state: the state is of a run with other networks or losses')
    if state.get('quantize') != bits:
        was = f'train.quantize.bits was {state["quantize"]}' if 'quantize' in state else 'it had no train.quantize'
        raise UserError(
            f'path.resume_state: the state is of a run of another quantisation ({was}); keep the block as it was, or '
            'begin a new run from its checkpoint with path.pretrain_network_g'
        )
    iteration, stage, last = state['iter'], state.get('stage'), schedule.stages[-1].last
    if iteration > last:
        raise UserError(
            f'path.resume_state: is of iteration {iteration}, but train.total_iter is {last}; '
            'make the schedule longer, or resume from an earlier state'
        )
    if stage not in (None, schedule.at(iteration).name):
        raise UserError(
            f"train.stages: iteration {iteration} of the run was in the stage '{stage}' and would now "
            f"be in '{schedule.at(iteration).name}'; change only stages that have not begun"
        )


def as_built(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state of an optimizer, with the implementation (such as ``fused``) of the optimizer that loads it.

    Another machine or stock BasicSR may have saved it with another implementation.
    """
    own = {key: optimizer.defaults[key] for key in IMPLEMENTATION if key in optimizer.defaults}
    return {**state, 'param_groups': [{**group, **own} for group in state['param_groups']]}


def match_formats(optimizer: torch.optim.Optimizer) -> None:
    """Give the loaded moments of an optimizer the memory formats of their parameters, which fused optimizers require.

    They have those of the run that saved them, since when ``train.channels_last`` may have changed.
    """
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if key != 'step' and isinstance(value, Tensor) and value.shape == parameter.shape:
                state[key] = torch.empty_like(parameter).copy_(value)


def capture_process(position: RunPosition, trainees: Sequence[Trainee], degradation: Any) -> dict[str, Any]:
    """The state of a process: random numbers, position in the epoch, training-pair pool, counters of each student."""
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
    """Restore what ``capture_process`` returned; the position in the epoch only with ``same_data``."""
    restore_counts(state, trainees, device)
    if isinstance(degradation, BatchDegradation):
        degradation.load_state(state['pool'] if 'pool' in state else state['members'][0]['pool'])  # earlier versions
    position.load_state(state['random'], same_data)


def restore_counts(
    state: Mapping[str, Any], trainees: Sequence[Trainee], device: torch.device, is_new: bool = False
) -> None:
    """Restore the counters of each student; for a new process only those that must agree on all processes."""
    for trainee, own in zip(trainees, state.get('members', [state]), strict=True):
        trainee.load_state(own, device, is_new)
