"""Upscales images with any generator, in the tiles of Real-ESRGAN's own helper: alpha channel, 16 bits, grey images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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

    @torch.no_grad()
    def enlarge(self, image: np.ndarray) -> np.ndarray:
        """Upscale an image: (h, w) grey, (h, w, 3) BGR or (h, w, 4) BGRA, uint8 or uint16, as is the result.

        The result is that of the parent's ``enhance``, which takes three to five times as long around the network.

        Raises:
            UserError: it does not fit into memory, or the network refuses it.
        """
        height, width = image.shape[:2]
        networks = 2 if image.ndim == 3 and image.shape[2] == 4 else 1  # transparency is enlarged as another image
        self.tiles_done, self.tiles = 0, networks * self._tiles(height, width)
        with self._bounded(height, width):
            enlarged = [self._pass(one) for one in _inputs(_padded(image, self.scale))]
            return _pixels(enlarged, image)[: self._side(height), : self._side(width)]

    @torch.no_grad()
    def enlarge_exactly(self, image: np.ndarray) -> np.ndarray:
        """Upscale an image (h, w, 3), float32, RGB, range 0..1; the result is neither clamped nor rounded.

        Raises:
            UserError: it does not fit into memory, or the network refuses it.
        """
        with self._bounded(*image.shape[:2]):
            return self._pass(image).permute(1, 2, 0).numpy()

    def _pass(self, image: np.ndarray) -> Tensor:
        """The enlarged image (3, h, w) of one (h, w, 3), on the CPU."""
        self.pre_process(image)
        self.tile_process() if self.tile_size else self.process()
        return self.post_process()[0].cpu()

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


def _padded(image: np.ndarray, scale: int | None) -> np.ndarray:
    """The image in a size that is not too small for the reflection padding of ``RealESRGANer.pre_process``."""
    below, right = (max(MULTIPLE - side, 0) if scale else 0 for side in image.shape[:2])
    return np.pad(image, [(0, below), (0, right), (0, 0)][: image.ndim], mode='edge') if below or right else image


def _inputs(image: np.ndarray) -> list[np.ndarray]:
    """The images that the network enlarges, float32, RGB, range 0..1: the colours and, if there is any, the
    transparency."""
    code = cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGRA2RGB if image.shape[2] == 4 else cv2.COLOR_BGR2RGB
    images = [cv2.cvtColor(image, code)]
    if code == cv2.COLOR_BGRA2RGB:
        images.append(cv2.cvtColor(image[..., 3], cv2.COLOR_GRAY2RGB))
    return [one.astype(np.float32) / np.iinfo(image.dtype).max for one in images]


def _pixels(enlarged: Sequence[Tensor], image: np.ndarray) -> np.ndarray:
    """The enlarged images (3, h, w) of ``_inputs``, clamped to 0..1, as one image of the kind of ``image``."""
    colours, *transparency = (one.numpy() for one in enlarged)
    planes = [_grey(colours)] if image.ndim == 2 else [*colours[::-1], *map(_grey, transparency)]
    top, depth = (255, cv2.CV_8U) if image.dtype == np.uint8 else (65535, cv2.CV_16U)
    # Multiplies, clamps and rounds in one pass; cv2.multiply rounds differently.
    return cv2.merge([cv2.addWeighted(plane, top, plane, 0, 0, dtype=depth) for plane in planes])


def _grey(image: np.ndarray) -> np.ndarray:
    """The luminance (h, w) of an image (3, h, w), RGB, clamped to 0..1."""
    return cv2.cvtColor(cv2.merge([*image[::-1].clip(0, 1)]), cv2.COLOR_BGR2GRAY)
