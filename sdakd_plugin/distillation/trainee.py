"""One student with everything that trains with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sdakd_plugin.distillation.adaptive_d import AdaptiveD
from sdakd_plugin.distillation.balance import Balance
from sdakd_plugin.distillation.batch import TeacherPass, TrainingBatch
from sdakd_plugin.distillation.batch_norm_statistics import BatchNormStatistics
from sdakd_plugin.distillation.discriminator import Log, TrainedDiscriminator
from sdakd_plugin.distillation.drift import Drift
from sdakd_plugin.distillation.forward_pass import ForwardPass
from sdakd_plugin.distillation.objective import Objective
from sdakd_plugin.distillation.quantization import QuantizedStage
from sdakd_plugin.distillation.r1 import R1
from sdakd_plugin.distillation.stages import Stage
from sdakd_plugin.distillation.taps import Taps
from sdakd_plugin.distillation.terms import GeneratorStep
from sdakd_plugin.distillation.updates import OptimizerSteps
from sdakd_plugin.families.calling import score, super_resolve, unwrap

MakeOptimizer = Callable[[str, Sequence[nn.Module]], torch.optim.Optimizer]
"""Called with ``'optim_g'`` or ``'optim_d'`` and the modules whose parameters the optimizer trains."""


class Trainee:
    """A student with its discriminators, losses, optimizers, moving average and state, independent of BasicSR's models.

    Args:
        suffix: suffix of its file names and log keys; empty for the only student of a run.
        net_g: the student, possibly in a distributed wrapper.
        net_g_ema: its moving average; ``None`` for none.
        ema_decay: decay of the moving average.
        discriminators: the discriminators of the student: none, one, or one with a peer.
        objective: the losses.
        forward_pass: runs the student and the discriminators.
        steps: steps the optimizers.
        r1: R1 regularisation of the discriminators; ``None`` for none.
        balance: watches the first discriminator; ``None`` without a discriminator.
        adaptive_d: pauses the discriminators; ``None`` if they are never paused.
        drift: watches the student's images; ``None`` if they are not watched.
        quantization: quantises the student from one stage on; ``None`` for a float student.
    """

    optimizer_g: torch.optim.Optimizer
    d_optimizers: list[torch.optim.Optimizer]

    def __init__(
        self,
        suffix: str,
        net_g: nn.Module,
        net_g_ema: nn.Module | None,
        ema_decay: float,
        discriminators: Sequence[nn.Module],
        objective: Objective,
        forward_pass: ForwardPass,
        steps: OptimizerSteps,
        r1: R1 | None = None,
        balance: Balance | None = None,
        adaptive_d: AdaptiveD | None = None,
        drift: Drift | None = None,
        quantization: QuantizedStage | None = None,
    ) -> None:
        self.suffix, self.net_g, self.net_g_ema, self.ema_decay = suffix, net_g, net_g_ema, ema_decay
        self.discriminators, self.objective, self.forward_pass = list(discriminators), objective, forward_pass
        self.steps, self.r1, self.quantization = steps, r1, quantization
        self.balance, self.adaptive_d, self.drift = balance, adaptive_d, drift
        self.statistics = BatchNormStatistics([net_g, *discriminators])
        self.connectors = objective.connectors()
        self.log: Log = {}

    def make_optimizers(self, make: MakeOptimizer, exchanged: Sequence[Sequence[nn.Module]]) -> None:
        """Build the optimizers. A connector is trained with the network whose features it transforms.

        Args:
            make: builds an optimizer.
            exchanged: for each discriminator, the losses with which it learns from its peers.
        """
        beside_g = [loss for name, loss in self.connectors.items() if name in self.objective.terms]
        beside_d = [loss for name, loss in self.connectors.items() if name in self.objective.d_terms]
        self.optimizer_g = make('optim_g', [self.net_g, *beside_g])
        self.d_optimizers = [
            make('optim_d', [net, *(() if number else beside_d), *exchanged[number]])
            for number, net in enumerate(self.discriminators)
        ]

    @property
    def net_d(self) -> nn.Module | None:
        """The student's own discriminator; ``None`` if it has none."""
        return self.discriminators[0] if self.discriminators else None

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """The optimizer of the student, then those of its discriminators."""
        return [self.optimizer_g, *self.d_optimizers]

    @property
    def networks(self) -> dict[str, dict[str, nn.Module]]:
        """The networks to save: by file name, then by key in the file."""
        averaged = {} if self.net_g_ema is None else {'params_ema': self.net_g_ema}
        names = [f'{name}{self.suffix}' for name in ('net_d', 'net_d_peer')]
        return {
            f'net_g{self.suffix}': {'params': self.net_g, **averaged},
            **{name: {'params': net} for name, net in zip(names, self.discriminators, strict=False)},
        }

    # ------------------------------------------------------------------------------------------ parts of an iteration

    def begin_iteration(self, batch: TrainingBatch, iteration: int, stage: Stage) -> None:
        """Clear the log and, at the start of a stage that asks for it, the moments of the optimizers or the range of
        each quantised tensor."""
        if iteration == stage.first and stage.options.optimizer == 'reset':
            for optimizer in self.optimizers:
                optimizer.state.clear()
        if self.quantization is not None:
            self.quantization.begin(iteration, lambda: self._generate(unwrap(self.net_g), batch))
        self.statistics.keep()
        self.log = {}

    @torch.no_grad()
    def sample(self, batch: TrainingBatch) -> Tensor:
        """The student's images (n, c, H, W) for the discriminators, from a separate forward pass."""
        return self._generate(self.net_g, batch)

    def train_generator(
        self, batch: TrainingBatch, teacher: TeacherPass, iteration: int, stage: Stage, steps: bool
    ) -> Tensor:
        """Train the student on a batch, and update its moving average.

        Args:
            batch: the images.
            teacher: runs a teacher if a term of the stage needs it.
            iteration: the iteration of the run.
            stage: its stage.
            steps: whether the student is updated. If not, for example during ``net_d_init_iters``, its images are still
                generated and its moving average is still updated, as in BasicSR.

        Returns:
            The student's images (n, c, H, W), without gradients.
        """
        step = self._forward(batch, teacher, iteration, stage)
        if self.drift is not None:
            shown = next((key for key, asked in self.objective.needs(stage).teachers.items() if asked.image), None)
            self.drift.watch(
                step.sr, batch.lq if batch.gt is None else batch.gt, step.run_teacher(shown).sr if shown else None
            )
        if steps:
            self._step_generator(step, iteration, stage)
        self.statistics.restore()  # after the backward pass, which uses them
        if self.net_g_ema is not None:
            self.update_average()
        return step.sr.detach()

    def ready_discriminators(self, stage: Stage) -> list[TrainedDiscriminator]:
        """Prepare the discriminators to accumulate gradients, and return them."""
        terms = self.objective.discriminator_terms(stage)
        for net, optimizer in zip(self.discriminators, self.d_optimizers, strict=True):
            net.requires_grad_(True)
            optimizer.zero_grad()
        return [
            TrainedDiscriminator(net, unwrap(net), () if number else terms, self.forward_pass, self.steps.backward)
            for number, net in enumerate(self.discriminators)
        ]

    def step_discriminators(
        self,
        discriminators: Sequence[TrainedDiscriminator],
        logs: Sequence[Log],
        real: Tensor,
        iteration: int,
        stage: Stage,
        opposes: bool,
    ) -> None:
        """Add the gradients of the R1 regularisation and step the optimizers of the discriminators.

        Args:
            discriminators: the result of ``ready_discriminators``, with the gradients of all other losses.
            logs: their losses, which are added to the log.
            real: the real images (n, c, H, W), range 0..1.
            iteration: the iteration of the run.
            stage: its stage.
            opposes: whether the student trains against them; otherwise they are neither paused nor watched.
        """
        losses = [{key: value for key, value in log.items() if key.startswith('l_')} for log in logs]
        if self.r1 is not None:
            for own, due in zip(losses, self.r1.backward(discriminators, real, iteration), strict=True):
                own.update(due)
        adaptive = self.adaptive_d if opposes else None  # elsewhere nothing would end a pause
        paused = None if adaptive is None else adaptive.paused
        for number, (log, optimizer) in enumerate(zip(logs, self.d_optimizers, strict=True)):
            self.steps.step(optimizer, losses[number], iteration, stage, paused)
            if self.r1 is not None:
                log.update(self.r1.log(number))
            self.log.update({f'{key}{"_peer" * number}': value for key, value in log.items()})
        self.statistics.restore()
        if adaptive is not None:
            adaptive.count = adaptive.count + adaptive.paused
            self.log['d_paused'] = adaptive.count
        if self.balance is not None and opposes:  # one that trains alone wins easily, which is its purpose
            self.balance.watch(logs[0])

    def _generate(self, net: nn.Module, batch: TrainingBatch) -> Tensor:
        return self.forward_pass(super_resolve, net, batch.lq, batch.lq_scale)

    def _forward(self, batch: TrainingBatch, teacher: TeacherPass, iteration: int, stage: Stage) -> GeneratorStep:
        """Run the student and prepare what the terms of the stage may need."""
        needs = self.objective.needs(stage)
        for net in self.discriminators[:1]:  # the peer is not used here
            net.requires_grad_(False)
        self.optimizer_g.zero_grad()
        with Taps(unwrap(self.net_g), needs.student_layers, images=batch.lq) as taps:
            sr = self._generate(self.net_g, batch)

        @torch.no_grad()
        def run_ema() -> Tensor:
            assert self.net_g_ema is not None
            return self._generate(self.net_g_ema, batch)

        return GeneratorStep(
            batch.lq,
            batch.gt,
            sr,
            batch.gt_usm,
            taps.features,
            stage.ramped(iteration),
            run_teacher=lambda key: teacher(key, needs),
            run_ema=run_ema,
            run_d=lambda images: self.forward_pass(score, self.discriminators[0], images),
        )

    def _step_generator(self, step: GeneratorStep, iteration: int, stage: Stage) -> None:
        losses: Log = {}  # only of this step: the log may already have those of the discriminators
        total: Tensor | float = 0.0
        terms = self.objective.needs(stage).terms
        for term in terms:
            for key, value in term.ramped(step).items():
                losses[key] = value.detach()
                total = total + value
        if not isinstance(total, Tensor) or not any(term.uses_image for term in terms):
            # distributed training needs a gradient, even a zero one, for the layers after the features too
            total = total + 0 * step.sr.sum()
        self.steps.backward(total)
        self.steps.step(self.optimizer_g, losses, iteration, stage)
        self.log.update(losses)
        if self.adaptive_d is not None and 'l_g_gan' in losses and (factor := step.ramps.get('gan', 1.0)):
            self.adaptive_d.watch(losses['l_g_gan'] / factor)

    @torch.no_grad()
    def update_average(self) -> None:
        """Update the moving average as in BasicSR, but with two operations in total instead of two for each tensor.

        Buffers are copied, so that BatchNorm's statistics are up to date.
        """
        assert self.net_g_ema is not None
        net_g = unwrap(self.net_g)
        averages: list[Tensor] = list(self.net_g_ema.parameters())
        current: list[Tensor] = list(net_g.parameters())
        torch._foreach_mul_(averages, self.ema_decay)
        torch._foreach_add_(averages, current, alpha=1 - self.ema_decay)
        for averaged, buffer in zip(self.net_g_ema.buffers(), net_g.buffers(), strict=True):
            averaged.copy_(buffer)

    # ------------------------------------------------------------------------------------------------ training state

    def state(self) -> dict[str, Any]:
        """The part of a training state that each process has, apart from networks, optimizers and connectors."""
        return {
            'r1': [value.cpu() for value in self.r1.last] if self.r1 else [],
            'updates': self.steps.state(),
            'balance': self.balance.state() if self.balance else {},
            **({'adaptive_d': self.adaptive_d.state()} if self.adaptive_d else {}),
            **({'drift': self.drift.state()} if self.drift else {}),
            **({'quantization': self.quantization.state()} if self.quantization else {}),
        }

    def load_state(self, state: Mapping[str, Any], device: torch.device, is_new: bool = False) -> None:
        """Restore what ``state`` returned.

        Args:
            state: the saved state.
            device: the device of the losses.
            is_new: whether this process did not exist when the state was saved; then only what must agree on all
                processes is restored.
        """
        if self.r1 is not None:  # all processes must log the same keys
            self.r1.last = [value.to(device) for value in state['r1']]
        self.steps.load_state(state['updates'])
        if self.quantization is not None:
            self.quantization.load_state(state['quantization'])
        if self.adaptive_d is not None and 'adaptive_d' in state:  # an option that may be changed in a run
            self.adaptive_d.load_state(state['adaptive_d'])
        if self.drift is not None and not is_new and 'drift' in state:
            self.drift.load_state(state['drift'])
        if self.balance is not None and not is_new:
            self.balance.load_state(state['balance'])
