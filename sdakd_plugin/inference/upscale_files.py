"""Upscales image files: which file goes where, and one file at a time."""

from __future__ import annotations

import os
from pathlib import Path

from sdakd_plugin.errors import UserError
from sdakd_plugin.inference.images import check_format, encode, image_files, keeps, read_image
from sdakd_plugin.inference.upscaler import Upscaler
from sdakd_plugin.weights.files import new_file


def plan(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> list[tuple[Path, Path]]:
    """Pair each image with its target. If the source is a folder, the target is a folder, too, which is made.

    Raises:
        UserError: there are no images, the target is not of the source's kind, or is the source itself.
    """
    source, target = Path(source).expanduser(), Path(target).expanduser()
    files = image_files(source)
    folder = os.path.isdir(source)
    if os.path.exists(target):
        if os.path.samefile(source, target):
            raise UserError(f'{target} is the input itself; name another output')
        if os.path.isdir(target) != folder:
            raise UserError(
                f'{target} is a {"file" if folder else "folder"} and {source} a '
                f'{"folder" if folder else "file"}; name two files or two folders'
            )
    try:
        if folder:
            target.mkdir(parents=True, exist_ok=True)
        elif not os.path.isdir(target.parent):
            raise UserError(f'{target}: there is no folder {target.parent}')
    except OSError as error:
        raise UserError(f'{target} cannot be made: {error.strerror}') from error
    return [(file, target) for file in files]


def upscale_file(upscaler: Upscaler, source: Path, target: Path, overwrite: bool = False) -> Path:
    """Upscale one image file.

    Args:
        upscaler: the model.
        source: the image.
        target: a file or a folder. In a folder the image keeps its name, to which ``.png`` is appended if its own
            format cannot be written with its 16 bits or transparency.
        overwrite: whether an existing file is replaced.

    Returns:
        The file that was written.

    Raises:
        UserError: the image cannot be read or upscaled, or the target exists or cannot be written.
    """
    image = read_image(source)
    if os.path.isdir(target):
        target /= source.name if keeps(source.suffix.lower(), image) else f'{source.name}.png'
    check_format(target, image)
    if os.path.lexists(target) and not overwrite:
        raise UserError(f'{target} exists and is kept; --overwrite replaces it')
    try:
        with new_file(target) as file:  # opened first: an hour of work for a read-only folder would be in vain
            file.write(encode(upscaler.enlarge(image), target))
    except OSError as error:
        raise UserError(f'{target} cannot be written: {error.strerror}') from error
    except UserError as error:
        raise UserError(f'{source}: {error}') from error
    return target
