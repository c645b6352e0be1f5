"""Says in words when a student is worse than bicubic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

PERCEPTUAL = ('lpips', 'dists')  # lower is better
MARGIN = 1.0  # dB: GANs lose up to about so much PSNR to bicubic although their images are better


def verdict(rows: Sequence[Mapping[str, Any]], students: Iterable[str]) -> list[str]:
    """One line for each student that has trained too little to be of use.

    That is a student whose LPIPS or DISTS is not better than bicubic's. Where neither was measured, it is one whose
    PSNR is more than 1 dB below both bicubic's and the teacher's: a teacher that was trained as a GAN may have a low
    PSNR itself.

    Args:
        rows: metrics by name, with ``method``: ``'bicubic'``, ``'teacher'`` or a student's name.
        students: the students' names.
    """
    by_method = {row['method']: row for row in rows}
    found = ((name, _worse(by_method, name)) for name in students)
    return [
        f'{name}: {reason}. It has trained too little to be of use: train it longer, or start from a trained network '
        '(path.pretrain_network_g).'
        for name, reason in found
        if reason
    ]


def _worse(rows: Mapping[str, Mapping[str, Any]], name: str) -> str | None:
    """In what a student is worse than bicubic."""
    bicubic, student = rows['bicubic'], rows[name]
    measured = [metric for metric in PERCEPTUAL if metric in bicubic and metric in student]
    for metric in measured:
        if student[metric] >= bicubic[metric]:
            return f'{metric.upper()} {student[metric]:.4f} is not better than {bicubic[metric]:.4f} of bicubic'
    if measured or 'psnr' not in bicubic or 'psnr' not in student:
        return None
    least = min(row['psnr'] for row in (bicubic, rows.get('teacher', bicubic)) if 'psnr' in row)
    if not student['psnr'] < least - MARGIN:  # also for NaN
        return None
    lost = bicubic['psnr'] - student['psnr']
    return f'PSNR {student["psnr"]:.2f} dB is {lost:.2f} dB below bicubic'
