"""What a model says and does, in the iterations that print, about a run that goes wrong.

The measures are taken on the device in every iteration, and read only here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from basicsr.utils import get_root_logger
from torch import nn

from sdakd_plugin.distillation.trainee import Trainee
from sdakd_plugin.models.recovery import Recovery
from sdakd_plugin.utils import processes


def check_health(
    iteration: int, trainees: Sequence[Trainee], recovery: Recovery | None, connectors: Mapping[str, nn.Module]
) -> None:
    """Warn about skipped steps, a GAN that has collapsed and images that drift, and react to a collapse.

    Called on every process; the first one warns, and decides whether a GAN has collapsed.

    Args:
        iteration: the iteration that has just been trained.
        trainees: the students.
        recovery: reacts to a collapse; ``None`` to go on.
        connectors: the losses with trainable parameters, by their names in the training state.

    Raises:
        SystemExit: the run stops after a collapse.
    """
    for trainee in trainees:
        trainee.steps.read()
        whose = trainee.suffix.replace('_', ' of ')
        advice = trainee.balance.report() if trainee.balance is not None else None
        said = [f'The discriminator{whose} {advice}.'] if advice else []
        drifts = trainee.drift.report() if trainee.drift is not None else []
        said += [f'The images{whose} {drift}.' for drift in drifts]
        for warning in said if processes.is_first() else ():
            get_root_logger().warning(warning)
    if recovery is not None:
        lengths = [trainee.balance.collapsed for trainee in trainees if trainee.balance is not None]
        if length := processes.from_first(max(lengths, default=0)):
            recovery.recover(iteration - length + 1, iteration, trainees, connectors)
