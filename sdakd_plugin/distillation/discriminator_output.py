"""The output of a discriminator for a batch."""

from typing import NamedTuple

from torch import Tensor


class DiscriminatorOutput(NamedTuple):
    """Images (n, c, H, W), range 0..1, their scores (n, ...), and the requested features by layer name."""

    images: Tensor
    scores: Tensor
    features: dict[str, Tensor]
