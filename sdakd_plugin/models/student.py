"""One student of a run, built from the option file: only its generator for testing, a trainee for training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sdakd_plugin.data.lq_photo_dataset import without_gt
from sdakd_plugin.data.scales import check_out_size, check_scales
from sdakd_plugin.distillation.adaptive_d import AdaptiveD
from sdakd_plugin.distillation.balance import Balance
from sdakd_plugin.distillation.blocks import name_layers
from sdakd_plugin.distillation.build_loss import build_loss
from sdakd_plugin.distillation.discriminator_terms import FeatureDTerm
from sdakd_plugin.distillation.drift import Drift
from sdakd_plugin.distillation.forward_pass import ForwardPass
from sdakd_plugin.distillation.objective import Objective
from sdakd_plugin.distillation.quantization import QuantizedStage
from sdakd_plugin.distillation.r1 import R1
from sdakd_plugin.distillation.rehearsal import rehearse
from sdakd_plugin.distillation.stages import Schedule
from sdakd_plugin.distillation.teacher import Teacher
from sdakd_plugin.distillation.terms import make_term
from sdakd_plugin.distillation.trainee import Trainee
from sdakd_plugin.distillation.updates import OptimizerSteps
from sdakd_plugin.errors import UserError
from sdakd_plugin.families.calling import largest_scale, super_resolve, unwrap
from sdakd_plugin.models.networks import Networks
from sdakd_plugin.options import Options, TermOptions
from sdakd_plugin.utils.random_state import undisturbed_rng

USM_KEYS = ('l1_gt_usm', 'percep_gt_usm', 'gan_gt_usm')
FIXED_TARGETS = ('ldl', 'feature', 'feature_d', 'mutual')


@dataclass(frozen=True)
class StudentRun:
    """The options of one student.

    Attributes:
        name: name of the student; empty for the only one of a run.
        opt: the options as BasicSR's dictionary.
        options: the same options, checked.
        seed: seed of the initial weights; ``None`` for the random numbers that BasicSR would use.
    """

    name: str
    opt: Mapping[str, Any]
    options: Options
    seed: int | None = None

    @property
    def suffix(self) -> str:
        """The suffix of its file names and log keys."""
        return f'_{self.name}' if self.name else ''


@dataclass
class Student:
    """A student with its networks.

    Attributes:
        run: its options.
        networks: builds its networks.
        net_g: the generator.
        trainee: the student in training; ``None`` in testing.
    """

    run: StudentRun
    networks: Networks
    net_g: nn.Module
    trainee: Trainee | None = None

    @torch.no_grad()
    def super_resolve(self, lq: Tensor, lq_scale: Tensor | None) -> Tensor:
        """Super-resolve with the moving average if there is one, otherwise with the student.

        The networks are called without their distributed wrapper, because only the first process validates.
        """
        average = self.trainee.net_g_ema if self.trainee else None
        net = unwrap(self.net_g) if average is None else average
        training = net.training
        net.eval()
        try:
            return super_resolve(net, lq, lq_scale)
        finally:
            net.train(training)


def build_generator(networks: Networks) -> nn.Module:
    """Build the generator of a student.

    Raises:
        UserError: it cannot be built or loaded, or does not fit the scales of the run.
    """
    net_g = networks.generator()
    check_out_size(networks.options, getattr(unwrap(net_g), 'out_size', None))
    check_scales(networks.options, largest_scale(net_g))
    return net_g


def build_trainee(
    run: StudentRun,
    networks: Networks,
    net_g: nn.Module,
    schedule: Schedule,
    get_teachers: Callable[[], Mapping[str, Teacher]],
) -> Trainee:
    """Build everything that trains with a student, except its optimizers.

    The order is BasicSR's, which determines the random numbers of each network. Parts that BasicSR does not have draw
    no random numbers of the run.

    Args:
        run: the options of the student.
        networks: builds its networks.
        net_g: the generator.
        schedule: the stages.
        get_teachers: builds the teachers or returns the existing ones, by the keys of their blocks.

    Raises:
        UserError: the options contradict each other.
    """
    train, device = run.options.train, networks.device
    assert train is not None
    if not any(parameter.requires_grad for parameter in net_g.parameters()):
        raise UserError(f'network_g: no parameter of {type(unwrap(net_g)).__name__} has requires_grad, so none trains')
    net_g_ema = networks.average(net_g) if train.ema_decay > 0 else None
    net_g.train()
    net_d = networks.discriminator('d', any(stage.trains_d for stage in schedule.stages))
    losses = {
        name: build_loss(block, f'train.{name}_opt').to(device)
        for name, block in train.losses.items()
        if name != 'mutual'
    }
    bare_g, bare_d = unwrap(net_g), None if net_d is None else unwrap(net_d)
    with undisturbed_rng():
        peer = networks.discriminator('d_peer', 'mutual' in train.losses)
        teachers = get_teachers()
        check_terms(train.terms)
        objective = make_objective(losses, bare_g, bare_d, teachers, run.options)
        check_objective(objective, run.options, net_g, net_g_ema is not None)
        rehearse(run.options, device, bare_g, bare_d, teachers, objective.terms, objective.d_terms)
    discriminators = [net for net in (net_d, peer) if net is not None]
    trainee = assemble(run, networks.forward_pass, net_g, net_g_ema, discriminators, objective, schedule)
    objective.distribute(networks.distributed)
    return trainee


def assemble(
    run: StudentRun,
    forward_pass: ForwardPass,
    net_g: nn.Module,
    net_g_ema: nn.Module | None,
    discriminators: Sequence[nn.Module],
    objective: Objective,
    schedule: Schedule,
) -> Trainee:
    """The trainee of these networks, with what the options ask for beside its losses."""
    train, device, gan_loss = run.options.train, forward_pass.device, objective.gan_loss
    assert train is not None
    penalty, every, quantize = train.r1_reg_weight, train.net_d_reg_every, train.quantize
    return Trainee(
        run.suffix,
        net_g,
        net_g_ema,
        train.ema_decay,
        discriminators,
        objective,
        forward_pass,
        OptimizerSteps(
            train.nonfinite_limit,
            forward_pass.dtype is torch.float16,
            device,
            f' of {run.name}' if run.name else '',
            train.grad_clip,
        ),
        r1=R1(penalty, every) if penalty and every else None,
        balance=None if gan_loss is None else Balance(gan_loss, train.collapse_after, device),
        adaptive_d=AdaptiveD(train.adaptive_d_ema_decay, train.adaptive_d_threshold, device)
        if train.adaptive_d
        else None,
        drift=Drift(train.drift_after, device) if train.drift_after else None,
        quantization=QuantizedStage(unwrap(net_g), net_g_ema, quantize.bits, schedule.first_quantized(train))
        if quantize
        else None,
    )


def make_objective(
    losses: Mapping[str, nn.Module],
    net_g: nn.Module,
    net_d: nn.Module | None,
    teachers: Mapping[str, Teacher],
    options: Options,
) -> Objective:
    """Build the objective: connect each loss to what it compares.

    Args:
        losses: the losses by the names that stages use.
        net_g, net_d: the networks of the student, not wrapped.
        teachers: the frozen networks, by the keys of their blocks.
        options: the options of the student.

    Raises:
        UserError: a loss needs something that is missing.
    """
    assert options.train is not None
    said = options.train.terms
    keys = {name: options.teacher_of(said[name]) for name in losses}
    taught = {name: teachers.get(key or '') for name, key in keys.items()}
    if teacher := taught.get('feature'):
        name_layers(losses['feature'], net_g, teacher.net_g, 'train.feature_opt.layers')
    usm = {key: getattr(options, key) for key in USM_KEYS}
    terms = {
        name: make_term(name, loss, usm, said[name], keys[name]) for name, loss in losses.items() if name != 'feature_d'
    }
    d_terms: dict[str, FeatureDTerm] = {}
    if 'feature_d' in losses:
        key, teacher = keys['feature_d'] or 'teacher', taught['feature_d']
        if teacher is None or teacher.net_d is None:
            raise UserError(f'train.feature_d_opt: needs {key}.network_d and {key}.pretrain_network_d')
        loss = losses['feature_d']
        if net_d is not None:
            name_layers(loss, net_d, teacher.net_d, 'train.feature_d_opt.layers')
        d_terms['feature_d'] = FeatureDTerm(loss, loss.layers, teacher)  # type: ignore[arg-type]
    return Objective(terms, d_terms, losses.get('gan'))


def check_terms(terms: Mapping[str, TermOptions]) -> None:
    """Raise a UserError if a loss has an option that it cannot have."""
    for name, term in terms.items():
        if term.target is not None and name in FIXED_TARGETS:
            raise UserError(f'train.{name}_opt.target: what {name} compares with is no option; leave it out')
        if term.teacher is not None and name == 'mutual':
            raise UserError('train.mutual_opt.teacher: mutual does not use a teacher; leave it out')
        if term.target == 'mix' and term.ramp is None:
            raise UserError(
                f"train.{name}_opt.ramp: this key is missing; with target: mix it is the teacher's share, such as "
                '{from: 1, to: 0}'
            )


def check_objective(objective: Objective, options: Options, net_g: nn.Module, averaged: bool) -> None:
    """Raise a UserError if a term needs something that the run does not have, such as a teacher or ground truth."""
    assert options.train is not None
    said, lacks_gt = options.train.terms, without_gt(options.datasets.get('train', {}))
    for key in (*USM_KEYS, 'scales') if lacks_gt else ():
        if getattr(options, key):
            raise UserError(f'{key}: needs the ground truth, which datasets.train does not have; leave it out')
    for name, term in objective.terms.items():
        if term.needs_teacher and not options.all_teachers:
            raise UserError(f'train.{name}_opt: compares with the teacher, but the block teacher is missing')
        if term.needs_gt and lacks_gt:
            remedy = 'remove it' if name == 'ldl' else 'add target: teacher, or remove it'
            what = 'takes its real images from' if name == 'gan' else 'compares with'
            raise UserError(f'train.{name}_opt: {what} the ground truth, which datasets.train does not have; {remedy}')
        if said[name].teacher is not None and not term.needs_teacher:
            raise UserError(f'train.{name}_opt.teacher: {name} does not use a teacher; add a target, or leave it out')
        if name == 'ldl' and not averaged:
            raise UserError('train.ldl_opt: needs train.ema_decay above 0')
        if getattr(term.loss, 'range_norm', False) and largest_scale(net_g):
            raise UserError(
                f'train.{name}_opt.range_norm: requires images in -1..1, but all images here are in 0..1, '
                'also with GCFSR; leave it out'
            )
