"""Frozen ImageNet backbones for losses, from a local torchvision file or a download."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn
from torchvision.models import get_model, get_model_weights

from sdakd_plugin.errors import UserError
from sdakd_plugin.utils.download import FAILURES, download

# No import of basicsr here: importing it registers the plugin, which imports the modules that import this one.

AnyModule = TypeVar('AnyModule', bound=nn.Module)
AnyLoss = TypeVar('AnyLoss', bound='FrozenLoss')


class FrozenLoss(nn.Module):
    """Base class of losses with a frozen network, which always stays in evaluation mode.

    Args:
        loss_weight: factor of the loss, at least 0.
    """

    def __init__(self, loss_weight: float) -> None:
        super().__init__()
        self.training = False
        try:
            self.loss_weight = float(loss_weight)  # PyYAML reads 1e-6, without a dot, as text
        except (TypeError, ValueError):
            self.loss_weight = math.nan
        if not 0 <= self.loss_weight < math.inf:
            raise UserError(f'loss_weight must be a number of at least 0, not {loss_weight!r}')

    def train(self: AnyLoss, mode: bool = True) -> AnyLoss:
        return super().train(False)

    def check_images(self, pred: torch.Tensor, reference: torch.Tensor, least: int = 1) -> None:
        """Raise a UserError unless both are ``(n, c, h, w)`` of one shape with ``h`` and ``w`` at least ``least``."""
        name = type(self).__name__
        if pred.shape != reference.shape or pred.dim() != 4:
            raise UserError(
                f'{name} compares images (n, c, h, w) of the same shape, not {tuple(pred.shape)} with '
                f'{tuple(reference.shape)}'
            )
        if min(pred.shape[-2:]) < least:
            raise UserError(
                f'{name}: images of {pred.shape[-2]}x{pred.shape[-1]} are too small for the backbone, '
                f'which needs at least {least}x{least} pixels'
            )


def freeze(module: AnyModule) -> AnyModule:
    """Turn the parameters and buffers of ``module`` into non-persistent buffers, in place, and set evaluation mode.

    The module then has no parameters for an optimizer or DDP, is not saved, and is still moved by ``.to(device)``.
    """
    for part in module.modules():
        for name, value in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
            delattr(part, name)
            part.register_buffer(name, value.detach(), persistent=False)
    return module.eval()


def load_features(arch: str, path: str | Path | None, option: str) -> nn.Sequential:
    """The ``features`` of a torchvision network with trained float32 weights. Draws no random numbers.

    Args:
        arch: torchvision's name, such as ``vgg19``.
        path: a state dict in any float precision, of the whole network (``features.0.weight``, ``classifier...``) or
            only of its features (with or without the prefix ``features.``); ``None`` downloads torchvision's file.
        option: the YAML option of ``path``, for messages.

    Raises:
        UserError: the file is missing, not safe to load or of another network, or the download fails.
    """
    with torch.device('meta'):  # allocates no memory (500 MB for VGG's classifier) and draws no random numbers
        features = get_model(arch, weights=None).features
    file = Path(path).expanduser() if path else fetch(arch, f'set {option} to it')
    state = {
        key.removeprefix('features.'): value.float() if value.is_floating_point() else value
        for key, value in _read(file, arch, option).items()
        if not key.startswith('classifier.')
    }
    expected = features.state_dict()
    for key in expected.keys() - state.keys():
        if key.endswith('num_batches_tracked'):  # missing in old files such as torchvision's VGG with BatchNorm
            state[key] = torch.zeros((), dtype=torch.long)
    faults = (
        [f'{key!r} is missing' for key in expected if key not in state]
        + [f'{key!r} is unknown to {arch}' for key in state if key not in expected]
        + [
            f'{key!r} has another shape'
            for key, value in state.items()
            if key in expected and expected[key].shape != value.shape
        ]
    )
    if faults:
        raise UserError(f'{option}: {file} does not hold the weights of {source(arch)}: {faults[0]}')
    features.load_state_dict(state, assign=True)
    return features


def cached_file(arch: str) -> Path:
    """The path of torchvision's weights of a network in torch.hub's cache; the file may not exist."""
    return Path(torch.hub.get_dir(), 'checkpoints', _address(arch).rsplit('/', 1)[-1])


def _read(file: Path, arch: str, option: str) -> dict[str, torch.Tensor]:
    if not file.is_file():
        raise UserError(f'{option}: no such file: {file}; it should hold the weights of {source(arch)}')
    try:
        state = torch.load(file, map_location='cpu', weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).strip().split('\n')[0]
        raise UserError(f'{option}: {file} is not a weights file that loads safely ({reason})') from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UserError(f'{option}: {file} is not a plain state dict; it should hold the weights of {source(arch)}')
    return state


def fetch(arch: str, remedy: str) -> Path:
    """Download torchvision's weights to torch.hub's cache, unless they are there, and return the path.

    Args:
        arch: torchvision's name, such as ``vgg19``.
        remedy: what to do with the file without a network connection, for the message.

    Raises:
        UserError: the file does not exist and cannot be downloaded.
    """
    url, file = _address(arch), cached_file(arch)
    if not file.exists():
        try:
            download(url, file, file.stem.rsplit('-', 1)[-1])  # the hash in its name is PyTorch's convention
        except FAILURES as error:
            raise UserError(
                f'the weights of {source(arch)} are not on this machine and cannot be downloaded '
                f'({error}); get that file elsewhere and {remedy}, or put it at {file}'
            ) from error
    return file


def source(arch: str) -> str:
    """A description of the weights of a network, with their address."""
    return f"torchvision's {arch} ({_address(arch)})"


def _address(arch: str) -> str:
    url: str = get_model_weights(arch)['IMAGENET1K_V1'].url
    return url
