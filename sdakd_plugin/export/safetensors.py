"""A generator's tensors as safetensors: no code, no optimizer, no second copy; checked by loading it again."""

from __future__ import annotations

import numpy as np
import safetensors.torch
from torch import Tensor

from sdakd_plugin.errors import UserError
from sdakd_plugin.export.exportable import SIZES, Exported, check, metadata
from sdakd_plugin.families.calling import super_resolve
from sdakd_plugin.families.registry import family_of
from sdakd_plugin.inference.model import Model
from sdakd_plugin.networks.identified import load_kind


def export(model: Model, half: bool = False, size: int | None = None, spandrel: bool = False) -> Exported:
    """Write the tensors under their names in BasicSR, with the network's options as metadata.

    Args:
        model: the generator.
        half: store them in half precision; the program that loads them chooses its precision.
        size: must stay ``None``: tensors have no input.
        spandrel: write an RRDBNet of less growth than spandrel knows as one that it loads (``families.rrdbnet.widen``).

    Raises:
        UserError: a size is given, ``spandrel`` for another network, or a number is too large for half precision.
    """
    if size is not None:
        raise UserError('--size: weights alone have no input size; it is for onnx and ncnn')
    state, network = model.state, model.identity.network
    if spandrel:
        for_spandrel = family_of(model.net).export.for_spandrel
        if for_spandrel is None:
            raise UserError(f'--spandrel: is for RRDBNet, not {network["type"]}')
        state, network = for_spandrel(state, network)
    state = {
        key: (value.half() if half and value.is_floating_point() else value).contiguous()
        for key, value in state.items()
    }
    content = safetensors.torch.save(state, {'format': 'pt', **metadata(network, model.identity.scale)})
    net = load_kind(safetensors.torch.load(content), 'the exported file', model.name, 'generator').net.eval()

    def run(image: Tensor) -> np.ndarray:
        return super_resolve(net, image).detach().numpy()

    largest = getattr(model.net, 'out_size', None)
    sizes = ((largest // 4, largest // 4),) if largest else SIZES
    error = check(model, run, sizes, half)
    about = f'{len(state)} tensors, {"in float16" if half else "as they were"}'
    return Exported({'.safetensors': content}, error, about)
