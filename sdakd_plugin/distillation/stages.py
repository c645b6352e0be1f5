"""The stages of training and their schedule.

The stage depends only on the iteration, so that resuming needs no further state.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sdakd_plugin.errors import UserError, nearest
from sdakd_plugin.options import RampOptions, StageOptions, TrainOptions

DISCRIMINATOR_LOSSES = ('feature_d', 'mutual')  # all others are losses of the generator


@dataclass(frozen=True)
class Stage:
    """A range of iterations with one set of losses.

    Attributes:
        number: position in the schedule, from 1.
        first, last: its first and last iteration, counted from 1 over the whole run.
        options: its block in the option file.
        ramps: the ramps of its losses, by name.
    """

    number: int
    first: int
    last: int
    options: StageOptions
    ramps: Mapping[str, RampOptions] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.options.name

    @property
    def losses(self) -> tuple[str, ...]:
        return tuple(self.options.losses)

    @property
    def trains_d(self) -> bool:
        return 'gan' in self.losses or self.options.train_d

    def ramped(self, iteration: int) -> dict[str, float]:
        """The value of each ramp at an iteration of the stage. A stage of one iteration has the values at the start."""
        done = (iteration - self.first) / max(self.last - self.first, 1)
        return {name: (1 - done) * ramp.start + done * ramp.to for name, ramp in self.ramps.items()}


@dataclass(frozen=True)
class Schedule:
    """The stages in order."""

    stages: tuple[Stage, ...]
    _ends: tuple[int, ...] = field(repr=False)

    @classmethod
    def of(cls, options: Iterable[StageOptions], ramps: Mapping[str, RampOptions] | None = None) -> Schedule:
        stages: list[Stage] = []
        for number, option in enumerate(options, 1):
            first = stages[-1].last + 1 if stages else 1
            own = {name: ramp for name, ramp in (ramps or {}).items() if name in option.losses}
            stages.append(Stage(number, first, first + option.iters - 1, option, own))
        return cls(tuple(stages), tuple(stage.last for stage in stages))

    @classmethod
    def from_train(cls, train: TrainOptions) -> Schedule:
        """Build the schedule from ``train.stages``; by default one stage with every defined loss.

        Raises:
            UserError: the stages do not add up to ``total_iter``, name losses that are not defined, or leave out
                defined losses.
        """
        ramps = {name: term.ramp for name, term in train.terms.items() if term.ramp is not None}
        if train.stages is None:
            return cls.of([StageOptions(name='all', iters=train.total_iter, losses=list(train.losses))], ramps)
        schedule = cls.of(train.stages, ramps)
        total = schedule.stages[-1].last
        if total != train.total_iter:
            parts = ' + '.join(str(stage.options.iters) for stage in schedule.stages)
            raise UserError(f'train.total_iter: is {train.total_iter}, but the stages add up to {parts} = {total}')
        names = [stage.name for stage in schedule.stages]
        if len(set(names)) < len(names):
            raise UserError(f"train.stages: two stages are named '{max(names, key=names.count)}'")
        if train.quantize is not None and train.quantize.from_stage not in (None, *names):
            given = train.quantize.from_stage
            raise UserError(f"train.quantize.from: there is no stage '{given}'" + nearest(given, names))
        used: set[str] = set()
        for stage in schedule.stages:
            for loss in stage.losses:
                if loss not in train.losses:
                    raise UserError(
                        f"train.stages: stage '{stage.name}' names the loss '{loss}', but train.{loss}_opt "
                        f'is not defined' + nearest(loss, train.losses)
                    )
            used.update(stage.losses)
            of_d = [loss for loss in stage.losses if loss in DISCRIMINATOR_LOSSES]
            if of_d and not stage.trains_d:
                raise UserError(
                    f"train.stages: stage '{stage.name}' names {of_d[0]}, but does not train the "
                    'discriminator; add gan, or train_d: true'
                )
            if len(of_d) == len(stage.losses):
                raise UserError(f"train.stages: stage '{stage.name}' names no loss for the generator")
        for loss in train.losses:
            if loss not in used:
                raise UserError(
                    f"train.{loss}_opt: no stage names '{loss}' in its losses; add it to one, or remove the block"
                )
        return schedule

    def at(self, iteration: int) -> Stage:
        """The stage of an iteration, from 1; after the end, where BasicSR validates once more, the last stage."""
        return self.stages[min(bisect_left(self._ends, iteration), len(self.stages) - 1)]

    def describe(self, stage: Stage, train: TrainOptions) -> str:
        """A line about a stage, for the log."""
        line = (
            f"Stage {stage.number} of {len(self.stages)}, '{stage.name}': iterations {stage.first:,} to "
            f'{stage.last:,}; losses {", ".join(stage.losses)}; discriminator {"on" if stage.trains_d else "off"}.'
        )
        begins = self.first_beside_d(stage, train) if stage.trains_d else stage.first
        if begins > stage.last:
            return f'{line} The generator is not updated in it (train.net_d_init_iters).'
        if begins > stage.first:
            return f'{line} The generator is updated from iteration {begins:,} on (train.net_d_init_iters).'
        return line

    def generator_steps(self, iteration: int, train: TrainOptions) -> bool:
        """Whether the generator is updated in an iteration.

        It always is in stages that do not train the discriminator. In the others ``net_d_iters`` and
        ``net_d_init_iters`` decide, as in BasicSR.
        """
        stage = self.at(iteration)
        return not stage.trains_d or (
            iteration % train.net_d_iters == 0 and iteration >= self.first_beside_d(stage, train)
        )

    def generator_updates(self, stage: Stage, train: TrainOptions) -> int:
        """The number of iterations of a stage in which the generator is updated."""
        if not stage.trains_d:
            return stage.last - stage.first + 1
        every, first = train.net_d_iters, self.first_beside_d(stage, train)
        return max(0, stage.last // every - (first - 1) // every)

    def opposes(self, iteration: int, train: TrainOptions) -> bool:
        """Whether generator and discriminator train against each other, and not the discriminator alone to warm up."""
        stage = self.at(iteration)
        return 'gan' in stage.losses and iteration >= self.first_beside_d(stage, train)

    def first_quantized(self, train: TrainOptions) -> int:
        """The first iteration of the stage ``train.quantize.from``; by default the first of the run."""
        assert train.quantize is not None
        return next(stage.first for stage in self.stages if train.quantize.from_stage in (None, stage.name))

    def first_beside_d(self, stage: Stage, train: TrainOptions) -> int:
        """The first iteration in which the generator may be updated in a stage that trains the discriminator.

        For ``net_d_init_iters`` iterations, counted from the first stage that trains it, only the discriminator trains.
        """
        begun = next(other.first for other in self.stages if other.trains_d)
        return max(stage.first, begun + train.net_d_init_iters)
