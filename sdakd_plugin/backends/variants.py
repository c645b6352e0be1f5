"""A generator in each backend and precision, for a table that compares them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import nn

from sdakd_plugin.backends import onnx, openvino
from sdakd_plugin.backends.choose import PACKAGES, build, require
from sdakd_plugin.errors import UserError
from sdakd_plugin.export import calibration, int8
from sdakd_plugin.export.fidelity import Fidelity, Judge
from sdakd_plugin.export.limits import Limits
from sdakd_plugin.families.calling import ImageToImage
from sdakd_plugin.inference.model import Model

LABELS = {'torch': 'torch channels last', 'openvino': 'openvino', 'onnx': 'onnx'}
FROM_FILES: dict[str, Callable[[int8.Files], nn.Module]] = {
    'openvino': lambda files: openvino.from_content(files['.xml'], files['.bin']),
    'onnx': lambda files: onnx.ONNXRuntime(files['.onnx']),
}


def build_named(
    model: Model, name: str, device: torch.device, in_int8: bool = False
) -> tuple[dict[str, nn.Module], list[str]]:
    """The modules that run a generator, but for the network itself.

    Args:
        model: the generator.
        name: one of ``backends.CHOICES``; ``'auto'`` is all that are installed and can run it.
        device: where PyTorch runs; the other backends run on the CPU, and ``'auto'`` leaves them out elsewhere.
        in_int8: whether OpenVINO and ONNX Runtime run it in int8, too, as ``sdakd export --int8`` makes it.

    Returns:
        The modules, by a name for a table; and a line for each that ``'auto'`` leaves out, which says why.

    Raises:
        UserError: as ``choose.build``, for a backend that is named; or it cannot be quantised.
    """
    names = (name,) if name != 'auto' else ('torch', *(PACKAGES if device.type == 'cpu' else ()))
    makers: dict[str, Callable[[], nn.Module | None]] = {
        LABELS[one]: partial(build, model, one, device) for one in names
    }
    if in_int8:
        makers |= {f'{LABELS[one]} int8': partial(_in_int8, model, one) for one in names if one in FROM_FILES}
    found, left_out = {}, []
    for label, make in makers.items():
        try:
            found[label] = make()
        except UserError as error:
            if name != 'auto':
                raise UserError(f'--backend: {model.name}: {error}') from error
            left_out.append(f'{model.name} has no row for {label}: {error}')
    return {label: run for label, run in found.items() if run is not None}, left_out


@torch.no_grad()
def fidelities(model: Model, runs: Mapping[str, nn.Module]) -> dict[str, Fidelity]:
    """How near to the network's own images are those of modules that run it, on the photographs that int8 is checked
    with; ``lpips`` is not measured."""
    if not runs:  # as of GCFSR, which takes no photograph of any size
        return {}
    checking = calibration.images(model, None).checking
    judge = Judge(checking, ImageToImage(model.net), model.identity.scale or 1, Limits())
    return {label: judge.fidelity(run) for label, run in runs.items()}


def _in_int8(model: Model, name: str) -> nn.Module:
    require(name)
    return FROM_FILES[name](int8.export(model, int8.RUNTIMES[name], Limits()).files)
