"""The parts that all students of a run share: teacher, exchange, degradation and batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sdakd_plugin.data.degradation import make_degradation, makes_lq
from sdakd_plugin.data.scales import ScaleDraw
from sdakd_plugin.distillation.batch import TrainingBatch
from sdakd_plugin.distillation.exchange import Exchange, make_exchange
from sdakd_plugin.distillation.forward_pass import ForwardPass
from sdakd_plugin.distillation.teacher import Teacher
from sdakd_plugin.distillation.trainee import Trainee
from sdakd_plugin.errors import UserError
from sdakd_plugin.families.family import unwrap
from sdakd_plugin.options import Options, TeacherOptions
from sdakd_plugin.stock.degradation import BatchDegradation


def build_teachers(options: Options, device: torch.device) -> dict[str, Teacher]:
    """Build the teachers, by the keys of their blocks; without one of which a cache provides everything that is needed.

    Raises:
        UserError: see ``Teacher``.
    """
    train = options.train
    if train is None:
        return {}
    of_features = train.losses.keys() & {'feature', 'feature_d'}
    return {
        key: build_teacher(key, block, options, device)
        for key, block in options.all_teachers.items()
        if block.cache is None or of_features
    }


def build_teacher(key: str, block: TeacherOptions, options: Options, device: torch.device) -> Teacher:
    """Build the teacher of a block; messages begin with its key."""
    assert options.train is not None
    forward_pass = ForwardPass(device, options.train.precision.teacher, options.train.channels_last)
    try:
        return Teacher(block, forward_pass)
    except UserError as error:
        raise UserError(key + str(error).removeprefix('teacher')) from None


def build_exchange(
    opt: Mapping[str, Any],
    options: Options,
    trainees: Sequence[Trainee],
    device: torch.device,
    wrap: Callable[[nn.Module], nn.Module],
) -> Exchange | None:
    """Build the exchange between the discriminators of a run; ``None`` if they learn nothing from each other.

    Args:
        opt: BasicSR's options.
        options: the same options, checked.
        trainees: the students.
        device: the device of the students.
        wrap: wraps a loss with parameters for distributed training.

    Raises:
        UserError: the scores or features of the discriminators do not fit together.
    """
    discriminators = [unwrap(net) for trainee in trainees for net in trainee.discriminators]
    if options.train is None or 'mutual' not in options.train.losses or not discriminators:
        return None
    exchange = make_exchange(opt['train']['mutual_opt'], options, discriminators, device)
    if exchange is not None:
        exchange.distribute(wrap)
    return exchange


def build_degradation(
    opt: Mapping[str, Any], options: Options, device: torch.device
) -> BatchDegradation | ScaleDraw | None:
    """Build what makes the LQ images of a batch or sharpens its ground truth; ``None`` if neither is needed."""
    if options.scales is not None:
        return ScaleDraw(options.scales, device)
    if makes_lq(options) or options.l1_gt_usm or options.percep_gt_usm or options.gan_gt_usm:
        return make_degradation(opt, options, device)
    return None


def on_device(value: Tensor, device: torch.device) -> Tensor:
    """A tensor of the data loader on the device that trains.

    BasicSR's ``CUDAPrefetcher`` has copied it there on a stream of its own. That stream must not overwrite its memory
    with a later batch before the GPU has trained on it, which BasicSR ensures by waiting in every iteration.
    """
    if value.is_cuda:
        value.record_stream(torch.cuda.current_stream())
    # the loader's memory is pinned, so the copies need not block as BasicSR's do
    return value.to(device, non_blocking=True)


@torch.no_grad()
def make_batch(
    data: Mapping[str, Any], degradation: BatchDegradation | ScaleDraw | None, options: Options, device: torch.device
) -> TrainingBatch:
    """Make the batch of an iteration from a batch of the data loader.

    The data loader provides paired images, or ground truth (with or without blur kernels) from which LQ is made.
    """
    data = {key: on_device(value, device) if isinstance(value, Tensor) else value for key, value in data.items()}
    gt_usm = None
    if degradation is None:
        lq, gt, lq_scale = data['lq'], data.get('gt'), data.get('lq_scale')
    else:
        degradation.feed_data(data)
        lq, gt, lq_scale = degradation.lq, degradation.gt, getattr(degradation, 'lq_scale', None)
        gt_usm = degradation.gt_usm
    cached = options.teacher is not None and options.teacher.cache is not None
    real: Any = gt_usm if options.gan_gt_usm else gt
    return TrainingBatch(lq, gt, real, gt_usm, lq_scale, data['teacher'] if cached else None)
