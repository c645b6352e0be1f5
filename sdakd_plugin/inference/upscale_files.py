"""Upscales image files: which file goes where, and a folder of them at the speed of the network."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from sdakd_plugin.errors import UserError
from sdakd_plugin.inference.images import (
    check_format,
    colour_profile,
    encode,
    image_files,
    keeps,
    keeps_profile,
    read_image,
)
from sdakd_plugin.inference.upscaler import Upscaler
from sdakd_plugin.utils.ahead import ahead
from sdakd_plugin.weights.files import check_writable, new_file

WRITERS = min(4, os.cpu_count() or 1)  # threads: an image of a fast network takes as long to encode, and to be on disk


class AlreadyThere(UserError):
    """The target of an image exists and is kept."""


def plan(sources: Sequence[str | os.PathLike[str]], target: str | os.PathLike[str]) -> list[tuple[Path, Path]]:
    """Pair each image with its target: a file for one image, otherwise a folder, which is made.

    Args:
        sources: images and folders of images.
        target: a file or a folder. One image goes into a folder if it exists, or if the target ends with ``/``.

    Raises:
        UserError: there are no images, the target is a file where there is a folder or several images, or it is a
            source or its folder.
    """
    slash = os.fspath(target).endswith(('/', os.sep))
    target = Path(target).expanduser()
    files = [file for source in sources for file in image_files(source)]
    several = len(sources) > 1 or os.path.isdir(Path(sources[0]).expanduser())
    folder = several or slash or os.path.isdir(target)
    if os.path.exists(target):
        if several and not os.path.isdir(target):
            raise UserError(f'{target} is a file; for a folder or several images, name a folder')
        for file in files:
            if os.path.samefile(file.parent if folder else file, target):
                raise UserError(f'{target} is {"the folder of " * folder}the input itself; name another output')
    try:
        if folder:
            target.mkdir(parents=True, exist_ok=True)
        elif not os.path.isdir(target.parent):
            raise UserError(f'{target}: there is no folder {target.parent}')
    except OSError as error:
        raise UserError(f'{target} cannot be made: {error.strerror}') from error
    return [(file, target) for file in files]


def upscale_files(
    upscaler: Upscaler, jobs: Iterable[tuple[Path, Path]], overwrite: bool = False
) -> Iterator[UserError | None]:
    """Upscale image files. While the network runs, a thread reads the next image and ``WRITERS`` write those before.

    Args:
        upscaler: the model.
        jobs: pairs of an image and its target, a file or a folder. In a folder the image keeps its name, to which
            ``.png`` is appended if its own format cannot be written with its 16 bits or transparency.
        overwrite: whether existing files are replaced.

    Returns:
        For each image in turn ``None``, or the error: it cannot be read or upscaled, or the target exists
        (``AlreadyThere``) or cannot be written, or an image before it has the same target. At most ``WRITERS + 2``
        images are in memory.
    """
    read = ahead(_read, (_Image(*job) for job in jobs))
    enlarged = map(partial(_enlarge, upscaler, overwrite, set()), read)
    return (image.error for image in ahead(_write, enlarged, WRITERS))


@dataclass
class _Image:
    """An image on its way. Attributes: source, target (a folder only until the image is read), pixels (``None``
    once they are of no more use), profile (of its colours), error."""

    source: Path
    target: Path
    pixels: np.ndarray | None = None
    profile: bytes | None = None
    error: UserError | None = None

    @contextmanager
    def step(self) -> Iterator[None]:
        """Keep the first error, after which nothing more is done."""
        try:
            yield
        except UserError as error:
            self.error, self.pixels = error, None
        except OSError as error:
            self.error, self.pixels = UserError(f'{self.target} cannot be written: {error.strerror}'), None


def _read(image: _Image) -> _Image:
    with image.step():
        image.pixels, image.profile = read_image(image.source), colour_profile(image.source)
    return image


def _enlarge(upscaler: Upscaler, overwrite: bool, taken: set[Path], image: _Image) -> _Image:
    if image.pixels is None:
        return image
    with image.step():
        if os.path.isdir(image.target):
            keeps_all = keeps(image.source.suffix.lower(), image.pixels)
            image.target /= image.source.name if keeps_all else f'{image.source.name}.png'
        check_format(image.target, image.pixels)
        if image.profile and not keeps_profile(image.target.suffix.lower(), image.pixels, image.profile):
            image.profile = None
        if image.target in taken:  # whether it exists by now or not
            raise UserError(f'{image.source}: {image.target} is that of another image; rename one of them')
        if os.path.lexists(image.target) and not overwrite:
            raise AlreadyThere(f'{image.target} exists and is kept; --overwrite replaces it')
        taken.add(image.target)
        check_writable(image.target)  # now: an hour of work for a read-only folder would be in vain
        try:
            image.pixels = upscaler.enlarge(image.pixels)
        except UserError as error:
            raise UserError(f'{image.source}: {error}') from error
    return image


def _write(image: _Image) -> _Image:
    if image.pixels is None:
        return image
    with image.step():
        try:
            content = encode(image.pixels, image.target, image.profile)
        except UserError as error:
            raise UserError(f'{image.source}: {error}') from error
        with new_file(image.target) as file:
            file.write(content)
    image.pixels = None
    return image
