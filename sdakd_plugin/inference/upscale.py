"""Image files enlarged by a model, through Real-ESRGAN's own helper: its tiles, alpha channel, 16 bits and grey."""
from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

import cv2
import numpy as np
import torch
from realesrgan import RealESRGANer
from torch import Tensor

from sdakd_plugin.errors import UserError
from sdakd_plugin.families.calling import ImageToImage
from sdakd_plugin.inference.images import check_format, encode, image_files, keeps, read_image
from sdakd_plugin.inference.model import Model
from sdakd_plugin.utils import available_memory
from sdakd_plugin.weights.files import new_file

TILE_PAD = 64  # pixels; the seams that remain are measured in docs/upscale.md
MULTIPLE = 4  # what RRDBNet x1 can halve twice; x2 needs 2


class Upscaler(RealESRGANer):
    """Enlarges images with any generator.

    Args:
        model: the generator, of three channels.
        device: where it runs, in float32.
        tile: side of the tiles in pixels of the input, rounded up to a multiple of 4; 0 for the image at once.
        tile_pad: pixels around a tile that are computed with it and thrown away, rounded likewise.

    Raises:
        UserError: a generator of other channels, or tiles for GCFSR, whose network sees all of a face.
    """

    def __init__(self, model: Model, device: torch.device, tile: int = 0, tile_pad: int = TILE_PAD) -> None:
        # The parent's constructor would unpickle the file itself, on older torch with the code in it, and knows no key
        # but params and params_ema. These are all the attributes that it sets.
        network = model.identity.network
        if (network.get('num_in_ch', 3), network.get('num_out_ch', 3)) != (3, 3):
            raise UserError(f'--model: {model.path} holds {model.identity}; upscale needs one of 3 channels in and out')
        self.scale = model.identity.scale
        if self.scale is None and tile:
            raise UserError(f"--tile: {network['type']} takes the whole image, of at most {network['out_size']} pixels")
        self.tile_size, self.tile_pad = (-(-size // MULTIPLE) * MULTIPLE for size in (tile, tile_pad))
        self.pre_pad, self.mod_scale, self.half, self.device = 0, None, False, device
        self.model = _Network(model.net).to(device)
        self.bytes_per_pixel = available_memory.bytes_per_pixel(self.model) if self.scale else 0.

    def enlarge(self, image: np.ndarray) -> np.ndarray:
        """Enlarge (h, w) grey, (h, w, 3) BGR or (h, w, 4) BGRA, of uint8 or uint16; the result is of the same kind.

        Raises:
            UserError: it does not fit into memory, or the network refuses it.
        """
        height, width = image.shape[:2]
        with self._bounded(height, width):
            return self.enhance(_prepared(image, self.scale))[0][:self._side(height), :self._side(width)]

    @torch.no_grad()
    def enlarge_exactly(self, image: np.ndarray) -> np.ndarray:
        """Enlarge (h, w, 3) float32, RGB 0..1, to what the network gives: neither clamped nor rounded.

        Raises:
            UserError: it does not fit into memory, or the network refuses it.
        """
        height, width = image.shape[:2]
        with self._bounded(height, width):
            self.pre_process(image)
            self.tile_process() if self.tile_size else self.process()
            return self.post_process()[0].permute(1, 2, 0).cpu().numpy()

    @contextmanager
    def _bounded(self, height: int, width: int) -> Iterator[None]:
        """A pass over an image of that size; one that does not fit into memory becomes one line."""
        try:
            self._check_memory(height, width)
            with redirect_stdout(StringIO()):  # the parent prints a line for each tile
                yield
        except (MemoryError, RuntimeError, cv2.error) as error:
            advice = f'a --tile below {self.tile_size}' if self.tile_size else '--tile 256' if self.scale else 'a CPU'
            raise UserError(f'{width}x{height} pixels are too many for the memory; try {advice} ({error})') from error

    def _side(self, length: int) -> int | None:
        return length * self.scale if self.scale else None

    def _check_memory(self, height: int, width: int) -> None:
        """Refuse what a CPU's memory cannot hold."""
        available = available_memory.available() if self.device.type == 'cpu' else None
        side = self.tile_size + 2 * self.tile_pad if self.tile_size else max(height, width)
        needed = self.bytes_per_pixel * min(height, side) * min(width, side)
        if available is not None and needed > available:
            raise MemoryError(f'about {needed / 2**30:.1f} GiB are needed and {available / 2**30:.1f} GiB available')


class _Network(ImageToImage):
    """The parent of ``Upscaler`` prints a RuntimeError and goes on with the tile before: here it gets another kind."""

    def forward(self, lq: Tensor) -> Tensor:
        try:
            return super().forward(lq)
        except RuntimeError as error:
            raise MemoryError(str(error)) from error


def _prepared(image: np.ndarray, scale: int | None) -> np.ndarray:
    """An image that ``RealESRGANer.enhance`` takes for what it is."""
    if scale:  # what is narrower than a multiple has too little to reflect
        below, right = (max(MULTIPLE - side, 0) for side in image.shape[:2])
        image = np.pad(image, [(0, below), (0, right), (0, 0)][:image.ndim], mode='edge')
    if image.dtype == np.uint16 and image.max() <= 256:  # only a higher value tells it that these are 16 bits
        image = image.copy()
        image.flat[-1] = 257  # a step of 8 bits above black
    return image


def plan(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> list[tuple[Path, Path]]:
    """Each image with its file or, where the source is a folder, with the folder that it goes to, which is made.

    Raises:
        UserError: no image is there, the target is not of the source's kind, or is the source itself.
    """
    source, target = Path(source).expanduser(), Path(target).expanduser()
    files = image_files(source)
    folder = os.path.isdir(source)
    if os.path.exists(target):
        if os.path.samefile(source, target):
            raise UserError(f'{target} is the input itself; name another output')
        if os.path.isdir(target) != folder:
            raise UserError(f"{target} is a {'file' if folder else 'folder'} and {source} a "
                            f"{'folder' if folder else 'file'}; name two files or two folders")
    try:
        if folder:
            target.mkdir(parents=True, exist_ok=True)
        elif not os.path.isdir(target.parent):
            raise UserError(f'{target}: there is no folder {target.parent}')
    except OSError as error:
        raise UserError(f'{target} cannot be made: {error.strerror}') from error
    return [(file, target) for file in files]


def upscale(upscaler: Upscaler, source: Path, target: Path, overwrite: bool = False) -> Path:
    """Enlarge one image file.

    Args:
        upscaler: the model.
        source: the image.
        target: its file, or a folder: there it keeps its name, and gets ``.png`` behind it if its own format
            cannot be written with its 16 bits or transparency.
        overwrite: whether an existing file is replaced.

    Returns:
        The file that was written.

    Raises:
        UserError: the image cannot be read or enlarged, or the target exists or cannot be written.
    """
    image = read_image(source)
    if os.path.isdir(target):
        target /= source.name if keeps(source.suffix.lower(), image) else f'{source.name}.png'
    check_format(target, image)
    if os.path.lexists(target) and not overwrite:
        raise UserError(f'{target} exists and is kept; --overwrite replaces it')
    try:
        with new_file(target) as file:  # first, since a folder that cannot be written is no news after an hour
            file.write(encode(upscaler.enlarge(image), target))
    except OSError as error:
        raise UserError(f'{target} cannot be written: {error.strerror}') from error
    except UserError as error:
        raise UserError(f'{source}: {error}') from error
    return target
