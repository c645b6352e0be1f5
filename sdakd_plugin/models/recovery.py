"""What a run does after its GAN has collapsed: it stops, or goes back to its last good checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from basicsr.utils import get_root_logger
from torch import nn

from sdakd_plugin import weights
from sdakd_plugin.distillation.trainee import Trainee
from sdakd_plugin.families.calling import unwrap
from sdakd_plugin.models.training_state import match_formats
from sdakd_plugin.resume.training_state import read_state
from sdakd_plugin.utils import processes


class Rollback(NamedTuple):
    """A collapse and what followed: its first iteration, the one in which it was seen, that of the checkpoint."""

    begun: int
    seen: int
    to: int


class Recovery:
    """Stops a collapsed run, or takes its networks and optimizers back to the last good checkpoint.

    The iteration, the data and the schedule of the learning rate go on; only what was learnt is taken back. The
    learning rates are then halved for the rest of the run, so that it does not collapse in the same way.

    Args:
        rolls_back: whether to go back; otherwise the run stops.
        limit: number of times to go back, after which the run stops.
        path: BasicSR's option ``path``, with the folders of the checkpoints.
    """

    def __init__(self, rolls_back: bool, limit: int, path: Mapping[str, Any]) -> None:
        self.rolls_back, self.limit, self.path = rolls_back, limit, path
        self.taken: list[Rollback] = []

    @property
    def rate_factor(self) -> float:
        """The factor of all learning rates."""
        return 0.5 ** len(self.taken)

    def state(self) -> list[list[int]]:
        """The rollbacks, for a training state."""
        return [list(rollback) for rollback in self.taken]

    def load_state(self, state: Sequence[Sequence[int]]) -> None:
        """Restore what ``state`` returned."""
        self.taken = [Rollback(*rollback) for rollback in state]

    def recover(
        self, begun: int, iteration: int, trainees: Sequence[Trainee], connectors: Mapping[str, nn.Module]
    ) -> None:
        """React to a collapse; called on every process.

        Args:
            begun: the first iteration of the collapse.
            iteration: the current one.
            trainees: the students; all go back.
            connectors: the losses with trainable parameters, by their names in the training state.

        Raises:
            SystemExit: the run stops.
        """
        if not self.rolls_back:
            stop('The checkpoints are unchanged', 'train.on_collapse')
        if len(self.taken) >= self.limit:
            stop(f'It has gone back {self.limit} times already', 'train.max_rollbacks')
        good = processes.from_first(self.last_good(begun))
        if good is None:
            stop(f'There is no checkpoint from before iteration {begun:,}', 'logger.save_checkpoint_freq')
        self.restore(good, trainees, connectors)
        self.taken.append(Rollback(begun, iteration, good))
        get_root_logger().warning(
            f'Iteration {iteration:,}: networks and optimizers go back to the checkpoint of iteration {good:,} '
            f'({len(self.taken)} of at most {self.limit} times); all learning rates are now '
            f'{self.rate_factor:g} of the schedule.'
        )

    def last_good(self, begun: int) -> int | None:
        """The iteration of the newest checkpoint that was not saved during a collapse; ``None`` if there is none."""
        saved = [int(path.stem) for path in Path(self.path['training_states']).glob('*.state') if path.stem.isdigit()]
        return max(
            (
                number
                for number in saved
                if number < begun and not any(each.begun <= number < each.seen for each in self.taken)
            ),
            default=None,
        )

    def restore(self, iteration: int, trainees: Sequence[Trainee], connectors: Mapping[str, nn.Module]) -> None:
        """Load networks, losses and the moments of the optimizers; their learning rates are kept.

        Raises:
            UserError: a file of the checkpoint is damaged.
        """
        state = read_state(str(Path(self.path['training_states']) / f'{iteration}.state'))
        for trainee in trainees:
            for label, nets in trainee.networks.items():
                file = Path(self.path['models']) / f'{label}_{iteration}.pth'
                for key, net in nets.items():
                    weights.load_into(unwrap(net), weights.load_state_dict(file, key), file, 'train.on_collapse')
            for watched in (trainee.balance, trainee.drift):
                if watched is not None:
                    watched.reset()
        optimizers = [optimizer for trainee in trainees for optimizer in trainee.optimizers]
        for optimizer, saved in zip(optimizers, state['optimizers'], strict=True):
            groups = optimizer.state_dict()['param_groups']
            optimizer.load_state_dict({'state': saved['state'], 'param_groups': groups})
            match_formats(optimizer)
        for name, loss in connectors.items():
            loss.load_state_dict(state['connectors'][name])


def stop(reason: str, option: str) -> NoReturn:
    """End the run.

    Raises:
        SystemExit: always.
    """
    get_root_logger().error(f'Training stops, because the GAN has collapsed. {reason}; see {option}.')
    raise SystemExit(1)
