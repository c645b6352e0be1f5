"""Optimizer steps that are skipped if a loss or a gradient is not finite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from basicsr.utils import get_root_logger
from torch import Tensor
from torch.amp.grad_scaler import GradScaler

from sdakd_plugin.distillation.stages import Stage

GRADIENT = 'gradient'


class Checked(NamedTuple):
    """An optimizer step with a flag for each of its losses, and for its gradient, that is not finite."""

    iteration: int
    stage: str
    names: tuple[str, ...]
    bad: Tensor


class OptimizerSteps:
    """Steps the optimizers of a model. A step whose loss or gradient is not finite is skipped and reported.

    A fused optimizer skips the step on the device, so that the host does not wait for the GPU; skipped steps are then
    reported by ``read``. With any other optimizer, or on a CPU, they are known at once.

    Args:
        limit: number of consecutive iterations with a skipped step after which training ends.
        scaled: whether to scale the gradients, for float16.
        device: the device of the model.
        label: text after the word "Iteration" in reports, for a member of a cohort.
        max_norm: largest norm of the gradient of all parameters of an optimizer; a larger gradient is scaled down to it
            as a whole. ``None`` for no limit.
    """

    def __init__(
        self, limit: int, scaled: bool, device: torch.device, label: str = '', max_norm: float | None = None
    ) -> None:
        self.limit, self.device, self.label, self.max_norm = limit, device, label, max_norm
        self.scaler = GradScaler(device.type, enabled=scaled)
        self.unread: list[Checked] = []
        self.stepped = False  # whether this iteration had a step, taken or skipped
        self.in_a_row = self.last = 0  # number of consecutive iterations with a skipped step, and the last of them
        self.too_many = 0  # that number once the limit is reached

    def backward(self, loss: Tensor) -> None:
        """Accumulate the gradients of a loss."""
        self.scaler.scale(loss).backward()

    def step(
        self,
        optimizer: torch.optim.Optimizer,
        losses: Mapping[str, Tensor],
        iteration: int,
        stage: Stage,
        paused: Tensor | None = None,
    ) -> None:
        """Step an optimizer if the losses and its gradient are finite on every process.

        Args:
            optimizer: the optimizer, with complete gradients.
            losses: the scalar losses of this step by log key; one that is not finite skips the step.
            iteration: the iteration of the run.
            stage: its stage.
            paused: a flag on the device: whether to leave out the step all the same.
        """
        if self.scaler.is_enabled():
            self.scaler.unscale_(optimizer)
        bad = not_finite(losses, optimizer)
        if self.max_norm is not None:
            parameters = [parameter for group in optimizer.param_groups for parameter in group['params']]
            torch.nn.utils.clip_grad_norm_(parameters, self.max_norm)
        skips = bad.any() if paused is None else bad.any() | paused
        if any(group.get('fused') for group in optimizer.param_groups):  # a loaded state may differ from the defaults
            optimizer.found_inf, optimizer.grad_scale = skips.float(), None  # type: ignore[attr-defined]
            optimizer.step()
        elif not skips:
            optimizer.step()
        self.unread.append(Checked(iteration, stage.name, (*losses, GRADIENT), bad))
        self.stepped = True

    def end_iteration(self) -> None:
        """Update the gradient scale; on a CPU, report skipped steps.

        Raises:
            SystemExit: see ``check``.
        """
        if self.stepped and self.scaler.is_enabled():
            self.scaler.update()
        self.stepped = False
        if self.device.type == 'cpu':
            self.read()
        self.check()

    def check(self) -> None:
        """End training if too many consecutive iterations are known to have skipped a step.

        Raises:
            SystemExit: the limit is reached.
        """
        if self.too_many:
            get_root_logger().error(
                f'Training stops: {self.too_many} iterations in a row were not finite. The checkpoints are '
                'unchanged; check the data, lower the learning rate or the weight of that loss, and resume with '
                '--auto_resume. The limit is train.nonfinite_limit.'
            )
            raise SystemExit(1)

    def read(self) -> None:
        """Report the steps that were skipped since the last call. Waits for the device."""
        if not self.unread:
            return
        unread, self.unread = self.unread, []
        flags = iter(torch.cat([checked.bad for checked in unread]).tolist())
        for checked in unread:
            names = [name for name, bad in zip(checked.names, flags, strict=False) if bad]
            if names:
                self._count(checked, names)

    def _count(self, checked: Checked, names: list[str]) -> None:
        if checked.iteration != self.last:
            self.in_a_row = self.in_a_row + 1 if checked.iteration == self.last + 1 else 1
            self.last = checked.iteration
        what = ', '.join(names if names == [GRADIENT] else names[:-1] if names[-1] == GRADIENT else names)
        get_root_logger().warning(
            f"Iteration {checked.iteration:,}{self.label}, stage '{checked.stage}': {what} not finite; the step is "
            f'skipped ({self.in_a_row} in a row, the limit is {self.limit}).'
        )
        if self.in_a_row >= self.limit:
            self.too_many = self.in_a_row

    def state(self) -> dict[str, Any]:
        """The counters and the gradient scale, for a training state."""
        self.read()
        return {'scaler': self.scaler.state_dict(), 'in_a_row': self.in_a_row, 'last': self.last}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state`` returned; the gradient scale only if gradients were scaled before."""
        if self.scaler.is_enabled() and state['scaler']:
            self.scaler.load_state_dict(state['scaler'])
        self.in_a_row, self.last = state['in_a_row'], state['last']


@torch.no_grad()
def not_finite(losses: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> Tensor:
    """A flag on the device for each loss, and last for the gradient: whether it is NaN or infinite on any process."""
    gradients = [
        parameter.grad
        for group in optimizer.param_groups
        for parameter in group['params']
        if parameter.grad is not None
    ]
    norm = torch.stack(torch._foreach_norm(gradients)).sum()
    bad = ~torch.stack([*(loss.detach().to(norm).reshape(()) for loss in losses.values()), norm]).isfinite()
    if torch.distributed.is_initialized():
        shared = bad.float()
        torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX)
        bad = shared.bool()
    return bad
