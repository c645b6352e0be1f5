"""Which backend runs a generator, and proof that it gives PyTorch's images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from statistics import median

import torch
from torch import nn

from sdakd_plugin.backends import onnx, openvino
from sdakd_plugin.backends.channels_last import ChannelsLast
from sdakd_plugin.errors import UserError
from sdakd_plugin.evaluation import cost
from sdakd_plugin.export.exportable import difference, photograph
from sdakd_plugin.families.calling import ImageToImage
from sdakd_plugin.families.registry import family_of
from sdakd_plugin.inference.model import Model

PACKAGES: dict[str, tuple[str, Sequence[str]]] = {  # by backend: the extra, and what it brings
    'openvino': ('openvino', ('openvino',)),
    'onnx': ('export', ('onnx', 'onnxruntime')),
}
CONVERTERS: dict[str, Callable[[Model], nn.Module]] = {'openvino': openvino.from_net, 'onnx': onnx.from_net}
EXACT = 1e-4  # of the range of an image; one step of 8 bits is 4e-3
PROBES = ((16, 24), (40, 32))  # pixels, height and width; two, since a traced network may know but one
TURNS, SIDE = 3, 48  # passes that are timed, and pixels of their image
WORTH = 1.1  # times faster; less is within what such a measurement varies from run to run


def with_backend(model: Model, name: str, device: torch.device) -> tuple[Model, str]:
    """Have a generator run by a backend.

    Args:
        model: the generator.
        name: one of ``backends.CHOICES``. ``'auto'`` is OpenVINO where it is installed, exact, and on a probe image at
            least ``WORTH`` times as fast as PyTorch, else PyTorch. ONNX Runtime in float32 was never measured to be
            faster.
        device: where PyTorch runs; the other backends run on the CPU.

    Returns:
        The model, and why ``'auto'`` took the backend, beginning with its name.

    Raises:
        UserError: the package is missing, or the network cannot be converted or then gives other images.
    """
    if name != 'auto':
        try:
            return _run_by(model, name, device), name
        except UserError as error:
            raise UserError(f'--backend: {error}') from error
    objection = _objection(model, device)
    plain = _run_by(model, 'torch', device)
    if objection is None:
        try:
            fast = _run_by(model, 'openvino', device)
        except UserError as error:
            return plain, f'torch; {error}'
        faster = times_faster(plain, fast)
        if faster >= WORTH:
            return fast, f'openvino, {faster:.2f} times as fast as torch on a probe, and at most {EXACT:g} from it'
        objection = f'openvino is {faster:.2f} times as fast on a probe, and taken from {WORTH:g} on'
    return plain, f'torch; {objection}'


def build(model: Model, name: str, device: torch.device) -> nn.Module | None:
    """The module that runs a generator on one backend; ``None`` for the network itself.

    Raises:
        UserError: the package is missing, or the network cannot be converted or then gives other images.
    """
    if name == 'torch':
        return ChannelsLast(model.net) if device.type == 'cpu' and ChannelsLast.is_faster(model.net) else None
    require(name)
    if has_fixed_size(model.net):
        raise UserError(f'{model.identity.network["type"]} runs in torch only')
    run = CONVERTERS[name](model)
    found = distance(model, run)
    if not found <= EXACT:  # NaN is not
        raise UserError(f'{name} gives images that differ from PyTorch by {found:.1e}, more than {EXACT:g}; use torch')
    return run


def has_fixed_size(net: nn.Module) -> bool:
    """Whether an exported network would take images of one size only, as GCFSR's."""
    return family_of(net).export.size_hint(net) is not None


def installed(name: str) -> bool:
    """Whether the packages of a backend are installed."""
    return all(find_spec(package) is not None for package in PACKAGES[name][1])


def require(name: str) -> None:
    """Raise a UserError that names the extra if a backend's packages are missing."""
    if not installed(name):
        extra, packages = PACKAGES[name]
        missing = ', '.join(package for package in packages if find_spec(package) is None)
        raise UserError(f'{name} needs the package {missing}: pip install "sdakd-plugin[{extra}]"')


@torch.no_grad()
def distance(model: Model, run: nn.Module, reference: nn.Module | None = None) -> float:
    """The largest ``difference`` on photographs between a backend and the network in PyTorch, or another backend."""
    expected = ImageToImage(model.net) if reference is None else reference
    images = [photograph(model, *size) for size in PROBES]
    return float(max(difference(run(image).numpy(), expected(image).numpy()) for image in images))


def _run_by(model: Model, name: str, device: torch.device) -> Model:
    run = build(model, name, device)
    return replace(model, run=run, bytes_per_pixel=openvino.bytes_per_pixel(model) if name == 'openvino' else None)


def times_faster(plain: Model, fast: Model) -> float:
    """How many times faster one backend of a generator runs than another."""
    runners = {'plain': plain.runner, 'fast': fast.runner}
    times = cost.interleaved(runners, photograph(plain, SIDE, SIDE), TURNS)
    return median(slow / quick for slow, quick in zip(times['plain'], times['fast'], strict=True))


def _objection(model: Model, device: torch.device) -> str | None:
    """Why ``'auto'`` does not try OpenVINO."""
    if device.type != 'cpu':
        return 'the others run on the CPU'
    if has_fixed_size(model.net):
        return f'{model.identity.network["type"]} runs in no other'
    if not installed('openvino'):
        return f'openvino may be faster, but is not installed: pip install "sdakd-plugin[{PACKAGES["openvino"][0]}]"'
    return None
