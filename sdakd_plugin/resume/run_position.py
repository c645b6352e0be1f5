"""The position of a run, so that a resumed run sees the same batches as an uninterrupted one."""

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
    """The position of a run in its epoch: counts batches, restores the position on resuming, and stops on a signal.

    BasicSR restarts the epoch after resuming. This class instead restores the random numbers of the beginning of the
    epoch, so that the workers augment identically, then loads and discards the batches that were trained on, and
    finally restores the random numbers of the moment when the run was saved.

    Attributes:
        interruption: holds a received signal; ``None`` if signals are not caught.
        stopwatch: the training time of the run.
        model: the model in training, which is saved on a signal; required with an interruption.
        finished: whether the run ends early, before ``total_iter``; then BasicSR's loop gets no further batch.
        images: number of images of the training set; ``None`` outside of BasicSR's loop.
    """

    def __init__(self) -> None:
        self.interruption: Interruption | None = None
        self.stopwatch = Stopwatch()
        self.model: Any = None
        self.finished = False
        self.images: int | None = None
        self.epoch = -1  # as in BasicSR's loop
        self.iteration = self.saved = 0  # the last trained iteration, and the last one in a saved training state
        self.trained = False  # whether the last batch went into an iteration; discarded batches do not
        self.begun: dict[str, Any] = {}  # states of the random generators at the beginning of the epoch
        self.consumed = 0  # number of batches of the epoch
        self.pending: Mapping[str, Any] | None = None  # a saved state, restored when the next epoch begins

    def start(self, state: Mapping[str, Any]) -> None:
        """Set the position to that of a training state."""
        self.epoch, self.iteration, self.saved = state['epoch'] - 1, state['iter'], state['iter']

    def state(self) -> dict[str, Any]:
        """The part of a training state that each process has: random numbers and, if known, position in the epoch."""
        in_epoch = {'begun': self.begun, 'consumed': self.consumed} if self.begun else {}
        return {'now': random_state.capture(), **in_epoch}

    def load_state(self, state: Mapping[str, Any], same_data: bool) -> None:
        """Resume from a state; from the beginning of the epoch if the data have changed."""
        random_state.restore(state['now'])
        self.pending = state if same_data and 'begun' in state else None

    def begin_epoch(self, reset: Callable[[], None], fetch: Callable[[], Any]) -> None:
        """Begin an epoch, or resume in it; ``reset`` and ``fetch`` are BasicSR's."""
        if self.finished:
            return
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
        """The next batch; ``None`` at the end of the epoch.

        Raises:
            Interrupted: this process or another one has received a signal.
        """
        self.iteration += self.trained
        self.trained = False
        if self.finished:
            return None
        batch = self._count(fetch() if self.interruption is None else self._fetch_or_stop(fetch))
        self.trained = batch is not None
        return batch

    def outlook(self) -> str:
        """What the run will do if it receives a signal now."""
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
        """Fetch a batch; if a signal was received, save the run and end it instead."""
        assert self.interruption is not None
        before, failure, batch = random_state.capture(), None, None
        try:
            batch = fetch()
        except Exception as error:  # the signal may have ended the loader's workers too
            failure = error
        number = processes.largest(
            self.interruption.signal or 0
        )  # over all processes, which stop after the same iteration
        if number:
            random_state.restore(before)
            self._stop(signal.Signals(number))
        if failure is not None:
            if not processes.many():  # saving needs all processes, and the others train on
                random_state.restore(before)
                get_root_logger().error(f'No batch after iteration {self._save():,}, which is saved.')
            raise failure
        return batch

    def _save(self) -> int:
        """Save the run unless it is already saved, and return its iteration."""
        iteration = min(self.iteration, self.model.opt['train']['total_iter'])  # BasicSR fetches one batch too many
        if iteration > self.saved:
            self.model.save(self.epoch, iteration)
        return iteration

    def _stop(self, number: signal.Signals) -> None:
        iteration = self._save()
        processes.wait()  # a launcher ends all processes as soon as one exits
        get_root_logger().info(
            f'{number.name}: stopped after iteration {iteration:,}, which is saved. Resume with --auto_resume.'
            if iteration
            else f'{number.name}: stopped before the first iteration.'
        )
        raise Interrupted(number)


def begin() -> RunPosition:
    """Create the position of a new run and let BasicSR's loop, which trains one run at a time, update it."""
    position = RunPosition()
    loop.follow(position)
    return position


def begun() -> RunPosition | None:
    """The position of the run that was begun last; ``None`` if there is none."""
    position: RunPosition | None = loop.listener()
    return position


def epoch_of(iteration: int, opt: Mapping[str, Any]) -> int:
    """The epoch in which BasicSR's loop must start after an iteration, with the data of these options."""
    block = opt['datasets']['train']
    images = len(build_dataset(deepcopy(block))) * block.get('dataset_enlarge_ratio', 1)
    batches = math.ceil(images / opt['world_size']) // block['batch_size_per_gpu']
    return iteration // batches
