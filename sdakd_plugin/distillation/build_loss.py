"""Builds losses from their option blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from basicsr.losses import build_loss as basicsr_build_loss
from basicsr.utils.registry import LOSS_REGISTRY
from torch import nn

from sdakd_plugin.networks.build import build
from sdakd_plugin.stock.perceptual_loss import local_vgg


def build_loss(block: Mapping[str, Any], key: str) -> nn.Module:
    """Build the loss of an option block, like ``build_network``; the weights that it needs are downloaded."""

    def constructor(block: dict[str, Any]) -> nn.Module:
        if block['type'] != 'PerceptualLoss':
            return basicsr_build_loss(block)
        with local_vgg(block.get('vgg_type', 'vgg19')):
            return basicsr_build_loss(block)

    return build(constructor, LOSS_REGISTRY, block, key)
