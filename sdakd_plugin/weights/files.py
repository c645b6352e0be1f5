"""Safe reading and atomic writing of weight files.

No code in a file is run: a file is read as safetensors or with ``torch.load(weights_only=True)``.
"""

from __future__ import annotations

import logging
import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import safetensors.torch
import torch
from torch import Tensor

from sdakd_plugin.errors import UserError, nearest
from sdakd_plugin.weights import key_maps

SUFFIXES = ('.pth', '.pt', '.ckpt', '.safetensors')
KEYS = (  # common keys of the state dict
    'params_ema',
    'params',
    'state_dict',
    'model',
    'generator',
    'g_ema',
    'params-ema',
    'model_state_dict',
    'net',
)

MOST_UNPACKED = 100  # limit of the unpacked size, as a multiple of the file's size


def load_state_dict(
    path: str | os.PathLike[str],
    param_key: str | None = None,
    role: str = 'weights',
    remedy: str = 'copy or download it again',
) -> dict[str, Tensor]:
    """Read a state dict onto the CPU.

    Args:
        path: a ``.safetensors`` file or a file written by ``torch.save``.
        param_key: the key of the state dict in the file. As in BasicSR, another common key is used if the file lacks
            it; without any of them, the file itself is the state dict.
        role: the option that names the file, such as ``'path.pretrain_network_g'``; every message begins with it.
        remedy: what to do about a damaged file, for the message.

    Returns:
        Tensors by name, without the prefix ``module.`` of a wrapped network; keys of projects in ``key_maps`` are
        translated.

    Raises:
        UserError: the file is missing, unreadable or damaged, contains no state dict, or requires running code.
    """
    path = Path(path).expanduser()
    if not os.path.exists(path):
        raise missing(path, role)
    if os.path.isdir(path):
        raise UserError(f'{role}: {path} is a folder; name a file in it' + nearest('', _weight_files(path)))
    if not os.path.isfile(path) or os.path.getsize(path) == 0:  # reading a pipe or a device could block or never end
        raise UserError(f'{role}: {path} is empty or not a regular file; {remedy}')
    try:
        with path.open('rb') as file:
            start = file.read(64)
    except OSError as error:
        raise UserError(f'{role}: {path} cannot be read: {error.strerror}') from error
    try:
        content = _read(path)
    except Exception as error:  # a damaged file can cause any exception
        raise UserError(f'{role}: {path} {_explain(start, error, remedy)}') from error
    state = _select(content, param_key)
    if (
        not isinstance(state, Mapping)
        or not state
        or not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items())
    ):
        raise UserError(f'{role}: {path} {_describe(state)}')
    for key, value in state.items():
        if (problem := _oddity(value)) is not None:
            raise UserError(f'{role}: {key} in {path} is {problem}; save net.state_dict() instead')
    if param_key is not None and state is not content and content.get(param_key) is not state:
        logging.getLogger('basicsr').info(f'{role}: {path} has no {param_key}; another key is used')
    return key_maps.translated({key.removeprefix('module.'): value for key, value in state.items()})


def inner_keys(path: str | os.PathLike[str]) -> list[str]:
    """The keys of the state dicts in a file that ``load_state_dict`` has read; empty if the file itself is one."""
    return [key for key, value in _read(Path(path).expanduser()).items() if isinstance(value, Mapping)]


def read_entry(path: str | os.PathLike[str], key: str) -> Any:
    """Another entry of a file that ``load_state_dict`` has read; ``None`` if it has none of that name."""
    return _read(Path(path).expanduser()).get(key)


def missing(path: Path, role: str, names: Iterable[str] = ()) -> UserError:
    """The error for a missing file; suggests similar files of its folder and similar ``names`` that need no file."""
    names = list(names)
    what = 'neither a file nor a known name' if names else 'no such file'
    folder = '' if os.path.isdir(path.parent) else f' (there is no folder {path.parent})'
    return UserError(f'{role}: {what}: {path}{folder}' + nearest(path.name, [*_weight_files(path.parent), *names]))


def atomic_save(obj: Any, path: str | os.PathLike[str]) -> None:
    """Write weights atomically: under a temporary name in the same folder, which is then renamed to ``path``.

    Args:
        obj: any object for ``torch.save``, or tensors by name for ``.safetensors``.
        path: the file; replaced if it exists.

    Raises:
        OSError, RuntimeError: the file cannot be written (RuntimeError if torch hides the reason).
    """
    path = Path(path)
    with new_file(path) as file:
        if path.suffix.lower() == '.safetensors':
            file.write(safetensors.torch.save({key: value.contiguous() for key, value in obj.items()}))
        else:
            try:
                torch.save(obj, file)
            except RuntimeError as error:
                # torch hides the error of the file, such as a full disk, behind a failed assertion
                raise error.__context__ if isinstance(error.__context__, OSError) else error from None


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, under a temporary name next to ``path``.

    It is renamed to ``path`` when it is completely on disk, and deleted if an error occurs.
    """
    temporary = temporary_name(path)
    try:
        with open(temporary, 'xb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # otherwise a power failure can leave the new name on an empty file
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def check_writable(path: Path) -> None:
    """Raise the OSError that ``new_file`` would raise if nothing can be written beside ``path``."""
    temporary = temporary_name(path)
    temporary.open('xb').close()
    temporary.unlink()


def temporary_name(path: Path) -> Path:
    """A unique file name next to ``path``, which no search for weights or training states finds."""
    return path.with_name(f'.{path.name}.{uuid4().hex}.tmp')


def remove_temporary(folder: str | os.PathLike[str]) -> None:
    """Delete the temporary files that a killed process has left in a folder."""
    for path in Path(folder).glob('.*.tmp'):
        path.unlink(missing_ok=True)


def _read(path: Path) -> Any:
    if path.suffix.lower() == '.safetensors':
        return safetensors.torch.load_file(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:  # torch does not compress, but would unpack a zip bomb
            if sum(entry.file_size for entry in archive.infolist()) > MOST_UNPACKED * os.path.getsize(path):
                raise ValueError('a zip bomb')
    return torch.load(path, map_location='cpu', weights_only=True)


def _oddity(tensor: Tensor) -> str | None:
    """Why a tensor cannot be a weight of a network; ``None`` if it can."""
    if tensor.layout is not torch.strided or tensor.is_nested or tensor.is_quantized or tensor.is_complex():
        return f'not an ordinary tensor, but {tensor.dtype}, {tensor.layout}'.replace('torch.', '')
    if tensor.device.type != 'cpu':
        return 'without values (a meta tensor)'
    if (
        tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size()
    ):  # an expanded tensor may exceed the memory
        return f'{"x".join(map(str, tensor.shape))}, but the file holds fewer values'
    return None


def _select(content: Any, param_key: str | None) -> Any:
    """The state dict in a file's content, or the content itself."""
    if isinstance(content, Mapping):
        for key in (param_key, *KEYS):
            if isinstance(content.get(key), Mapping):
                return content[key]
    return content


def _explain(start: bytes, error: Exception, remedy: str) -> str:
    """What is wrong with a file that could not be read, and the remedy."""
    start = start.lstrip().lower()
    if start.startswith((b'<!doctype', b'<html')):
        return f'is a web page, not weights; {remedy}'
    if start.startswith(b'version https://git-lfs'):
        return 'is only the Git LFS pointer to the weights; run git lfs pull'
    if 'TorchScript' in str(error):
        return 'is a TorchScript program, not weights; save net.state_dict() instead'
    if found := re.search(r'(?:GLOBAL|Unsupported class) ([\w.]+)', str(error)):
        return (
            f'holds a {found[1]}, which cannot be read without running code from the file; '
            'save net.state_dict() instead'
        )
    return f'is truncated, damaged or not a weight file; {remedy}'


def _describe(state: Any) -> str:
    """What a file contains instead of a state dict, and the remedy."""
    if not isinstance(state, Mapping):
        return f'holds a {type(state).__name__}, not a state dict; save net.state_dict() instead'
    if not state:
        return 'holds no weights'
    keys = ', '.join(str(key)[:40] for key in list(state)[:8]) + (', ...' if len(state) > 8 else '')
    return f'holds no state dict under the usual keys, but the keys {keys}; set param_key to the right one'


def _weight_files(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir() if entry.suffix.lower() in SUFFIXES]
    except OSError:
        return []
