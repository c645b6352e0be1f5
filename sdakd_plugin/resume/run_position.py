"""Where a run is, so that a resumed one sees the very batches that an undisturbed one would."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from basicsr.data import build_dataset
from basicsr.utils import get_root_logger

from sdakd_plugin.errors import Interrupted
from sdakd_plugin.resume.interruption import Interruption
from sdakd_plugin.resume.stopwatch import Stopwatch
from sdakd_plugin.stock import loop
from sdakd_plugin.utils import processes, random_state


class RunPosition:
    """Counts the batches of an epoch, finds the place again, and stops there when it is asked to.

    BasicSR begins an epoch anew after resuming. Here the random numbers are put back to what they were when the epoch
    began, so that the workers augment alike; the batches that were trained on are loaded and dropped; then the
    generators get the states that they had when the run was saved.

    Attributes:
        interruption: where a signal is remembered, if anybody listens.
        stopwatch: how long the run has trained.
        model: in training, with ``save`` as BasicSR calls it; needed where there is an interruption.
    """

    def __init__(self) -> None:
        self.interruption: Interruption | None = None
        self.stopwatch = Stopwatch()
        self.model: Any = None
        self.epoch = -1  # as in BasicSR's loop
        self.iteration = self.saved = 0  # trained, and known to be in a training state
        self.trained = False  # whether the batch before went into an iteration; those that are dropped do not
        self.begun: dict[str, Any] = {}  # the generators' states at the beginning of the epoch
        self.consumed = 0  # batches of the epoch
        self.pending: Mapping[str, Any] | None = None  # a saved state to go on from, at the next epoch that begins

    def start(self, state: Mapping[str, Any]) -> None:
        """Take note of a training state from which the run goes on."""
        self.epoch, self.iteration, self.saved = state['epoch'] - 1, state['iter'], state['iter']

    def state(self) -> dict[str, Any]:
        """What a training state must hold of each process; the place in the epoch where somebody counts."""
        place = {'begun': self.begun, 'consumed': self.consumed} if self.begun else {}
        return {'now': random_state.capture(), **place}

    def load_state(self, state: Mapping[str, Any], same_data: bool) -> None:
        """Go on from there; from the beginning of the epoch, if the data are other ones."""
        random_state.restore(state['now'])
        self.pending = state if same_data and 'begun' in state else None

    def begin_epoch(self, reset: Callable[[], None], fetch: Callable[[], Any]) -> None:
        """Begin an epoch, or go on in it; ``reset`` and ``fetch`` are BasicSR's."""
        pending, self.pending = self.pending, None
        if pending is not None:
            random_state.restore(pending['begun'])
        self.begun, self.consumed, self.trained = random_state.capture(), 0, False
        self.epoch += 1
        reset()
        if pending is not None:
            for _ in range(pending['consumed']):
                self._count(fetch())
            random_state.restore(pending['now'])

    def next_batch(self, fetch: Callable[[], Any]) -> Any:
        """The next batch, ``None`` at the end of the epoch.

        Raises:
            Interrupted: a signal came, to this process or to another one.
        """
        self.iteration += self.trained
        self.trained = False
        batch = self._count(fetch() if self.interruption is None else self._fetch_or_stop(fetch))
        self.trained = batch is not None
        return batch

    def outlook(self) -> str:
        """What a signal leads to that comes now."""
        running = self.iteration + self.trained
        if self.model is None or running == 0:
            return 'stopping before the first iteration'
        if running == self.saved:
            return f'stopping after iteration {running:,}, which is saved'
        if running > self.model.opt['train']['total_iter']:
            return 'the last iteration is done; finishing the run'
        return f'finishing iteration {running:,}, then saving'

    def _count(self, batch: Any) -> Any:
        self.consumed += batch is not None
        return batch

    def _fetch_or_stop(self, fetch: Callable[[], Any]) -> Any:
        """Fetch a batch; save the run and end it instead, if a signal came."""
        assert self.interruption is not None
        before, failure, batch = random_state.capture(), None, None
        try:
            batch = fetch()
        except Exception as error:  # the signal has ended the loader's workers too
            failure = error
        number = processes.largest(self.interruption.signal or 0)  # of all processes, after the same iteration
        if number:
            random_state.restore(before)
            self._stop(signal.Signals(number))
        if failure is not None:
            if not processes.many():  # the others train on, and would not take part
                random_state.restore(before)
                get_root_logger().error(f'No batch after iteration {self._save():,}, which is saved.')
            raise failure
        return batch

    def _save(self) -> int:
        """Save what is not saved yet; the iteration."""
        iteration = min(self.iteration, self.model.opt['train']['total_iter'])  # BasicSR fetches a batch too many
        if iteration > self.saved:
            self.model.save(self.epoch, iteration)
        return iteration

    def _stop(self, number: signal.Signals) -> None:
        iteration = self._save()
        processes.wait()  # as soon as one is gone, a launcher ends the others
        get_root_logger().info(
            f'{number.name}: stopped after iteration {iteration:,}, which is saved. Go on with --auto_resume.'
            if iteration
            else f'{number.name}: stopped before the first iteration.'
        )
        raise Interrupted(number)


def begin() -> RunPosition:
    """Begin a run: BasicSR's loop, which trains one run at a time, tells its position from now on."""
    position = RunPosition()
    loop.follow(position)
    return position


def begun() -> RunPosition | None:
    """The position of the run that was begun last."""
    position: RunPosition | None = loop.listener()
    return position


def epoch_of(iteration: int, opt: Mapping[str, Any]) -> int:
    """The epoch that an iteration ends in, for BasicSR's loop to begin with, with the data of these options."""
    block = opt['datasets']['train']
    images = len(build_dataset(deepcopy(block))) * block.get('dataset_enlarge_ratio', 1)
    batches = math.ceil(images / opt['world_size']) // block['batch_size_per_gpu']
    return iteration // batches
