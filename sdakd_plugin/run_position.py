"""Where a run is, so that a resumed one sees the very batches that an undisturbed one would."""
from __future__ import annotations

from typing import Any

from basicsr.utils import get_root_logger

from sdakd_plugin import random_state
from sdakd_plugin.interruption import Interrupted, Interruption


class RunPosition:
    """Counts the batches of an epoch, finds the place again, and stops there when it is asked to.

    BasicSR begins an epoch anew after resuming. Here the random numbers are put back to what they were when the epoch
    began, so that the workers augment alike; the batches that were trained on are loaded and dropped; then the
    generators get the states that they had when the run was saved.
    """

    def __init__(self, interruption: Interruption) -> None:
        self.interruption = interruption
        self.model: Any = None  # in training, with ``save`` as BasicSR calls it
        self.epoch = -1  # as in BasicSR's loop
        self.iteration = self.saved = 0  # trained, and known to be in a training state
        self.begun: dict[str, Any] = {}  # the generators' states at the beginning of the epoch
        self.consumed = 0  # batches of the epoch
        self.pending: dict[str, Any] | None = None  # a saved state to go on from, at the next epoch that begins

    def start(self, state: dict[str, Any] | None) -> None:
        """Take note of a training state from which the run goes on."""
        if state is not None:
            self.epoch, self.iteration, self.saved = state['epoch'] - 1, state['iter'], state['iter']

    def state(self) -> dict[str, Any]:
        """What a training state must hold."""
        return {'now': random_state.capture(), 'begun': self.begun, 'consumed': self.consumed}

    def heed(self) -> None:
        """Save the run and end it, if a signal came; called between two iterations.

        Raises:
            Interrupted: it did.
        """
        if self.interruption.signal is None:
            return
        iteration = min(self.iteration, self.model.opt['train']['total_iter'])  # BasicSR fetches a batch too many
        if iteration > self.saved:
            self.model.save(self.epoch, iteration)
        get_root_logger().info(f'{self.interruption.signal.name}: stopped after iteration {iteration:,}, which is '
                               'saved. Go on with --auto_resume.')
        raise Interrupted(self.interruption.signal)

    def follow(self, prefetcher: type[Any]) -> type[Any]:
        """BasicSR's prefetcher, counted here."""
        position = self

        class FollowedPrefetcher(prefetcher):  # type: ignore[misc]
            trained = False  # whether the batch before went into an iteration; those that are dropped do not

            def reset(self) -> None:
                pending, position.pending = position.pending, None
                if pending is not None:
                    random_state.restore(pending['begun'])
                position.begun, position.consumed = random_state.capture(), 0
                position.epoch += 1
                super().reset()
                if pending is not None:
                    for _ in range(pending['consumed']):
                        self.fetch()
                    random_state.restore(pending['now'])

            def next(self) -> Any:
                position.iteration += self.trained
                position.heed()
                try:
                    batch = self.fetch()
                except Exception:
                    position.heed()  # the signal has ended the loader's workers too
                    raise
                self.trained = batch is not None
                return batch

            def fetch(self) -> Any:
                batch = super().next()
                position.consumed += batch is not None
                return batch

        return FollowedPrefetcher
