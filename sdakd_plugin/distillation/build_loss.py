"""Builds losses from their option blocks."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

from basicsr.losses import build_loss as basicsr_build_loss
from basicsr.utils.registry import LOSS_REGISTRY
from torch import nn

from sdakd_plugin.networks.build import build, registered
from sdakd_plugin.options import TermOptions
from sdakd_plugin.stock.perceptual_loss import local_vgg
from sdakd_plugin.utils.registries import look_up


def build_loss(block: Mapping[str, Any], key: str) -> nn.Module:
    """Build the loss of an option block, like ``build_network``; the weights that it needs are downloaded."""

    def constructor(block: dict[str, Any]) -> nn.Module:
        if block['type'] != 'PerceptualLoss':
            return basicsr_build_loss(block)
        with local_vgg(block.get('vgg_type', 'vgg19')):
            return basicsr_build_loss(block)

    known = isinstance(block, Mapping) and block.get('type') in registered(LOSS_REGISTRY)
    return build(constructor, LOSS_REGISTRY, arguments(block) if known else block, key)


def arguments(block: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an option block that is for its loss: some have a ``target`` of their own, which is not ``mix``."""
    parameters = signature(look_up(LOSS_REGISTRY, block['type'])).parameters
    kept = {'target'} if 'target' in parameters and block.get('target') != 'mix' else set()
    return {key: value for key, value in block.items() if key not in TermOptions.model_fields or key in kept}
