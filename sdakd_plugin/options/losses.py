"""Options of a loss: with what it compares, and how its weight changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from sdakd_plugin.options.fields import Block


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
