"""Upscales images with any generator, through Real-ESRGAN's own helper: tiles, alpha channel, 16 bits, grey images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO

import cv2
import numpy as np
import torch
from realesrgan import RealESRGANer
from torch import Tensor

from sdakd_plugin.errors import UserError
from sdakd_plugin.families.calling import ImageToImage
from sdakd_plugin.inference.model import Model
from sdakd_plugin.utils import available_memory

TILE_PAD = 64  # pixels; the seams that remain are measured in docs/upscale.md
MULTIPLE = 4  # RRDBNet x1 halves the size of its input twice; x2 once


class Upscaler(RealESRGANer):
    """Upscales images with any generator.

    Args:
        model: the generator, of three channels, with the backend that runs it if it has one.
        device: where it runs, in float32.
        tile: side of the tiles in pixels of the input, rounded up to a multiple of 4; 0: no tiles.
        tile_pad: pixels around a tile that are computed with it and cropped, rounded up to a multiple of 4.

    Attributes: on_tile (called after each tile with the number of those that are done and of all of the image).

    Raises:
        UserError: the generator does not have 3 channels, or tiles for GCFSR, which needs the whole face.
    """

    def __init__(self, model: Model, device: torch.device, tile: int = 0, tile_pad: int = TILE_PAD) -> None:
        # Not the parent's constructor: it loads the file with torch.load, which on older torch can execute code, and
        # reads only the keys params and params_ema. All the attributes that it sets are set here.
        network = model.identity.network
        if (network.get('num_in_ch', 3), network.get('num_out_ch', 3)) != (3, 3):
            raise UserError(f'--model: {model.path} holds {model.identity}; upscale needs one of 3 channels in and out')
        self.scale = model.identity.scale
        if self.scale is None and tile:
            raise UserError(f'--tile: {network["type"]} takes the whole image, of at most {network["out_size"]} pixels')
        self.tile_size, self.tile_pad = (-(-size // MULTIPLE) * MULTIPLE for size in (tile, tile_pad))
        self.pre_pad, self.mod_scale, self.half, self.device = 0, None, False, device
        self.model = _Network(model.runner).to(device)
        self.model.register_forward_hook(lambda *_: self._count_tile())
        self.on_tile: Callable[[int, int], object] | None = None
        self.tiles = self.tiles_done = 0
        self.bytes_per_pixel = self._bytes_per_pixel(model) if self.scale else 0.0

    def enlarge(self, image: np.ndarray) -> np.ndarray:
        """Upscale an image: (h, w) grey, (h, w, 3) BGR or (h, w, 4) BGRA, uint8 or uint16, as is the result.

        Raises:
            UserError: it does not fit into memory, or the network refuses it.
        """
        height, width = image.shape[:2]
        networks = 2 if image.ndim == 3 and image.shape[2] == 4 else 1  # transparency is enlarged as another image
        self.tiles_done, self.tiles = 0, networks * self._tiles(height, width)
        with self._bounded(height, width):
            return self.enhance(_prepared(image, self.scale))[0][: self._side(height), : self._side(width)]

    @torch.no_grad()
    def enlarge_exactly(self, image: np.ndarray) -> np.ndarray:
        """Upscale an image (h, w, 3), float32, RGB, range 0..1; the result is neither clamped nor rounded.

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
        """Raise a UserError if a forward pass over an image of that size fails for lack of memory."""
        try:
            self._check_memory(height, width)
            with redirect_stdout(StringIO()):  # the parent prints a line for each tile
                yield
        except (MemoryError, RuntimeError, cv2.error) as error:
            advice = f'a --tile below {self.tile_size}' if self.tile_size else '--tile 256' if self.scale else 'a CPU'
            raise UserError(f'{width}x{height} pixels are too many for the memory; try {advice} ({error})') from error

    def _bytes_per_pixel(self, model: Model) -> float:
        """What a pass needs for each pixel. ONNX Runtime and channels last need no more than PyTorch as it is."""
        if model.bytes_per_pixel is not None:
            return model.bytes_per_pixel
        return available_memory.bytes_per_pixel(ImageToImage(model.net).to(self.device))

    def _tiles(self, height: int, width: int) -> int:
        return -(-height // self.tile_size) * -(-width // self.tile_size) if self.tile_size else 1

    def _count_tile(self) -> None:
        self.tiles_done += 1
        if self.on_tile is not None and self.tiles_done <= self.tiles and self.tiles > 1:
            self.on_tile(self.tiles_done, self.tiles)

    def _side(self, length: int) -> int | None:
        return length * self.scale if self.scale else None

    def _check_memory(self, height: int, width: int) -> None:
        """Raise a MemoryError if the pass needs more than the available memory of a CPU."""
        available = available_memory.available() if self.device.type == 'cpu' else None
        side = self.tile_size + 2 * self.tile_pad if self.tile_size else max(height, width)
        needed = self.bytes_per_pixel * min(height, side) * min(width, side)
        if available is not None and needed > available:
            raise MemoryError(f'about {needed / 2**30:.1f} GiB are needed and {available / 2**30:.1f} GiB available')


class _Network(ImageToImage):
    """Raises a MemoryError in place of a RuntimeError, which ``RealESRGANer`` would only print and then go on with the
    result of the previous tile."""

    def forward(self, lq: Tensor) -> Tensor:
        try:
            return super().forward(lq)
        except RuntimeError as error:
            raise MemoryError(str(error)) from error


def _prepared(image: np.ndarray, scale: int | None) -> np.ndarray:
    """The image with what ``RealESRGANer.enhance`` needs: a minimum size, and a value that shows its 16 bits."""
    if scale:  # a smaller image is too small for the reflection padding
        below, right = (max(MULTIPLE - side, 0) for side in image.shape[:2])
        image = np.pad(image, [(0, below), (0, right), (0, 0)][: image.ndim], mode='edge')
    if image.dtype == np.uint16 and image.max() <= 256:  # it takes an image without higher values for 8 bits
        image = image.copy()
        image.flat[-1] = 257  # about one step of 8 bits
    return image
