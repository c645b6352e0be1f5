"""The top level of an option file."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from sdakd_plugin.options.data import DatasetOptions, LoggerOptions, ValOptions
from sdakd_plugin.options.fields import MOST_WORKERS, Block, Chances, Range, shown
from sdakd_plugin.options.losses import TermOptions
from sdakd_plugin.options.networks import MemberOptions, TeacherOptions
from sdakd_plugin.options.train import TrainOptions


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
