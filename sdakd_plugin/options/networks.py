"""Options of teachers and of the members of a cohort."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from sdakd_plugin.options.fields import Block


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


class MemberOptions(Block):
    """One SRGAN of the ``cohort`` of ``MutualSRGANModel``; missing keys default to those of the top level."""

    name: str = Field(pattern=r'^[A-Za-z0-9-]+$', description='Name in the log and in the files net_g_NAME_*.pth.')
    manual_seed: int = Field(description="Seed of the member's initial weights.")
    network_g: dict[str, Any] | None = Field(default=None, description='Its generator.')
    network_d: dict[str, Any] | None = Field(default=None, description='Its discriminator.')
    pretrain_network_g: str | None = Field(default=None, description='Initial weights of its generator.')
    pretrain_network_d: str | None = Field(default=None, description='Initial weights of its discriminator.')
