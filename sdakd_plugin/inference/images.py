"""Image files: finding, reading, encoding."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from glob import glob
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from sdakd_plugin.errors import UserError, nearest

SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
DEEP = ('.png', '.tif', '.tiff')  # the formats that hold 16 bits
ALPHA = (*DEEP, '.webp')  # and those that hold transparency
PROFILE = ('.jpeg', '.jpg', '.png', '.webp')  # and those that OpenCV can write a colour profile into
FLAT = 0.5  # the part of the pixels of a drawing that is equal to the left neighbour; photographs have less
COLOUR_SPACE = {2: b'GRAY', 3: b'RGB '}  # of a profile, by the number of dimensions of its image


def expanded(paths: Sequence[str]) -> list[str]:
    """Replace patterns such as ``photos/*.jpg`` by the paths that match, which the shells of Windows leave to programs.

    A path that exists, or that nothing matches, stays as it is.
    """
    found: list[str] = []
    for path in paths:
        found += ([] if os.path.lexists(path) else sorted(glob(os.path.expanduser(path)))) or [path]
    return found


def image_files(path: str | os.PathLike[str]) -> list[Path]:
    """The image files of a path: the file itself, or the images in the folder (not in its subfolders), sorted.

    Raises:
        UserError: the path does not exist, or the folder cannot be read or has no images.
    """
    path = Path(path).expanduser()
    if not os.path.isdir(path):
        if not os.path.exists(path):
            raise UserError(f'{path}: no such file or folder')
        return [path]
    try:
        files = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in SUFFIXES and not entry.is_dir())
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror}') from error
    if not files:
        raise UserError(f'{path}: no image in this folder; looked for {", ".join(SUFFIXES)}')
    return files


def others(path: str | os.PathLike[str]) -> str | None:
    """One line that names what ``image_files`` leaves out of a folder: subfolders, and files of other formats. ``None``
    if there is nothing, or the path is a file."""
    path = Path(path).expanduser()
    if not os.path.isdir(path):
        return None
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith('.'))
    folders = [entry.name for entry in entries if entry.is_dir()]
    files = [entry.name for entry in entries if not entry.is_dir() and entry.suffix.lower() not in SUFFIXES]
    found = [
        f'{len(names)} {what}{"s" * (len(names) > 1)} ({", ".join(names[:3])}{", ..." * (len(names) > 3)})'
        for what, names in (('subfolder', folders), ('other file', files))
        if names
    ]
    return f'{path}: left out are {" and ".join(found)}; name one to enlarge it, too' if found else None


def colour_profile(path: str | os.PathLike[str]) -> bytes | None:
    """The ICC profile of an image file; ``None`` if it has none or cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            with Image.open(path) as image:
                return image.info.get('icc_profile') or None
    except Exception:  # reading the image itself says what is wrong with the file
        return None


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an image as cv2 does with ``IMREAD_UNCHANGED``, but rotated according to EXIF.

    Returns:
        (h, w) grey, (h, w, 3) BGR or (h, w, 4) BGRA, of uint8 or uint16.

    Raises:
        UserError: it cannot be read, is not an image, is truncated or damaged, is not of 8 or 16 bits, or contains
            several images.
    """
    path = Path(path)
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe or a device could block or never end
        raise UserError(f'{path} is not a regular file')
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror}') from error
    if not content:
        raise UserError(f'{path} is empty')
    alpha = _check(path, content)
    # Only IMREAD_UNCHANGED keeps the alpha channel, and only the others look at the orientation.
    flags = cv2.IMREAD_UNCHANGED if alpha else cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise UserError(f'{path} cannot be read: {error.err}') from error
    if image is None:
        raise UserError(f'{path} is of a format that OpenCV cannot read; convert it to PNG')
    if image.dtype not in (np.uint8, np.uint16):
        raise UserError(f'{path} holds pixels of type {image.dtype}; convert it to 8 or 16 bits')
    return image


def _check(path: Path, content: bytes) -> bool:
    """Decode a file with PIL, since cv2 accepts truncated files. Return whether it has transparency."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of odd EXIF, and of many pixels, which are allowed
            with Image.open(BytesIO(content)) as image:
                image.load()
                frames = getattr(image, 'n_frames', 1) if image.format != 'MPO' else 1  # a photograph and its previews
                alpha = 'A' in image.getbands() or 'transparency' in image.info
    except Image.UnidentifiedImageError as error:
        raise UserError(
            f'{path} is not an image, or is of a format that is not supported; convert it to PNG'
        ) from error
    except Image.DecompressionBombError as error:
        raise UserError(f'{path} has too many pixels: {error}') from error
    except Exception as error:  # a damaged file can provoke any exception in the decoders
        raise UserError(f'{path} is truncated or damaged: {error}') from error
    if frames > 1:
        raise UserError(f'{path} contains {frames} images (an animation, or pages); save each as a file of its own')
    return alpha


def check_format(path: Path, image: np.ndarray) -> None:
    """Check that the format of a path's suffix can store an image's bits and transparency.

    Raises:
        UserError: there is no such format, or it lacks 16 bits or transparency.
    """
    suffix = path.suffix.lower()
    if not suffix:
        raise UserError(f'{path} is neither a folder nor named as an image; use {path.name}.png, or {path.name}/')
    if suffix not in SUFFIXES:
        raise UserError(f"{path}: images are not written as '{suffix}'" + nearest(suffix, SUFFIXES))
    if not keeps(suffix, image):
        what = '16 bits' if image.dtype == np.uint16 else 'an alpha channel'
        raise UserError(f'{path}: {suffix} cannot hold {what}; use {path.with_suffix(".png").name}')


def keeps(suffix: str, image: np.ndarray) -> bool:
    """Whether a format can store an image's bits and transparency."""
    transparent = image.ndim == 3 and image.shape[2] == 4
    return (suffix in DEEP or image.dtype == np.uint8) and (suffix in ALPHA or not transparent)


def keeps_profile(suffix: str, image: np.ndarray, profile: bytes) -> bool:
    """Whether ``encode`` can store an image's colour profile in a format. OpenCV before 4.12 stores none."""
    fits = profile[16:20] == COLOUR_SPACE[image.ndim]  # a CMYK image, for example, has been converted
    return fits and suffix in PROFILE and hasattr(cv2, 'imencodeWithMetadata')


def encode(image: np.ndarray, path: Path, profile: bytes | None = None) -> bytes:
    """Encode an image in the format of the path's suffix.

    Args:
        image: as ``read_image`` returns it.
        path: only its suffix matters.
        profile: an ICC profile that the format keeps (``keeps_profile``).

    Raises:
        UserError: the format does not allow this size, such as JPEG more than 65500 pixels.
    """
    suffix = path.suffix.lower()
    options = [cv2.IMWRITE_PNG_STRATEGY, _png_strategy(image)] if suffix == '.png' else []
    try:
        if profile is None:
            good, content = cv2.imencode(suffix, image, options)
        else:
            metadata = [np.frombuffer(profile, np.uint8)]
            good, content = cv2.imencodeWithMetadata(suffix, image, [cv2.IMAGE_METADATA_ICCP], metadata, options)
    except cv2.error:
        good = False
    if not good:
        raise UserError(
            f'{path}: {path.suffix} cannot hold {image.shape[1]}x{image.shape[0]} pixels; '
            f'use {path.with_suffix(".png").name}'
        )
    return content.tobytes()


def _png_strategy(image: np.ndarray) -> int:
    """How a PNG is compressed. OpenCV looks for runs of equal bytes, which halves a drawing; in a photograph it takes a
    quarter of the time and finds none."""
    rows = image[::16]
    equal = np.count_nonzero(rows[:, 1:] == rows[:, :-1])
    return cv2.IMWRITE_PNG_STRATEGY_RLE if equal > FLAT * rows.size else cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY
