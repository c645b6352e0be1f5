"""The block ``train``: iterations, optimizers, stages, and what a run does when something goes wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, field_validator, model_validator

from sdakd_plugin.errors import nearest
from sdakd_plugin.options.fields import MOST_ITERATIONS, STRICT, Block, Count, whole
from sdakd_plugin.options.losses import TermOptions, known_losses


class StageOptions(Block):
    """One stage of ``train.stages``."""

    name: str = Field(min_length=1, description='Name of the stage in the log.')
    iters: PositiveInt = Field(description='Iterations of the stage; the sum over all stages must be train.total_iter.')
    losses: list[str] = Field(
        min_length=1, description='Active losses: names of blocks of train, without the suffix _opt.'
    )
    lr_g: PositiveFloat | None = Field(
        default=None, description="Learning rate of the generator in this stage; the scheduler's decay still applies."
    )
    lr_d: PositiveFloat | None = Field(default=None, description='The same for the discriminator.')
    train_d: bool = Field(
        default=False, description='Train the discriminator although no loss of the generator uses it (warm-up).'
    )
    optimizer: Literal['keep', 'reset'] = Field(
        default='keep', description="Keep or reset the optimizers' moments at the start of the stage."
    )

    _whole = field_validator('iters', mode='before')(whole)

    @field_validator('losses')
    @classmethod
    def each_counts_once(cls, losses: list[str]) -> list[str]:
        for loss in losses:
            if losses.count(loss) > 1:
                raise ValueError(f"'{loss}' is listed twice; increase loss_weight of {loss}_opt instead")
        return losses

    @model_validator(mode='after')
    def a_rate_has_a_network(self) -> StageOptions:
        if self.lr_d is not None and 'gan' not in self.losses and not self.train_d:
            raise ValueError(
                f"lr_d: stage '{self.name}' does not train the discriminator; add gan to its losses, or "
                'train_d: true, or remove lr_d'
            )
        return self


class AmpOptions(Block):
    """``train.amp``: which networks run in lower precision. Weights, losses and spectral norm stay in float32."""

    teacher: Literal['bfloat16', 'float16'] | None = Field(default=None, description='The frozen networks.')
    student: Literal['bfloat16', 'float16'] | None = Field(
        default=None, description='The student and the discriminators; float16 scales the gradients (GradScaler).'
    )


class QuantizeOptions(Block):
    """``train.quantize``: quantisation-aware training of the student, for ``sdakd export --int8``."""

    bits: int = Field(
        default=8, ge=4, le=8, description='Bits of weights and activations; files of fewer than 8 are not exported.'
    )
    from_stage: str | None = Field(
        default=None, alias='from', description='The first stage that is quantised; by default the whole run is.'
    )


class StopOptions(Block):
    """The block ``train.stop_when``: when a run ends early."""

    metric: str = Field(description='A metric of val.metrics, measured on the first validation set.')
    patience: Count = Field(
        description='Validations of the last stage in a row without a better value, after which the run ends.'
    )


class TrainOptions(BaseModel):
    """The block ``train``: BasicSR's keys, the stages, and any number of losses ``*_opt``."""

    model_config = ConfigDict(extra='allow', **STRICT)

    total_iter: PositiveInt = Field(le=MOST_ITERATIONS, description='Total number of iterations.')
    warmup_iter: int = Field(default=-1, description='Iterations over which the learning rate rises; -1 for none.')
    ema_decay: float = Field(default=0, ge=0, lt=1, description="Decay of the generator's moving average; 0 for none.")
    net_d_iters: PositiveInt = Field(
        default=1, description='While a discriminator trains, the generator is updated every net_d_iters iterations.'
    )
    net_d_init_iters: int = Field(
        default=0,
        ge=0,
        description='Iterations in which only the discriminator trains, counted from the first stage that trains it.',
    )
    d_first: bool = Field(
        default=False, description='Update the discriminator before the generator, which then runs a second time.'
    )
    r1_reg_weight: float = Field(
        default=0, ge=0, description="Weight of the discriminator's R1 regularisation; 0 for none."
    )
    net_d_reg_every: PositiveInt | None = Field(
        default=None,
        description='Number n of iterations between R1 regularisations. As in StyleGAN2, it also sets '
        'the default betas of optim_d to 0 and 0.99^(n / (n + 1)).',
    )
    net_g_reg_every: PositiveInt | None = Field(
        default=None, description='Sets the default betas of optim_g in the same way.'
    )
    optim_g: dict[str, Any] = Field(description="The generator's optimizer, with its type.")
    optim_d: dict[str, Any] | None = Field(default=None, description="The discriminator's optimizer, with its type.")
    scheduler: dict[str, Any] = Field(description='The learning-rate schedule, with its type.')
    reseed: bool = Field(
        default=False,
        description='Seed the random numbers with manual_seed again after the networks are built, so '
        'that runs with other discriminators or losses train on the same images.',
    )
    nonfinite_limit: PositiveInt = Field(
        default=20,
        description='A step whose loss or gradient is not finite is skipped; training stops after this '
        'many iterations in a row with such a step.',
    )
    collapse_after: int = Field(
        default=2000,
        ge=0,
        description='Warn once if the discriminator has won, or lost, for this many iterations in a row; 0 for never.',
    )
    grad_clip: PositiveFloat | None = Field(
        default=None,
        description='Largest norm of the gradient of the generator, and of each discriminator; a larger gradient is '
        'scaled down to it. By default gradients are not limited.',
    )
    stop_when: StopOptions | None = Field(
        default=None, description='End the run early, once a metric no longer improves; by default it never ends early.'
    )
    on_collapse: Literal['stop', 'rollback'] | None = Field(
        default=None,
        description='What to do, besides the warning, once the discriminator has won, or lost, for collapse_after '
        'iterations: stop with exit code 1, or go back to the weights of the last good checkpoint and halve the '
        'learning rates.',
    )
    max_rollbacks: PositiveInt = Field(
        default=3, description='With on_collapse: rollback, the number of times a run goes back; then it stops.'
    )
    drift_after: int = Field(
        default=0,
        ge=0,
        description="Warn once if the student's images, on average over this many iterations, change colour, or move "
        "away from the teacher's; 0 for never.",
    )
    adaptive_d: bool = Field(
        default=False,
        description='Pause the discriminator in iterations in which the GAN loss of the generator rises fast, as in '
        'traiNNer-redux.',
    )
    adaptive_d_ema_decay: float = Field(
        default=0.999, ge=0, lt=1, description='With adaptive_d, the decay of the moving average of that loss.'
    )
    adaptive_d_threshold: float = Field(
        default=1.02, gt=1, description='With adaptive_d, the factor by which the average may grow in an iteration.'
    )
    amp: AmpOptions | None = Field(default=None, description='Mixed precision; by default everything is float32.')
    quantize: QuantizeOptions | None = Field(
        default=None, description='Train the student as its int8 file will compute; by default it is float.'
    )
    channels_last: bool = Field(
        default=False, description='Use the memory format channels_last: faster convolutions, different rounding.'
    )
    mutual_images: Literal['real', 'fake', 'both'] = Field(
        default='both', description='Images on which the discriminators compare their scores in the loss mutual.'
    )
    stages: list[StageOptions] | None = Field(
        default=None, min_length=1, description='The stages in order; by default one stage with every loss.'
    )

    _whole = field_validator('total_iter', mode='before')(whole)

    @model_validator(mode='after')
    def only_losses_besides(self) -> TrainOptions:
        for key in self.model_extra or {}:
            if not key.endswith('_opt'):
                raise ValueError(f"unknown key '{key}'" + nearest(key, [*type(self).model_fields, *known_losses()]))
        if self.quantize is not None and self.precision.student is not None:
            raise ValueError('quantize rounds float32 as an int8 file does; remove amp.student (amp.teacher may stay)')
        if self.on_collapse and not self.collapse_after:
            raise ValueError('on_collapse needs collapse_after above 0, the iterations after which a GAN has collapsed')
        if self.on_collapse and (self.losses.get('gan') or {}).get('gan_type') in (None, 'wgan'):
            raise ValueError('on_collapse needs gan_opt with a bounded loss, not wgan: only its collapse is detected')
        if self.on_collapse == 'rollback' and self.quantize is not None:
            raise ValueError('on_collapse: rollback does not work with quantize; use on_collapse: stop')
        if self.adaptive_d and 'gan' not in self.losses:
            raise ValueError('adaptive_d needs gan_opt: without a GAN there is no discriminator to pause')
        if self.r1_reg_weight and self.net_d_reg_every is None:
            raise ValueError('r1_reg_weight needs net_d_reg_every; StyleGAN2 and GCFSR use 16')
        return self

    @property
    def precision(self) -> AmpOptions:
        """The block ``amp``; by default float32 everywhere."""
        return self.amp or AmpOptions()

    @property
    def losses(self) -> dict[str, dict[str, Any]]:
        """The loss blocks by the names that stages use; BasicSR's come first, in its order of random draws."""
        extra = self.model_extra or {}
        order: list[str] = [key for key in ('pixel_opt', 'ldl_opt', 'perceptual_opt', 'gan_opt') if key in extra]
        order += [key for key in extra if key not in order]
        return {key.removesuffix('_opt'): extra[key] for key in order if extra[key] is not None}

    @property
    def terms(self) -> dict[str, TermOptions]:
        """The part of each loss block that is not of its loss, by the same names."""
        return {name: TermOptions.of(block) for name, block in self.losses.items() if isinstance(block, Mapping)}
