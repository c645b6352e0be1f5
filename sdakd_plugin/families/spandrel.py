"""Networks of other projects, such as HAT, DAT, SwinIR and RealPLKSR, which the package spandrel recognises by their
weights, builds and calls.

spandrel is given tensors that were read safely before; none of its own readers of files is used, one of which runs
TorchScript. It is imported on first use.
"""

from __future__ import annotations

import inspect
import warnings
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sdakd_plugin.errors import UserError
from sdakd_plugin.families.family import Export, Family, State, unwrap
from sdakd_plugin.families.identity import Identity, Kind

if TYPE_CHECKING:
    from spandrel import ModelDescriptor

DESCRIPTOR = 'spandrel_descriptor'  # the attribute of a network with what spandrel knows of it
PADDING = ('check_image_size', 'check_img_size')  # the usual names of a method that pads an image
KINDS: dict[str, Kind] = {'FaceSR': 'face restoration network', 'Inpainting': 'inpainting network'}


def architecture(state: State) -> str | None:
    """The name of the architecture of a state dict; ``None`` if spandrel knows none."""
    from spandrel import MAIN_REGISTRY, canonicalize_state_dict

    tensors = canonicalize_state_dict(dict(state))
    found = (entry.architecture for entry in MAIN_REGISTRY.architectures('detection') if entry.detect(tensors))
    return next((one.name for one in found), None)


def load(state: State, source: object, role: str) -> tuple[nn.Module, Identity] | None:
    """Build the network of a state dict with these weights; ``None`` if spandrel knows no such network.

    Args:
        state: tensors by name.
        source: where they come from, for messages.
        role: the option that names them; every message begins with it.

    Returns:
        The network as spandrel builds it, so that its layers have their usual names, and its identity, whose option
        block describes it but cannot build it.

    Raises:
        UserError: the tensors look like those of a known network, but do not fit it.
    """
    from spandrel import ModelLoader, UnsupportedModelError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of PyTorch, about old calls in their constructors
            descriptor = ModelLoader().load_from_state_dict(dict(state))
    except UnsupportedModelError:
        return None
    except Exception as error:  # spandrel derives options from the tensors, which may be any
        reason = ' '.join(str(error).split())[:200]
        raise UserError(
            f'{role}: {source} looks like {architecture(state)}, but does not fit such a network of spandrel: '
            f'{type(error).__name__}: {reason}'
        ) from error
    net = descriptor.model
    setattr(net, DESCRIPTOR, descriptor)
    return net, Identity(KINDS.get(descriptor.purpose, 'generator'), _describe(descriptor), descriptor.scale)


def is_of_spandrel(net: nn.Module) -> bool:
    """Whether a network was built by ``load``, or is a copy of one."""
    return hasattr(unwrap(net), DESCRIPTOR)


def call(net: nn.Module, lq: Tensor, lq_scale: Tensor | None) -> Tensor:
    """Call the network on an image of any size, as spandrel does.

    The image is padded at the lower and right edge, by reflection and then by repetition, to a size that the network
    takes; the result is cropped, and clamped to 0..1.

    Raises:
        UserError: the image has another number of channels than the network takes.
    """
    descriptor: Any = getattr(unwrap(net), DESCRIPTOR)
    if lq.shape[1] != descriptor.input_channels:
        channels = '1 channel' if descriptor.input_channels == 1 else f'{descriptor.input_channels} channels'
        raise UserError(f'{type(net).__name__} takes images of {channels}, not {lq.shape[1]}')
    # what is wrapped is in inference mode: a loss cannot use its tensors
    sr: Tensor = inspect.unwrap(type(descriptor).__call__)(descriptor, lq)
    return sr


def padded(net: Any, height: int, width: int) -> tuple[int, int]:
    """The size of an image after spandrel's padding, and the network's own if it has a method of ``PADDING``."""
    right, below = getattr(net, DESCRIPTOR).size_requirements.get_padding(width, height)
    image = torch.empty(1, 1, height + below, width + right, device='meta')
    for name in PADDING:
        with suppress(AttributeError, RuntimeError, TypeError):  # there are others with more arguments
            image = getattr(net, name)(image)
    return image.shape[-2], image.shape[-1]


def size_hint(net: Any) -> str | None:
    """Networks that pad images are exported for one size: traced, the padding would be that of the traced image."""
    takes_any = getattr(net, DESCRIPTOR).size_requirements.check(2, 3)
    if takes_any and not any(hasattr(net, name) for name in PADDING):
        return None
    return f'{type(net).__name__} pads images, so its file is for one size; add e.g. --size 64'


def blocks(net: nn.Module) -> list[str]:
    """The entries of the most frequent class that is not of PyTorch itself, in the network or in one of its lists."""
    groups = [
        [f'{list_name}{name}' for name, child in parent.named_children() if type(child) is kind]
        for list_name, parent in [('', net), *((f'{name}.', child) for name, child in net.named_children())]
        if parent is net or isinstance(parent, nn.ModuleList | nn.Sequential)
        for kind in Counter(map(type, parent.children()))
        if not kind.__module__.startswith('torch.')
    ]
    most = max(groups, key=len, default=[])
    return most if len(most) > 1 else []


def _describe(descriptor: ModelDescriptor) -> dict[str, Any]:
    sizes = descriptor.size_requirements
    return {
        'type': descriptor.architecture.name,
        'num_in_ch': descriptor.input_channels,
        'num_out_ch': descriptor.output_channels,
        **({'tags': ' '.join(descriptor.tags)} if descriptor.tags else {}),
        **({'minimum': sizes.minimum} if sizes.minimum else {}),
        **({'multiple_of': sizes.multiple_of} if sizes.multiple_of > 1 else {}),
        **({'square': True} if sizes.square else {}),
    }


FAMILY = Family(
    names=(),  # its networks are told by what ``load`` leaves on them: other packages have classes of the same names
    blocks=blocks,
    call=call,
    padded=padded,
    export=Export(size_hint=size_hint),
)
