"""Where a run is within its epoch, so that a resumed one sees the very batches that an undisturbed one would."""
from __future__ import annotations

from typing import Any

from sdakd_plugin import random_state


class EpochPosition:
    """Counts the batches of an epoch, and finds the place again.

    BasicSR begins an epoch anew after resuming. Here the random numbers are put back to what they were when the epoch
    began, so that the workers augment alike; the batches that were trained on are loaded and dropped; then the
    generators get the states that they had when the run was saved.
    """

    def __init__(self) -> None:
        self.begun: dict[str, Any] = {}  # the generators' states at the beginning of the epoch
        self.consumed = 0
        self.pending: dict[str, Any] | None = None  # a saved state to go on from, at the next epoch that begins

    def state(self) -> dict[str, Any]:
        """What a training state must hold."""
        return {'now': random_state.capture(), 'begun': self.begun, 'consumed': self.consumed}

    def follow(self, prefetcher: type[Any]) -> type[Any]:
        """BasicSR's prefetcher, counted here."""
        position = self

        class FollowedPrefetcher(prefetcher):  # type: ignore[misc]
            def reset(self) -> None:
                pending, position.pending = position.pending, None
                if pending is not None:
                    random_state.restore(pending['begun'])
                position.begun, position.consumed = random_state.capture(), 0
                super().reset()
                if pending is not None:
                    for _ in range(pending['consumed']):
                        self.next()
                    random_state.restore(pending['now'])

            def next(self) -> Any:
                batch = super().next()
                position.consumed += batch is not None
                return batch

        return FollowedPrefetcher
