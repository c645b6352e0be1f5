"""What a run trains and with what: student, teacher, crop, batch, precision and losses, for a machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sdakd_plugin.errors import UserError
from sdakd_plugin.losses.backbone import cached_file, fetch
from sdakd_plugin.networks.frozen import load_frozen
from sdakd_plugin.recipe.names import COMPACT
from sdakd_plugin.utils.machine import Machine
from sdakd_plugin.weights.known import KNOWN

PROBE = 16  # pixels: the side of the image that shows the teacher's scale


class TeacherNetwork(NamedTuple):
    """The teacher: its name or file, the type of its network, its scale, and the module."""

    source: str
    kind: str
    scale: int
    net: Any


def load_teacher(source: str) -> TeacherNetwork:
    """Load a teacher and find its scale.

    Raises:
        UserError: it cannot be loaded, or does not enlarge RGB images.
    """
    try:
        net, network = load_frozen(None, source, None, 'g')
    except UserError as error:
        raise UserError(str(error).replace('teacher.pretrain_network_g', '--teacher')) from None
    try:
        with torch.no_grad():
            side = net(torch.zeros(1, 3, PROBE, PROBE)).shape[-1]
    except Exception as error:  # whatever a network of another project raises
        raise UserError(f'--teacher: {source} does not enlarge RGB images: {error}') from error
    if side % PROBE or side == PROBE:
        raise UserError(f'--teacher: {source} turns {PROBE} pixels into {side}; a teacher must enlarge')
    return TeacherNetwork(source, str(network['type']), side // PROBE, net)


def student_network(student: str, scale: int) -> dict[str, Any]:
    """The option block of a student of ``STUDENTS``."""
    if student == 'half':
        sizes = {'scale': scale, 'num_feat': 32, 'num_block': 23, 'num_grow_ch': 16}
        return {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, **sizes}
    num_feat, num_conv = COMPACT[student]
    sizes = {'num_feat': num_feat, 'num_conv': num_conv, 'upscale': scale}
    return {'type': 'SRVGGNetCompact', 'num_in_ch': 3, 'num_out_ch': 3, **sizes, 'act_type': 'prelu'}


@dataclass(frozen=True)
class Choices:
    """All that an option file is written from.

    Attributes:
        student: a name of ``STUDENTS``.
        photos: ``real``, for photographs with noise and compression, or ``clean``.
        teacher: its name or file; its kind is the type of its network.
        scale: upscaling factor.
        start: initial weights of the student: a known name, ``teacher``, or ``None``.
        crop, batch, workers: of the data loader.
        machine: what was measured.
        lpips: the file of AlexNet's weights, ``''`` for the downloaded one, or ``None`` for a run without LPIPS.
        cached: whether the teacher's images are stored before training.
        iterations: of all stages together.
    """

    student: str
    photos: str
    teacher: str
    scale: int
    start: str | None
    crop: int
    batch: int
    workers: int
    machine: Machine
    lpips: str | None
    cached: bool = True
    iterations: int = 0

    @property
    def stages(self) -> list[tuple[str, int, list[str]]]:
        """Name, iterations and losses of each stage. A student that starts from a trained one needs no first stage."""
        losses = ['pixel', 'teacher_pixel']
        if self.lpips is None:
            return [('supervised', self.iterations, losses)]
        last = ('perceptual', self.iterations, [*losses, 'lpips'])
        if self.start in KNOWN:
            return [last]
        half = self.iterations // 2
        return [('supervised', half, losses), ('perceptual', self.iterations - half, last[2])]


def choose(
    student: str | None, photos: str | None, teacher: TeacherNetwork, crop: int, machine: Machine, lpips: str | None
) -> Choices:
    """The choices for a machine; what is not given is chosen. The settings are those that trained the students of the
    package, with larger batches on a GPU."""
    student, photos = student or 'small', photos or 'real'
    shipped = f'sdakd_{student}_x{teacher.scale}' + '_real' * (photos == 'real')
    start = shipped if shipped in KNOWN else 'teacher' if student == 'half' and teacher.kind == 'RRDBNet' else None
    workers = min(8, max(1, machine.cores - 1)) if machine.gpu else 1
    batch = 16 if machine.gpu else 8
    return Choices(student, photos, teacher.source, teacher.scale, start, crop, batch, workers, machine, lpips)


def find_lpips(given: str | None) -> str | None:
    """The weights of AlexNet for LPIPS: a file, ``''`` for torchvision's, or ``None`` if they cannot be downloaded.

    Raises:
        UserError: the given file does not exist.
    """
    if given is not None:
        if not os.path.isfile(given):
            raise UserError(f'--lpips: there is no file {given}; leave it out to download AlexNet')
        return str(Path(given).absolute())
    if not cached_file('alexnet').is_file():
        try:
            fetch('alexnet', 'name it with --lpips')
        except UserError:
            return None
    return ''
