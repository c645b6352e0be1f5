"""Weight files: read without running what is in them, written without ever leaving half of one.

Nothing here unpickles code: a file is safetensors, or goes through ``torch.load(weights_only=True)``.
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
KEYS = ('params_ema', 'params', 'state_dict', 'model', 'generator', 'g_ema')  # where others keep the state dict

MOST_UNPACKED = 100  # times the file's size


def load_state_dict(
    path: str | os.PathLike[str],
    param_key: str | None = None,
    role: str = 'weights',
    remedy: str = 'copy or download it again',
) -> dict[str, Tensor]:
    """Read a state dict onto the CPU.

    Args:
        path: ``.safetensors``, or anything that ``torch.save`` writes.
        param_key: where the state dict stands in the file. As in BasicSR, another usual key is taken if the file
            lacks it; without any, the file itself is the state dict.
        role: what the weights are for, such as ``'path.pretrain_network_g'``; begins every message.
        remedy: what to do about a damaged file.

    Returns:
        Tensors by name, without the ``module.`` of a wrapped network; names of other projects that ``key_maps`` knows
        are translated.

    Raises:
        UserError: the file is missing, unreadable, damaged, holds no state dict, or only code could read it.
    """
    path = Path(path).expanduser()
    if not os.path.exists(path):
        raise missing(path, role)
    if os.path.isdir(path):
        raise UserError(f'{role}: {path} is a folder; name a file in it' + nearest('', _weight_files(path)))
    if not os.path.isfile(path) or os.path.getsize(path) == 0:  # a pipe or a device could block or never end
        raise UserError(f'{role}: {path} is empty or not a regular file; {remedy}')
    try:
        with path.open('rb') as file:
            start = file.read(64)
    except OSError as error:
        raise UserError(f'{role}: {path} cannot be read: {error.strerror}') from error
    try:
        content = _read(path)
    except Exception as error:  # a damaged file can provoke any exception in the parsers
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
        logging.getLogger('basicsr').info(f'{role}: {path} has no {param_key}; another of its keys is used')
    state = {key.removeprefix('module.'): value for key, value in state.items()}
    return key_maps.leftthomas_state_dict(state) if key_maps.matches(state) else state


def inner_keys(path: str | os.PathLike[str]) -> list[str]:
    """Under which keys of a file, which ``load_state_dict`` has read, state dicts stand; none if it is one itself."""
    return [key for key, value in _read(Path(path).expanduser()).items() if isinstance(value, Mapping)]


def missing(path: Path, role: str, names: Iterable[str] = ()) -> UserError:
    """The error about a file that is not there: what else is in its folder, and which ``names`` need no file."""
    names = list(names)
    what = 'neither a file nor a known name' if names else 'no such file'
    folder = '' if os.path.isdir(path.parent) else f' (there is no folder {path.parent})'
    return UserError(f'{role}: {what}: {path}{folder}' + nearest(path.name, [*_weight_files(path.parent), *names]))


def atomic_save(obj: Any, path: str | os.PathLike[str]) -> None:
    """Write weights under a temporary name in the same folder, then rename: ``path`` is old or new, never half.

    Args:
        obj: what ``torch.save`` takes, or tensors by name for ``.safetensors``.
        path: the file; replaced if it exists.

    Raises:
        OSError, RuntimeError: it cannot be written (RuntimeError where only torch knows why).
    """
    path = Path(path)
    with new_file(path) as file:
        if path.suffix.lower() == '.safetensors':
            file.write(safetensors.torch.save({key: value.contiguous() for key, value in obj.items()}))
        else:
            try:
                torch.save(obj, file)
            except RuntimeError as error:
                # what the file says, such as a full disk, torch hides behind a failed assertion of its own
                raise error.__context__ if isinstance(error.__context__, OSError) else error from None


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write under a temporary name beside ``path``; once all is on the disk it is renamed to ``path``, and
    if anything fails it is removed."""
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
    """A name beside ``path`` that nobody else uses and no search for weights or training states finds."""
    return path.with_name(f'.{path.name}.{uuid4().hex}.tmp')


def remove_temporary(folder: str | os.PathLike[str]) -> None:
    """Remove what a process that was killed while it wrote has left in a folder."""
    for path in Path(folder).glob('.*.tmp'):
        path.unlink(missing_ok=True)


def _read(path: Path) -> Any:
    if path.suffix.lower() == '.safetensors':
        return safetensors.torch.load_file(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:  # torch stores without compression, but would unpack a bomb
            if sum(entry.file_size for entry in archive.infolist()) > MOST_UNPACKED * os.path.getsize(path):
                raise ValueError('a few bytes that unpack to many')
    return torch.load(path, map_location='cpu', weights_only=True)


def _oddity(tensor: Tensor) -> str | None:
    """What a tensor is that no network holds as a weight; ``None`` for an ordinary one."""
    if tensor.layout is not torch.strided or tensor.is_nested or tensor.is_quantized or tensor.is_complex():
        return f'no ordinary tensor, but {tensor.dtype}, {tensor.layout}'.replace('torch.', '')
    if tensor.device.type != 'cpu':
        return 'without values (a meta tensor)'
    if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():  # may be more than the memory
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
    """What is wrong with a file that no parser took, and what to do."""
    start = start.lstrip().lower()
    if start.startswith((b'<!doctype', b'<html')):
        return f'is a web page, not weights; {remedy}'
    if start.startswith(b'version https://git-lfs'):
        return 'is only the Git LFS pointer to the weights; run git lfs pull'
    if 'TorchScript' in str(error):
        return 'is a TorchScript program, not weights; save net.state_dict() instead'
    if found := re.search(r'(?:GLOBAL|Unsupported class) ([\w.]+)', str(error)):
        return (
            f'holds a {found[1]}, which only code could read, and no code of a file is run here; '
            'save net.state_dict() instead'
        )
    return f'is truncated, damaged or no weight file; {remedy}'


def _describe(state: Any) -> str:
    """What stands where a state dict should be, and what to do."""
    if not isinstance(state, Mapping):
        return f'holds a {type(state).__name__}, not a state dict; save net.state_dict() instead'
    if not state:
        return 'holds no weights at all'
    keys = ', '.join(str(key)[:40] for key in list(state)[:8]) + (', ...' if len(state) > 8 else '')
    return f'holds no state dict where one is expected, but the keys {keys}; name one that does with param_key'


def _weight_files(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir() if entry.suffix.lower() in SUFFIXES]
    except OSError:
        return []
