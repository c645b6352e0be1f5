"""What ``sdakd export --int8`` says about its result, or why there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np
from torch import Tensor

from sdakd_plugin.export import calibration, processor
from sdakd_plugin.export.fidelity import Fidelity, psnr
from sdakd_plugin.export.float_layers import Choice
from sdakd_plugin.export.quantizer import LEARNT

NAMED = 5  # layers that a refusal names


def _costliest(choice: Choice[Any], number: int) -> str:
    return ', '.join(f'{layer} {db:.1f} dB' for layer, db in list(choice.costs.items())[:number])


def refusal(name: str, choice: Choice[Any], layers: int) -> str:
    """Which limit is missed, and by which layers."""
    return (
        f'{name}: nothing is written: in int8, with {len(choice.in_float)} of {layers} layers in float, '
        f'{problems(choice.attempt.fidelity)}; the layers that cost most, each quantised alone: '
        f'{_costliest(choice, NAMED)}'
    )


def problems(found: Fidelity) -> str:
    """Which limits are missed, and by how much."""
    missed = []
    if not found.loss <= found.limits.max_loss:
        missed.append(f'it loses {found.loss:.3f} dB to the ground truth (--max-loss {found.limits.max_loss:g})')
    if not found.psnr >= found.limits.min_fidelity:
        missed.append(
            f"it is {found.psnr:.1f} dB from the float network's images (--min-fidelity {found.limits.min_fidelity:g})"
        )
    return ' and '.join(missed)


def layers_line(choice: Choice[Any], layers: int, ranges: float | str) -> str:
    """How many layers are quantised, and which are not."""
    which = 'learnt ranges' if ranges == LEARNT else f'ranges at percentile {ranges:g}'
    line = f'int8: {layers - len(choice.in_float)} of {layers} convolutions, {which}'
    if not choice.in_float:
        return f'{line}; none has to stay in float'
    return f'{line}; in float, since they cost most (PSNR if quantised alone): ' + _costliest(
        choice, len(choice.in_float)
    )


def quality_lines(found: Fidelity, names: list[str]) -> list[str]:
    """How near it is to the float network and the ground truth."""
    limits, verb = found.limits, 'lost' if found.loss > 0 else 'gained'
    lines = [
        f"to the float network's images ({', '.join(names)}): PSNR {found.psnr:.2f} dB, lowest {found.lowest:.2f} "
        f'(allowed: {limits.min_fidelity:g}); largest difference {found.largest:.3f} of the range',
        f'to the ground truth ({", ".join(calibration.CHECKING)}): PSNR on luma {found.of_float:.3f} dB in float, '
        f'{found.of_int8:.3f} in int8: {abs(found.loss):.3f} {verb} (allowed: {limits.max_loss:g})',
    ]
    if found.lpips is not None:
        between, of_float, of_int8 = found.lpips
        lines.append(
            f"LPIPS to the float network's images {between:.4f}; to the ground truth {of_float:.4f}, {of_int8:.4f}"
        )
    return lines


def simulation_line(pairs: Sequence[tuple[Tensor, Tensor]]) -> str:
    """How near the file's images are to those of the network that was trained with fake quantisation."""
    return (
        f'to the images of the quantised network in training: PSNR {np.mean([psnr(*pair) for pair in pairs]):.2f} dB; '
        f'largest difference {max(float((a - b).abs().max()) for a, b in pairs):.3f} of the range'
    )


def speed_line(lq: Tensor, float_run: Callable[[Tensor], Tensor], int8_run: Callable[[Tensor], Tensor]) -> str:
    """Seconds for one image, the best of some, in turns."""
    seconds: dict[str, float] = {}
    for _ in range(3):
        for name, run in (('float', float_run), ('int8', int8_run)):
            start = perf_counter()
            run(lq)
            seconds[name] = min(seconds.get(name, np.inf), perf_counter() - start)
    line = (
        f'{lq.shape[3]}x{lq.shape[2]} pixels here: {seconds["float"]:.3f} s in float, {seconds["int8"]:.3f} s in int8, '
        f'{seconds["float"] / seconds["int8"]:.1f} times as fast'
    )
    if processor.has_int8() is False:
        line += '; this processor has no instructions for int8, so that it is not faster here'
    return line
