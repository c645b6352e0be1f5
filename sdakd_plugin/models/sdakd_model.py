"""SDAKD in BasicSR's contract: thin glue over ``distillation/``."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from basicsr.utils import get_root_logger, set_random_seed
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from sdakd_plugin.data.degradation import OnlineDegradation, makes_lq
from sdakd_plugin.data.scales import ScaleDraw
from sdakd_plugin.distillation.balance import Balance
from sdakd_plugin.distillation.batch_norm_statistics import BatchNormStatistics
from sdakd_plugin.distillation.blocks import name_layers
from sdakd_plugin.distillation.build_loss import build_loss
from sdakd_plugin.distillation.discriminator import Batch, FeatureDTerm, Log, Player, backward
from sdakd_plugin.distillation.exchange import Exchange, make_exchange
from sdakd_plugin.distillation.forward_pass import ForwardPass
from sdakd_plugin.distillation.r1 import R1
from sdakd_plugin.distillation.rehearsal import rehearse
from sdakd_plugin.distillation.stages import Schedule, Stage
from sdakd_plugin.distillation.taps import Taps
from sdakd_plugin.distillation.teacher import Teacher, TeacherOutput
from sdakd_plugin.distillation.terms import GeneratorStep, Needs, Term, make_term
from sdakd_plugin.distillation.updates import OptimizerSteps
from sdakd_plugin.errors import UserError
from sdakd_plugin.families.calling import largest_scale, score, super_resolve
from sdakd_plugin.models.plugin_model import PluginModel
from sdakd_plugin.models.progress_bar import Progress
from sdakd_plugin.models.stage_validation import StageValidation
from sdakd_plugin.options import Options
from sdakd_plugin.utils.build import build_network
from sdakd_plugin.utils.random_state import undisturbed_rng


class LoggedInteger(int):
    """A whole number that stays one in BasicSR's log, which formats every value as ``1.0000e+00``."""

    def __format__(self, spec: str) -> str:
        return str(int(self))


@MODEL_REGISTRY.register()
class SDAKDModel(PluginModel):
    """Distils a student generator from a teacher in stages (SDAKD, arXiv 2510.03870).

    With one stage and no teacher it computes what BasicSR's ``SRGANModel`` and ``RealESRGANModel`` compute, number for
    number. The option file says everything else: see ``docs/options.md``.
    """

    label = ''  # behind the names of its files; a member of a cohort has one
    speaks = True  # whether it shows progress; only one member of a cohort does
    reads_cache = False  # whether batches bring the teacher's images
    teacher_image: Tensor | None = None  # then it is that of the batch, (n, c, H, W)

    # ---------------------------------------------------------------------------------------------- construction

    def init_training_settings(self) -> None:
        """Build what training needs, in BasicSR's order: it decides which random numbers each network gets."""
        train = self.options.train
        assert train is not None
        self.train_options = train
        self.schedule = Schedule.from_train(train)
        self.stage: Stage | None = None
        self.log: dict[str, Tensor] = {}
        r1 = train.r1_reg_weight, train.net_d_reg_every
        self.r1 = R1(r1[0], r1[1]) if r1[0] and r1[1] else None
        self.updates = OptimizerSteps(train.nonfinite_limit, self.forward_pass.dtype is torch.float16, self.device,
                               self.label.replace('_', ' of '))
        self.init_ema(train.ema_decay)
        self.net_g.train()
        self.net_d = self.init_discriminator('d', any(stage.trains_d for stage in self.schedule.stages))
        losses = {name: build_loss(block, f'train.{name}_opt').to(self.device)
                  for name, block in train.losses.items() if name != 'mutual'}
        with undisturbed_rng():
            self.net_d_peer = self.init_discriminator('d_peer', 'mutual' in train.losses)
            self.teacher = self.init_teacher()
            self.init_terms(losses)
            self.mutual = self.init_mutual()
            self.init_degradation()
        trained = [net for net in (self.net_g, self.net_d, self.net_d_peer) if net is not None]
        self.statistics = BatchNormStatistics(trained)
        self.balance = Balance(self.terms['gan'].loss, train.collapse_after, self.device) if 'gan' in losses else None
        self.setup_optimizers()
        self.setup_schedulers()
        if not self.label and (remark := gan_remark(self.options)):
            get_root_logger().info(remark)
        self.stage_validation = StageValidation(self)
        if train.reseed:  # what was built until here drew as many numbers as its networks have weights
            set_random_seed(self.opt['manual_seed'] + self.opt['rank'])
        if not self.opt['path'].get('resume_state'):
            self.stage_validation.validate(0)

    def init_teacher(self) -> Teacher | None:
        """The teacher, unless there is none, or all that is asked of it are images that a cache holds."""
        if self.options.teacher is None:
            return None
        train = self.train_options
        self.reads_cache = self.options.teacher.cache is not None
        if self.reads_cache and not train.losses.keys() & {'feature', 'feature_d'}:
            return None
        forward_pass = ForwardPass(self.device, train.precision.teacher, train.channels_last)
        return Teacher(self.options.teacher, forward_pass)

    def init_discriminator(self, label: str, needed: bool) -> nn.Module | None:
        """Build ``network_<label>`` if a stage trains it."""
        key = f'network_{label}'
        if not needed:
            if self.opt.get(key) is not None:
                get_root_logger().warning(f'{key}: no stage trains it, so it is not built.')
            return None
        for name, holder in ((key, self.opt), ('optim_d', self.opt['train']), ('gan_opt', self.opt['train'])):
            if holder.get(name) is None:
                raise UserError(f"{'' if holder is self.opt else 'train.'}{name}: this key is missing; a stage trains "
                                'the discriminator')
        net = self.model_to_device(build_network(self.opt[key], key))
        self.print_network(net)
        self.load_pretrained(net, label, 'params')
        return net.train()

    def init_terms(self, losses: dict[str, nn.Module]) -> None:
        """Wire the losses to what they compare, run every network once, and make the connectors."""
        usm = {key: getattr(self.options, key) for key in ('l1_gt_usm', 'percep_gt_usm', 'gan_gt_usm')}
        if 'feature' in losses and self.teacher is not None:
            name_layers(losses['feature'], self.get_bare_model(self.net_g), self.teacher.net_g,
                        'train.feature_opt.layers')
        self.terms = {name: make_term(name, loss, usm) for name, loss in losses.items() if name != 'feature_d'}
        self.d_terms: dict[str, FeatureDTerm] = {}
        if 'feature_d' in losses:
            if self.teacher is None or self.teacher.net_d is None:
                raise UserError('train.feature_d_opt: needs teacher.network_d and teacher.pretrain_network_d')
            loss = losses['feature_d']
            if self.net_d is not None:
                name_layers(loss, self.get_bare_model(self.net_d), self.teacher.net_d, 'train.feature_d_opt.layers')
            self.d_terms['feature_d'] = FeatureDTerm(loss, loss.layers, self.teacher)  # type: ignore[arg-type]
        for name, term in self.terms.items():
            if term.needs_teacher and self.options.teacher is None:
                raise UserError(f'train.{name}_opt: compares with the teacher, but the block teacher is missing')
            if name == 'ldl' and self.ema_decay == 0:
                raise UserError('train.ldl_opt: needs train.ema_decay above 0')
            if getattr(term.loss, 'range_norm', False) and largest_scale(self.net_g):
                raise UserError(f'train.{name}_opt.range_norm: is for images of -1..1, but losses see images of 0..1 '
                                'here, those of GCFSR too; leave it out')
        self.needs = {stage.name: Needs.of(self.terms[loss] for loss in stage.losses if loss in self.terms)
                      for stage in self.schedule.stages}
        bare_d = None if self.net_d is None else self.get_bare_model(self.net_d)
        rehearse(self.options, self.device, self.get_bare_model(self.net_g), bare_d, self.teacher, self.terms,
                 self.d_terms)
        self.own_connectors: dict[str, nn.Module] = {}  # they train beside the networks
        holders: dict[str, Term | FeatureDTerm] = {**self.terms, **self.d_terms}
        for name, holder in holders.items():
            if any(parameter.requires_grad for parameter in holder.loss.parameters()):
                self.own_connectors[name] = holder.loss
                holder.loss = self.model_to_device(holder.loss)

    def init_mutual(self) -> Exchange | None:
        if self.net_d is None or self.net_d_peer is None:
            return None
        nets = [self.get_bare_model(net) for net in (self.net_d, self.net_d_peer)]
        mutual = make_exchange(self.opt['train']['mutual_opt'], self.options, nets, self.device)
        if mutual is not None:
            mutual.distribute(self.model_to_device)
        return mutual

    def init_degradation(self) -> None:
        """What makes the LQ images of a batch, where the data set does not."""
        self.degradation: OnlineDegradation | ScaleDraw | None = None
        wants_usm = self.options.l1_gt_usm or self.options.percep_gt_usm or self.options.gan_gt_usm
        if self.options.scales is not None:
            self.degradation = ScaleDraw(self.options.scales, self.device)
        elif makes_lq(self.options) or wants_usm:
            self.degradation = OnlineDegradation(self.opt, self.options, self.device)

    def setup_optimizers(self) -> None:
        connectors = self.own_connectors
        beside_g = [loss for name, loss in connectors.items() if name in self.terms]
        beside_d = [loss for name, loss in connectors.items() if name in self.d_terms]
        self.optimizer_g = self.make_optimizer('optim_g', [self.net_g, *beside_g])
        self.optimizers.append(self.optimizer_g)
        self.d_optimizers = []
        for number, net in enumerate((self.net_d, self.net_d_peer)):
            if net is not None:
                modules = [net, *(() if number else beside_d), *self.exchanged_by(number)]
                self.d_optimizers.append(self.make_optimizer('optim_d', modules))
        self.optimizers += self.d_optimizers

    def exchanged_by(self, number: int) -> list[nn.Module]:
        """The losses with which a discriminator learns from its peers."""
        return self.mutual.of(number) if self.mutual else []

    @property
    def connectors(self) -> dict[str, nn.Module]:
        return {**self.own_connectors, **(self.mutual.connectors if self.mutual else {})}

    # -------------------------------------------------------------------------------------------------- training

    @torch.no_grad()
    def feed_data(self, data: Mapping[str, Any]) -> None:
        """Take a batch: paired images, or the ground truth, with or without blur kernels, to make the input from."""
        # BasicSR's own transfers wait, and find nothing to do then; the loader's memory is pinned
        data = {key: value.to(self.device, non_blocking=True) if isinstance(value, Tensor) else value
                for key, value in data.items()}
        if self.is_train and self.degradation is not None and not self.validating:
            self.degradation.feed_data(data)
            self.lq, self.gt, self.gt_usm = self.degradation.lq, self.degradation.gt, self.degradation.gt_usm
            self.lq_scale = getattr(self.degradation, 'lq_scale', None)
        else:
            super().feed_data(data)
        if self.reads_cache and not self.validating:
            self.teacher_image = data['teacher']

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """Step BasicSR's schedulers; where the stage has a rate of its own, scale it as the scheduler scales."""
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        for group in groups:  # the schedulers go on from the rate that they set last
            group['lr'] = group.pop('scheduled_lr', group['lr'])
        super().update_learning_rate(current_iter, warmup_iter)
        stage = self.schedule.at(current_iter)
        for optimizer in self.optimizers:
            rate = stage.options.lr_g if optimizer is self.optimizer_g else stage.options.lr_d
            for group in optimizer.param_groups if rate is not None else ():
                group['scheduled_lr'] = group['lr']
                group['lr'] = rate * group['lr'] / group['initial_lr']

    def optimize_parameters(self, current_iter: int) -> None:
        self.begin_iteration(current_iter)
        if self.mode.trains_d and self.train_options.d_first:
            self.train_discriminators(self.sample(), current_iter)
        self.train_generator(current_iter)
        if self.mode.trains_d and not self.train_options.d_first:
            self.train_discriminators(self.output, current_iter)
        self.end_iteration(current_iter)

    def begin_iteration(self, current_iter: int) -> None:
        stage = self.schedule.at(current_iter)
        if stage is not self.stage:
            self.enter(stage, current_iter)
        self.statistics.keep()
        self.log = {}

    @property
    def mode(self) -> Stage:
        """The stage that the run is in."""
        assert self.stage is not None
        return self.stage

    @torch.no_grad()
    def sample(self) -> Tensor:
        """The student's images for the discriminator, from a pass of their own."""
        return self.generate(self.net_g)

    def generate(self, net: nn.Module) -> Tensor:
        """A generator's images (n, c, H, W) of the batch."""
        return self.forward_pass(super_resolve, net, self.lq, self.lq_scale)

    def train_generator(self, current_iter: int) -> None:
        """The generator's half of an iteration; ``output`` holds its images then."""
        step = self.forward_student()
        if self.schedule.generator_steps(current_iter, self.train_options):
            self.step_generator(step, current_iter)
        self.statistics.mend()  # behind the backward pass, to which they belong
        if self.ema_decay > 0:  # as in BasicSR, also where the generator did not step
            self.model_ema(self.ema_decay)
        self.output = step.sr.detach()

    def enter(self, stage: Stage, current_iter: int) -> None:
        """Begin a stage, or go on in it after resuming."""
        if self.stage is None:
            show = self.speaks and self.opt['rank'] == 0
            self.progress = Progress(self.schedule.stages[-1].last, current_iter - 1, show)
        self.stage = stage
        if current_iter == stage.first and stage.options.optimizer == 'reset':
            for optimizer in self.optimizers:
                optimizer.state.clear()
        self.progress.describe(f'stage {stage.number}/{len(self.schedule.stages)} {stage.name}')
        if not self.speaks:
            return
        get_root_logger().info(
            f"Stage {stage.number} of {len(self.schedule.stages)}, '{stage.name}': iterations {stage.first:,} to "
            f"{stage.last:,}; losses {', '.join(stage.losses)}; discriminator {'on' if stage.trains_d else 'off'}.")

    def forward_student(self) -> GeneratorStep:
        """Run the student, and prepare what the stage's terms may ask for."""
        needs = self.needs[self.mode.name]
        if self.net_d is not None:
            self.net_d.requires_grad_(False)
        self.optimizer_g.zero_grad()
        with Taps(self.get_bare_model(self.net_g), needs.student_layers) as taps:
            sr = self.generate(self.net_g)

        def run_teacher() -> TeacherOutput:
            kept = self.teacher_image
            if kept is not None and not needs.teacher_layers:
                return TeacherOutput(kept, {})
            assert self.teacher is not None
            wants_image = needs.teacher_image and kept is None
            answer = self.teacher.generate(self.lq, needs.teacher_layers, wants_image, self.lq_scale)
            return answer if kept is None else TeacherOutput(kept, answer.features)

        @torch.no_grad()
        def run_ema() -> Tensor:
            return self.generate(self.net_g_ema)

        def run_d(images: Tensor) -> Tensor:
            assert self.net_d is not None
            return self.forward_pass(score, self.net_d, images)

        return GeneratorStep(self.lq, self.gt, sr, getattr(self, 'gt_usm', None), taps.features, run_teacher, run_ema,
                             run_d)

    def step_generator(self, step: GeneratorStep, current_iter: int) -> None:
        losses: Log = {}  # of this step alone: the log may hold the discriminators' already
        total: Tensor | float = 0.0
        for term in self.needs[self.mode.name].terms:
            for key, value in term(step).items():
                losses[key] = value.detach()
                total = total + value
        if not isinstance(total, Tensor) or not any(term.uses_image for term in self.needs[self.mode.name].terms):
            # distributed training wants a gradient, be it zero, for the layers behind the features too
            total = total + 0 * step.sr.sum()
        self.updates.backward(total)
        self.updates.step(self.optimizer_g, losses, current_iter, self.mode)
        self.log.update(losses)

    def train_discriminators(self, fake: Tensor, current_iter: int) -> None:
        """The discriminators' half of an iteration: the student's own, and its peer where there is one.

        Args:
            fake: the student's images, (n, c, H, W), range 0..1, without gradients.
            current_iter: the iteration.
        """
        players = self.ready_players()
        owners = range(len(players))
        mutual = self.mutual if 'mutual' in self.mode.losses else None
        batches = [Batch(True, self.real, owners), Batch(False, fake, owners)]
        logs = backward(players, self.terms['gan'].loss, batches, mutual)
        self.step_discriminators(players, logs, current_iter)

    def step_discriminators(self, players: list[Player], logs: list[Log], current_iter: int) -> None:
        """Regularise the discriminators, whose gradients are complete but for that, and step them.

        Args:
            players: the student's own, and its peer where there is one.
            logs: their losses, which go into the log.
            current_iter: the iteration.
        """
        losses = [{key: value for key, value in log.items() if key.startswith('l_')} for log in logs]
        if self.r1 is not None:
            for own, due in zip(losses, self.r1.backward(players, self.real, current_iter), strict=True):
                own.update(due)
        for number, (log, optimizer) in enumerate(zip(logs, self.d_optimizers, strict=True)):
            self.updates.step(optimizer, losses[number], current_iter, self.mode)
            if self.r1 is not None:
                log.update(self.r1.log(number))
            self.log.update({f"{key}{'_peer' * number}": value for key, value in log.items()})
        self.statistics.mend()
        if self.balance is not None:
            self.balance.watch(logs[0])

    def ready_players(self) -> list[Player]:
        """The discriminators, ready to accumulate gradients."""
        terms = [self.d_terms[loss] for loss in self.mode.losses if loss in self.d_terms]
        players = [Player(net, self.get_bare_model(net), () if number else terms, self.forward_pass,
                          self.updates.backward)
                   for number, net in enumerate((self.net_d, self.net_d_peer)) if net is not None]
        for player, optimizer in zip(players, self.d_optimizers, strict=True):
            player.net.requires_grad_(True)
            optimizer.zero_grad()
        return players

    @property
    def real(self) -> Tensor:
        """The real images for the discriminators."""
        real: Any = self.gt_usm if self.options.gan_gt_usm else self.gt
        return real

    def end_iteration(self, current_iter: int) -> None:
        self.updates.end_iteration()
        self.progress.update(current_iter)
        if current_iter == self.mode.last:
            self.stage_validation.validate_stage(self.mode)

    def get_current_log(self) -> dict[str, float]:
        """The losses, each generator term's share in the total, and the stage's number.

        The only place where values are read back from the device, so only iterations that print wait for it.
        """
        self.updates.read()
        if self.balance is not None and (advice := self.balance.report()) and self.opt['rank'] == 0:
            get_root_logger().warning(f"The discriminator{self.label.replace('_', ' of ')} {advice}.")
        log = dict(self.reduce_loss_dict(self.log)) if self.log else {}  # the same on all processes
        terms = {key: abs(value) for key, value in log.items() if key.startswith('l_g_')}
        total = sum(terms.values()) or 1.0
        log.update({f'share_{key[4:]}': value / total for key, value in terms.items()})
        log['stage'] = LoggedInteger(self.mode.number)
        return log

    # ------------------------------------------------------------------------------------- validation and saving

    def nondist_validation(self, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
        if self.is_train:
            self.stage_validation.seen(dataloader)
        super().nondist_validation(dataloader, current_iter, tb_logger, save_img)

    def validated(self, dataset: str, current_iter: Any) -> None:
        if self.is_train and self.opt['val'].get('metrics') is not None:
            self.stage_validation.record(dataset, current_iter, self.metric_results)

    def process_state(self) -> dict[str, Any]:
        pool = self.degradation.state() if isinstance(self.degradation, OnlineDegradation) else {}
        last_r1 = [value.cpu() for value in self.r1.last] if self.r1 else []
        balance = self.balance.state() if self.balance else {}
        return {**super().process_state(), 'pool': pool, 'r1': last_r1, 'updates': self.updates.state(),
                'balance': balance}

    def load_process_state(self, state: Mapping[str, Any], same_data: bool) -> None:
        super().load_process_state(state, same_data)
        if isinstance(self.degradation, OnlineDegradation):
            self.degradation.load_state(state['pool'])
        self.load_common_state(state)
        if self.balance is not None:
            self.balance.load_state(state['balance'])

    def load_common_state(self, state: Mapping[str, Any]) -> None:
        if self.r1 is not None:  # whether it is in the log
            self.r1.last = [value.to(self.device) for value in state['r1']]
        self.updates.load_state(state['updates'])

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        super().resume_training(resume_state)
        self.stage_validation.resume(resume_state['iter'])

    @property
    def networks(self) -> dict[str, dict[str, nn.Module]]:
        """``net_g``, ``net_d`` and ``net_d_peer``, as far as they exist."""
        averaged = {'params_ema': self.net_g_ema} if self.ema_decay > 0 else {}
        rest = {'net_d': self.net_d, 'net_d_peer': self.net_d_peer}
        return {f'net_g{self.label}': {'params': self.net_g, **averaged},
                **{f'{name}{self.label}': {'params': net} for name, net in rest.items() if net is not None}}

    @property
    def labels(self) -> list[str]:
        return [self.label]


def gan_remark(options: Options) -> str | None:
    """What must be said to a user of ESRGANModel, whose option file is that of SRGANModel but for its type: here as
    there it asks for one stage, a discriminator and no teacher."""
    train = options.train
    if train is None or train.stages is not None or options.teacher or options.cohort or 'gan' not in train.losses:
        return None
    return "GAN loss: plain (as SRGANModel), not ESRGANModel's relativistic average"
