"""The options that the plugin adds to BasicSR's YAML, each with its type, default, range and description.

``parse`` checks an option dictionary against these declarations and returns them as objects; its messages name the key
and the closest valid one. The blocks with arguments of a class (``network_*``, ``*_opt``) are checked against the
constructor of that class when they are built (``networks/build.py``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from typing_extensions import TypedDict

from sdakd_plugin.errors import UserError, missing_key, nearest

# strict: BasicSR does not convert most values, so text is not accepted as a number
STRICT = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)
MOST_ITERATIONS = 10**9  # decades of training
MOST_WORKERS = 256
LARGEST = 2.0**128  # float32 represents larger numbers as infinity


def whole(value: Any) -> Any:
    """Convert a whole number written as ``!!float 5e3``, as in BasicSR's option files, to ``int``."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Count = Annotated[PositiveInt, BeforeValidator(whole)]
Range = Annotated[list[float], Field(min_length=2, max_length=2)]
Chances = Annotated[list[float], Field(min_length=3, max_length=3)]


class Block(BaseModel):
    """A block of the option file in which an unknown key is an error."""

    model_config = ConfigDict(extra='forbid', **STRICT)


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


class TeacherOptions(Block):
    """The block ``teacher``: the frozen networks. BasicSR's resuming and folder creation use none of its keys."""

    network_g: dict[str, Any] | None = Field(
        default=None, description='The generator; by default inferred from the weights.'
    )
    pretrain_network_g: str = Field(
        description="Weights of the generator: a file, a known name, or 'untrained' for random weights."
    )
    param_key_g: str | None = Field(default=None, description='Key in that file; by default found automatically.')
    network_d: dict[str, Any] | None = Field(default=None, description='A discriminator, for the loss feature_d.')
    pretrain_network_d: str | None = Field(
        default=None, description='Weights of the discriminator: a file or a known name.'
    )
    param_key_d: str | None = Field(default=None, description='Key in that file; by default found automatically.')
    cache: str | None = Field(
        default=None,
        description='Folder of the images of network_g for fixed LQ images. They are read '
        'instead of running network_g; missing ones are computed before training.',
    )
    channels: Literal['even', 'l1'] = Field(
        default='even',
        description='Channels of the teacher that initialise the student '
        '(path.pretrain_network_g: teacher): evenly spaced, or those with the largest L1 '
        'norm.',
    )


class RampOptions(Block):
    """A number that changes linearly with the iteration, in every stage that lists the loss."""

    start: float = Field(alias='from', ge=0, le=1, description='Its value in the first iteration of the stage.')
    to: float = Field(ge=0, le=1, description='Its value in the last iteration of the stage.')


class TermOptions(Block):
    """What any block `*_opt` of `train` may have besides the arguments of its loss."""

    target: str | None = Field(
        default=None,
        description='What an image is compared with: `gt`, `teacher`, `both` or `mix`, one image mixed from both, of '
        "which `ramp` is the teacher's share. For `gan_opt`, the real images: `gt` or `teacher`.",
    )
    teacher: str | None = Field(
        default=None, description='Name of the teacher to compare with; by default the first of `teachers`.'
    )
    ramp: RampOptions | None = Field(
        default=None, description="A factor of the loss, or with `target: mix` the teacher's share of the image."
    )

    @classmethod
    def of(cls, block: Mapping[str, Any]) -> TermOptions:
        """This part of a block."""
        return cls.model_validate({key: block[key] for key in cls.model_fields if key in block})


class MemberOptions(Block):
    """One SRGAN of the ``cohort`` of ``MutualSRGANModel``; missing keys default to those of the top level."""

    name: str = Field(pattern=r'^[A-Za-z0-9-]+$', description='Name in the log and in the files net_g_NAME_*.pth.')
    manual_seed: int = Field(description="Seed of the member's initial weights.")
    network_g: dict[str, Any] | None = Field(default=None, description='Its generator.')
    network_d: dict[str, Any] | None = Field(default=None, description='Its discriminator.')
    pretrain_network_g: str | None = Field(default=None, description='Initial weights of its generator.')
    pretrain_network_d: str | None = Field(default=None, description='Initial weights of its discriminator.')


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


class AblateOptions(Block):
    """The block ``ablate``: what ``sdakd ablate`` compares. Training ignores it."""

    arms: dict[str, dict[str, Any]] = Field(
        default={},
        description='Arms in addition to the built-in ones, by name. Each is a block of options '
        'to change, such as `network_d.width: 0.25`. `from` names a built-in arm to start '
        'from, and `without` lists losses to remove.',
    )
    seeds: PositiveInt = Field(default=3, description='Runs of each arm; the seeds count up from manual_seed.')
    control: str | None = Field(
        default=None, description='The arm that the others are compared with; by default the first built-in one.'
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


class LoggerOptions(BaseModel):
    """The block ``logger``: BasicSR's keys, and how many checkpoints are kept."""

    model_config = ConfigDict(extra='allow', **STRICT)

    print_freq: Count = 100
    save_checkpoint_freq: Count = 5000
    use_tb_logger: bool = False
    wandb: dict[str, Any] | None = None
    keep_last: PositiveInt | None = Field(
        default=None, description='Number of latest checkpoints to keep; by default all are kept.'
    )
    keep_best: PositiveInt = Field(
        default=1, description='With keep_last, the number of best checkpoints by each metric to keep in addition.'
    )


class DatasetOptions(TypedDict, total=False):
    """A block under ``datasets``: the keys that BasicSR reads itself. The data set's class reads the others."""

    __pydantic_config__ = ConfigDict(extra='allow', strict=True, allow_inf_nan=False)  # type: ignore[misc]

    name: str
    type: str
    dataroot_gt: str | None
    dataroot_lq: str | None
    meta_info: str | None
    meta_info_file: str | None
    filename_tmpl: str
    io_backend: dict[str, Any] | None
    gt_size: PositiveInt | None
    use_hflip: bool
    use_rot: bool
    batch_size_per_gpu: PositiveInt
    num_worker_per_gpu: Annotated[NonNegativeInt, Field(le=MOST_WORKERS)]
    dataset_enlarge_ratio: PositiveFloat
    prefetch_mode: Literal['cpu', 'cuda'] | None
    num_prefetch_queue: PositiveInt
    pin_memory: bool
    persistent_workers: bool
    scale: PositiveInt


class MetricOptions(TypedDict, total=False):
    """A block of ``val.metrics``: the common arguments of BasicSR's metrics."""

    __pydantic_config__ = ConfigDict(extra='allow', strict=True)  # type: ignore[misc]

    type: str
    crop_border: NonNegativeInt
    test_y_channel: bool
    better: Literal['higher', 'lower']


class ValOptions(TypedDict, total=False):
    """The block ``val``; all keys are BasicSR's."""

    __pydantic_config__ = ConfigDict(extra='allow', strict=True)  # type: ignore[misc]

    val_freq: Count
    save_img: bool
    suffix: str | None
    pbar: bool
    metrics: dict[str, MetricOptions] | None


class Options(Block):
    """The top level of an option file: the plugin's keys and BasicSR's."""

    name: str
    model_type: str
    scale: PositiveInt = Field(default=1, description='Factor between LQ and GT.')
    scales: list[PositiveInt] | None = Field(
        default=None,
        min_length=1,
        description='For GCFSR and data sets without LQ: a scale is drawn from this list for each image, a '
        'repeated one more often; validation runs at each scale.',
    )
    num_gpu: NonNegativeInt | Literal['auto']
    manual_seed: int | None = Field(
        default=None, ge=0, lt=2**32 - MOST_WORKERS * 2**10
    )  # NumPy's limit, less the offsets of the workers
    datasets: dict[str, DatasetOptions] = Field(min_length=1)
    custom_imports: list[str] | None = Field(
        default=None,
        description='Modules to import before networks are built, such as my_archs for my_archs.py in the working '
        "directory; they register networks, losses or data sets of one's own with BasicSR.",
    )
    network_g: dict[str, Any]
    network_d: dict[str, Any] | None = None
    network_d_peer: dict[str, Any] | None = Field(
        default=None, description='A second trainable discriminator, for the loss mutual.'
    )
    cohort: list[MemberOptions] | None = Field(
        default=None, min_length=2, description='The members of MutualSRGANModel.'
    )
    teacher: TeacherOptions | None = Field(default=None, description='The frozen networks to distil from.')
    teachers: dict[str, TeacherOptions] | None = Field(
        default=None,
        min_length=1,
        description='Several of these blocks by name, instead of teacher. A loss names one with teacher: NAME.',
    )
    path: dict[str, Any]
    train: TrainOptions | None = None
    val: ValOptions | None = None
    logger: LoggerOptions = LoggerOptions()
    ablate: AblateOptions | None = Field(default=None, description='Options of `sdakd ablate`; not used in training.')
    dist_params: dict[str, Any] | None = None
    find_unused_parameters: bool = False

    # Real-ESRGAN's on-the-fly degradation, with BasicSR's meaning of each key
    high_order_degradation: bool | None = Field(
        default=None, description='Make LQ from GT on the fly; by default if the data set provides blur kernels.'
    )
    gt_size: PositiveInt | None = None
    queue_size: PositiveInt = 180
    l1_gt_usm: bool = False
    percep_gt_usm: bool = False
    gan_gt_usm: bool = False
    resize_prob: Chances | None = None
    resize_range: Range | None = None
    gaussian_noise_prob: float | None = None
    noise_range: Range | None = None
    poisson_scale_range: Range | None = None
    gray_noise_prob: float | None = None
    jpeg_range: Range | None = None
    second_blur_prob: float | None = None
    resize_prob2: Chances | None = None
    resize_range2: Range | None = None
    gaussian_noise_prob2: float | None = None
    noise_range2: Range | None = None
    poisson_scale_range2: Range | None = None
    gray_noise_prob2: float | None = None
    jpeg_range2: Range | None = None

    # what BasicSR's own parse_options adds
    is_train: bool = True
    dist: bool = False
    rank: int = 0
    world_size: int = 1
    auto_resume: bool = False
    root_path: str | None = None

    @field_validator('name')
    @classmethod
    def names_a_folder(cls, name: str) -> str:
        if not re.fullmatch(r'[^/\\\x00-\x1f]{1,180}', name) or name in ('.', '..'):
            raise ValueError(f'expected the name of a folder, not a path, of at most 180 characters, not {shown(name)}')
        return name

    @field_validator('path')
    @classmethod
    def files_are_text(cls, path: dict[str, Any]) -> dict[str, Any]:
        for key, value in path.items():
            switch = 'strict_load' in key
            expected = bool if switch else list if key == 'ignore_resume_networks' else str
            if value is not None and not isinstance(value, expected):
                kind = {bool: 'true or false', list: 'a list', str: 'text'}[expected]
                raise ValueError(f'{key}: expected {kind}, not {value!r}')
        return path

    @property
    def students(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """The students of a run: by name, the suffix of its files and its network."""
        if self.cohort is None:
            return {'student': ('', self.network_g)}
        return {member.name: (f'_{member.name}', member.network_g or self.network_g) for member in self.cohort}

    @property
    def all_teachers(self) -> dict[str, TeacherOptions]:
        """The blocks of the teachers by their keys, ``teacher`` or ``teachers.NAME``; the first one is the default."""
        if self.teacher is not None:
            return {'teacher': self.teacher}
        return {f'teachers.{name}': block for name, block in (self.teachers or {}).items()}

    @property
    def first_teacher(self) -> TeacherOptions | None:
        """The default teacher; ``None`` if there is none."""
        return next(iter(self.all_teachers.values()), None)

    def teacher_of(self, term: TermOptions) -> str | None:
        """The key of the teacher that a loss compares with, if it does; ``None`` if there is no teacher."""
        return next(iter(self.all_teachers), None) if term.teacher is None else f'teachers.{term.teacher}'


DEGRADATION_KEYS = (
    'gt_size',
    'resize_prob',
    'resize_range',
    'gaussian_noise_prob',
    'noise_range',
    'poisson_scale_range',
    'gray_noise_prob',
    'jpeg_range',
    'second_blur_prob',
    'resize_prob2',
    'resize_range2',
    'gaussian_noise_prob2',
    'noise_range2',
    'poisson_scale_range2',
    'gray_noise_prob2',
    'jpeg_range2',
)

ELSEWHERE = {  # keys of other BasicSR models, and what replaces them here
    'gt_usm': ", which is RealESRNetModel's; here l1_gt_usm sharpens the ground truth of pixel_opt"
}


def known_losses() -> list[str]:
    """The loss blocks whose names have a meaning; any other one compares the image with the ground truth."""
    return [
        'pixel_opt',
        'perceptual_opt',
        'ldl_opt',
        'gan_opt',
        'feature_opt',
        'feature_d_opt',
        'teacher_pixel_opt',
        'lpips_opt',
        'mutual_opt',
    ]


def parse(opt: Mapping[str, Any]) -> Options:
    """Check an option dictionary.

    Args:
        opt: the result of BasicSR's ``parse_options``, or the bare YAML; not changed.

    Returns:
        The options as objects.

    Raises:
        UserError: one line for each mistake in the options.
    """
    try:
        _check_values(opt, '')
        options = Options.model_validate(dict(opt))
    except ValidationError as error:
        # of a value that is none of several types, pydantic has an error for each type
        mistakes = {tuple(_written(list(one['loc']), opt, True)): one for one in reversed(error.errors())}
        first, *others = dict.fromkeys(_explain(mistake, opt) for mistake in reversed(mistakes.values()))
        raise UserError(first, others) from None
    except RecursionError:
        raise UserError('the options are nested too deeply, or contain themselves') from None
    if options.is_train and options.train is None:
        testing = any(phase.startswith('test') for phase in options.datasets)
        raise UserError('train: this block is missing' + '; the file is for testing: sdakd test' * testing)
    if (options.cohort is not None) != (options.model_type == 'MutualSRGANModel'):
        raise UserError('cohort: MutualSRGANModel requires this key, and no other model supports it')
    if options.cohort is not None:
        names = [member.name for member in options.cohort]
        if len(set(names)) < len(names):
            raise UserError(f"cohort: two members are named '{max(names, key=names.count)}'")
        if options.network_d_peer is not None:
            raise UserError('network_d_peer: is for SDAKDModel; in a cohort the members are peers')
    _check_teachers(options, opt)
    return options


def _check_teachers(options: Options, opt: Mapping[str, Any]) -> None:
    """Check what the losses say of their teachers."""
    teachers = options.teachers or {}
    if options.teacher is not None and teachers:
        raise UserError('teacher, teachers: give one of them; teachers has any number of such blocks, by name')
    for name, teacher in teachers.items():
        if teacher.cache is not None:
            raise UserError(
                f'teachers.{name}.cache: images are stored for one teacher only; use the block teacher, or leave it out'
            )
    for name, block in options.train.losses.items() if options.train else ():
        if not isinstance(block, Mapping):
            continue  # checks/keys.py reports it
        try:
            term = TermOptions.of(block)
        except ValidationError as error:
            mistakes = error.errors()
            for mistake in mistakes:
                mistake['loc'] = ('train', f'{name}_opt', *mistake['loc'])
            first, *others = dict.fromkeys(_explain(mistake, opt) for mistake in mistakes)
            raise UserError(first, others) from None
        if term.teacher is not None and options.teachers is None:
            raise UserError(f'train.{name}_opt.teacher: chooses one of teachers, a block that is missing; leave it out')
        if term.teacher is not None and term.teacher not in teachers:
            raise UserError(
                f"train.{name}_opt.teacher: there is no '{term.teacher}' in teachers" + nearest(term.teacher, teachers)
            )


def _explain(mistake: ErrorDetails, opt: Mapping[str, Any]) -> str:
    """Turn an error of pydantic into a one-line message with the key of the option file."""
    where = list(mistake['loc'])
    if mistake['type'] == 'extra_forbidden':
        *parents, unknown = where
        valid = keys_of(_block_at(parents))
        inside = f'{".".join(str(part) for part in parents)}: ' if parents else ''
        return f"{inside}unknown key '{unknown}'" + (ELSEWHERE.get(str(unknown)) or nearest(unknown, valid))
    key = '.'.join(str(part) for part in _written(where, opt, mistake['type'] == 'missing'))
    if mistake['type'] == 'missing':
        parents = where[:-1]
        holder: Any = opt
        for part in parents:
            holder = holder[part]
        return missing_key(key, holder if isinstance(holder, Mapping) else (), keys_of(_block_at(parents)))
    if mistake['type'] == 'value_error':
        return f'{key}: {mistake["msg"].removeprefix("Value error, ")}'
    return f'{key}: {mistake["msg"][0].lower()}{mistake["msg"][1:]}, not {shown(mistake["input"])}'


def _written(where: list[Any], opt: Any, missing: bool) -> list[Any]:
    """The part of pydantic's location that exists in the option file, without pydantic's own names after it."""
    found: list[Any] = []
    for part in where:
        try:
            opt = opt[part]
        except (IndexError, KeyError, TypeError):
            return [*found, part] if missing else found
        found.append(part)
    return found


def shown(value: object) -> str:
    """The ``repr`` of a value, shortened for a message."""
    try:
        text = repr(value)
    except ValueError:  # Python does not print integers of more than 4300 digits
        return 'an integer of more than 4300 digits'
    return text if len(text) <= 60 else f'{text[:57]}...'


def keys_of(block: type[BaseModel]) -> list[str]:
    """The keys of a block as an option file writes them."""
    return [field.alias or name for name, field in block.model_fields.items()]


def _block_at(loc: list[Any]) -> type[BaseModel]:
    """The declaration of the block at a location such as ``('train', 'stages', 1)``."""
    names = ['*_opt' if part.endswith('_opt') else part for part in loc if isinstance(part, str)]
    if names[:1] == ['teachers']:
        names[:2] = ['teacher']
    blocks: dict[tuple[str, ...], type[BaseModel]] = {
        (): Options,
        ('train',): TrainOptions,
        ('train', 'stages'): StageOptions,
        ('teacher',): TeacherOptions,
        ('cohort',): MemberOptions,
        ('train', 'amp'): AmpOptions,
        ('train', 'stop_when'): StopOptions,
        ('train', '*_opt'): TermOptions,
        ('train', '*_opt', 'ramp'): RampOptions,
        ('train', 'quantize'): QuantizeOptions,
        ('ablate',): AblateOptions,
    }
    return blocks[tuple(names)]


def _check_values(value: Any, key: str) -> None:
    """Reject common mistakes in YAML values.

    These are keys that are not text, which BasicSR cannot print; numbers that are not finite; and ``2e-4`` (without a
    point), which YAML 1.1 reads as text and which would fail deep inside an optimizer or a loss.
    """
    inside = f'{key}.' if key else ''
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if not isinstance(name, str):
                raise UserError(f'{inside}{shown(name)}: a key must be text; quote it if it is intended')
            _check_values(inner, inside + name)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check_values(inner, f'{inside}{index}')
    elif isinstance(value, (int, float)) and not abs(value) < LARGEST:  # False for NaN too
        raise UserError(f'{key}: {shown(value)} is not a finite float32 number')
    elif isinstance(value, str) and re.fullmatch(r'[+-]?\d+[eE][+-]?\d+', value):
        raise UserError(
            f"{key}: '{value:.60}' is text for YAML; write {float(value):.1e} with a point, or !!float {value:.60}"
        )
