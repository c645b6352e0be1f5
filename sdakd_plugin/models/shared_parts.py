"""What all students of a run share: the teacher, what their discriminators exchange, the batch."""

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
from sdakd_plugin.families.family import unwrap
from sdakd_plugin.options import Options
from sdakd_plugin.stock.degradation import BatchDegradation


def build_teacher(options: Options, device: torch.device) -> Teacher | None:
    """The teacher, unless there is none, or all that is asked of it are images that a cache holds."""
    teacher, train = options.teacher, options.train
    if teacher is None or train is None:
        return None
    if teacher.cache is not None and not train.losses.keys() & {'feature', 'feature_d'}:
        return None
    return Teacher(teacher, ForwardPass(device, train.precision.teacher, train.channels_last))


def build_exchange(
    opt: Mapping[str, Any],
    options: Options,
    trainees: Sequence[Trainee],
    device: torch.device,
    wrap: Callable[[nn.Module], nn.Module],
) -> Exchange | None:
    """What the discriminators of a run learn from each other; ``None`` for nothing.

    Args:
        opt: BasicSR's options.
        options: the same, checked.
        trainees: the students.
        device: where they are.
        wrap: wraps a loss with parameters where several processes train.

    Raises:
        UserError: the discriminators' scores or features do not fit together.
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
    """What makes the LQ images of a batch, where the data set does not, or sharpens its ground truth."""
    if options.scales is not None:
        return ScaleDraw(options.scales, device)
    if makes_lq(options) or options.l1_gt_usm or options.percep_gt_usm or options.gan_gt_usm:
        return make_degradation(opt, options, device)
    return None


@torch.no_grad()
def make_batch(
    data: Mapping[str, Any], degradation: BatchDegradation | ScaleDraw | None, options: Options, device: torch.device
) -> TrainingBatch:
    """The batch of an iteration from what the loader gives: paired images, or the ground truth, with or without blur
    kernels, to make the LQ images from."""
    # BasicSR's own transfers wait; the loader's memory is pinned
    data = {
        key: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value for key, value in data.items()
    }
    gt_usm = None
    if degradation is None:
        lq, gt, lq_scale = data['lq'], data['gt'], data.get('lq_scale')
    else:
        degradation.feed_data(data)
        lq, gt, lq_scale = degradation.lq, degradation.gt, getattr(degradation, 'lq_scale', None)
        gt_usm = degradation.gt_usm
    cached = options.teacher is not None and options.teacher.cache is not None
    real: Any = gt_usm if options.gan_gt_usm else gt
    return TrainingBatch(lq, gt, real, gt_usm, lq_scale, data['teacher'] if cached else None)
