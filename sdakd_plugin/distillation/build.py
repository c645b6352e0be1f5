"""Building networks and losses from their option blocks, with an error that names the key when a block is wrong."""
from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from basicsr.archs import build_network as basicsr_build_network
from basicsr.losses import build_loss as basicsr_build_loss
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY, Registry
from torch import nn

from sdakd_plugin.errors import UserError, nearest


@contextmanager
def undisturbed_rng() -> Iterator[None]:
    """What is built inside draws no random number from those of the training run, nor seeds it.

    Before CUDA starts, ``torch.manual_seed`` leaves a seed for it to start with: behind the block that is the run's
    again, also where CUDA started inside.
    """
    started = torch.cuda.is_initialized()
    waiting = torch.cuda._lazy_seed_tracker
    before = dict(vars(waiting))
    try:
        with torch.random.fork_rng(devices=list(range(torch.cuda.device_count())) if started else []):
            yield
    finally:
        if not started:
            vars(waiting).update(before)
            if torch.cuda.is_initialized():
                for seed, _ in filter(None, waiting.get_calls()):
                    seed()


def build_network(block: Mapping[str, Any], key: str) -> nn.Module:
    """Build the network of an option block.

    Args:
        block: ``type`` and the constructor's arguments.
        key: where the block stands in the option file, for the message.

    Raises:
        UserError: unknown type or argument, or values that the network refuses.
    """
    return _build(basicsr_build_network, ARCH_REGISTRY, block, key)


def build_loss(block: Mapping[str, Any], key: str) -> nn.Module:
    """Build the loss of an option block; as ``build_network``."""
    return _build(basicsr_build_loss, LOSS_REGISTRY, block, key)


def registered(registry: Registry) -> list[str]:
    """The names that an option file can use for a registry's entries."""
    return [name.removesuffix('_basicsr') for name, _ in registry]


def _build(build: Callable[[dict[str, Any]], nn.Module], registry: Registry, block: Mapping[str, Any],
           key: str) -> nn.Module:
    check_call(registry, block, key)
    try:
        return build(dict(block))
    except UserError as error:
        raise UserError(f'{key}: {error}') from None
    except OSError as error:  # a backbone that cannot be downloaded
        raise UserError(f"{key}: {block['type']} cannot get its weights ({error}); see 'Without a connection' in the "
                        'README') from error
    except (ArithmeticError, AssertionError, AttributeError, KeyError, NotImplementedError, RuntimeError, TypeError,
            ValueError) as error:
        raise UserError(f"{key}: {block['type']} cannot be built: {type(error).__name__}: {error}") from error


def check_call(registry: Registry, block: Any, key: str, given: Collection[str] = ()) -> None:
    """Check ``type`` against a registry, and the other keys against what is registered there.

    Args:
        registry: one of BasicSR's.
        block: the option block.
        key: where the block stands in the option file.
        given: arguments that the caller supplies.

    Raises:
        UserError: unknown type or argument, or one that is missing.
    """
    if not isinstance(block, Mapping) or 'type' not in block:
        raise UserError(f'{key}: expected a block with the key type')
    name = block['type']
    if name not in registered(registry):
        raise UserError(f"{key}.type: there is no '{name}'" + nearest(name, registered(registry)))
    parameters = inspect.signature(registry.get(name)).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    valid = [parameter.name for parameter in parameters if parameter.name not in given]
    for argument in block:
        if argument != 'type' and argument not in valid:
            raise UserError(f"{key}: unknown key '{argument}' for {name}" + nearest(argument, valid))
    for parameter in parameters:
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL \
                and parameter.name not in {*block, *given}:
            raise UserError(f"{key}: {name} needs the key '{parameter.name}'")
