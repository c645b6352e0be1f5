"""What a discriminator says of a batch."""

from typing import NamedTuple

from torch import Tensor


class DiscriminatorOutput(NamedTuple):
    """Images (n, c, H, W), range 0..1, their scores (n, ...), and the features asked for, by layer name."""

    images: Tensor
    scores: Tensor
    features: dict[str, Tensor]
