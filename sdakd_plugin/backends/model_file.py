"""A generator in a file of ONNX or OpenVINO, such as ``sdakd export`` writes, as a model that other rooms can use."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from sdakd_plugin.backends import onnx, openvino
from sdakd_plugin.backends.choose import EXACT, distance, installed, require
from sdakd_plugin.errors import UserError
from sdakd_plugin.inference.model import Model
from sdakd_plugin.weights import Identity
from sdakd_plugin.weights.files import missing

RUNTIMES = {'.onnx': ('openvino', 'onnx'), '.xml': ('openvino',)}  # by suffix, the fastest first
Runtime = openvino.OpenVINO | onnx.ONNXRuntime
READERS: dict[str, Callable[[Path], tuple[Runtime, float]]] = {'openvino': openvino.from_file, 'onnx': onnx.from_file}
PROBE = 16  # pixels; a multiple of what networks ask for


def is_model_file(source: str | PathLike[str]) -> bool:
    """Whether a name is that of such a file."""
    return Path(source).suffix.lower() in RUNTIMES


def load_model_file(source: str | PathLike[str], role: str, backend: str) -> tuple[Model, str]:
    """Load a file with one input (n, 3, h, w), range 0..1, of any size, and one output; its scale is found by a run.

    Args:
        source: the file.
        role: the option that names the file, such as ``'--model'``; every message begins with it.
        backend: one of ``backends.CHOICES``. ``'auto'`` is for ONNX the faster OpenVINO where it gives the images of
            ONNX Runtime, which a quantised file does not always do.

    Returns:
        The model, whose network is the backend itself, and why the backend was taken, beginning with its name.

    Raises:
        UserError: the file is missing or damaged, of another kind, or the backend cannot run it.
    """
    path = Path(source).expanduser()
    if not path.is_file():
        raise missing(path, role)
    runtimes = RUNTIMES[path.suffix.lower()]
    if backend == 'auto':
        return _fastest(path, role, [name for name in runtimes if installed(name)] or list(runtimes[-1:]))
    if backend not in runtimes:
        raise UserError(f'--backend: {backend} does not run {path}; use {" or ".join(runtimes)}')
    return _load(path, role, backend), backend


def _fastest(path: Path, role: str, names: list[str]) -> tuple[Model, str]:
    """The first backend that gives the images of the last."""
    model = _load(path, role, names[-1])
    if len(names) == 1:
        return model, f'{names[0]}, which is installed and runs {path.suffix}'
    try:
        fast = _load(path, role, names[0])
    except UserError as error:
        return model, f'{names[-1]}; {error}'
    found = distance(model, fast.net, model.net)
    if found <= EXACT:
        return fast, f'{names[0]}, which is at most {EXACT:g} from {names[-1]} and mostly faster'
    return model, f'{names[-1]}; {names[0]} gives images that differ from it by {found:.1e}, and may be faster'


def _load(path: Path, role: str, backend: str) -> Model:
    try:
        require(backend)
    except UserError as error:
        raise UserError(f'{role}: {path}: {error}') from error
    try:
        run, bytes_per_pixel = READERS[backend](path)
    except Exception as error:  # the parsers of both have a dozen kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise UserError(f'{role}: {path} is damaged, or nothing that {backend} can run: {reason}') from error
    identity = Identity('generator', {'type': type(run).__name__, 'file': path.name}, _scale(run, path, role))
    return Model(path.stem, path, identity, {}, run, bytes_per_pixel=bytes_per_pixel)


def _scale(run: Runtime, path: Path, role: str) -> int:
    """How many times the output of a probe is larger than the probe."""
    shape = run.input_shape
    if len(shape) != 4 or shape[1] not in (3, -1):
        raise UserError(f'{role}: {path} takes an input of shape {shape}; expected RGB images (n, 3, h, w)')
    if shape[2:] != (-1, -1):
        raise UserError(f'{role}: {path} takes images of {shape[3]}x{shape[2]} only; export it without --size')
    found: Tensor = run(torch.full((1, 3, PROBE, PROBE), 0.5))
    scale = found.shape[-1] // PROBE
    if found.shape != (1, 3, scale * PROBE, scale * PROBE) or not scale:
        raise UserError(
            f'{role}: {path} makes {tuple(found.shape)} of (1, 3, {PROBE}, {PROBE}); expected an RGB image, enlarged '
            'by a whole number'
        )
    return scale
