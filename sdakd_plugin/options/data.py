"""Options of data sets, validation and logging, most of which are BasicSR's."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt
from typing_extensions import TypedDict

from sdakd_plugin.options.fields import MOST_WORKERS, STRICT, Count


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
