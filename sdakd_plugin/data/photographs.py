"""Photographs in a folder or an LMDB."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from basicsr.utils import FileClient, imfrombytes

from sdakd_plugin.data.sample_image_dataset import BASICSR_KEYS
from sdakd_plugin.data.whole_image_dataset import ENDINGS
from sdakd_plugin.errors import UserError, nearest


def read_options(opt: Mapping[str, Any], own_keys: Set[str], kind: str) -> dict[str, Any]:
    """The options of a data set of photographs, with the defaults of ``use_hflip`` and ``use_rot``.

    A value of ``~`` counts as left out.

    Args:
        opt: the block under ``datasets``, with ``phase`` and ``scale``.
        own_keys: the keys that the data set has besides BasicSR's.
        kind: the name of its class, for messages.

    Raises:
        UserError: unknown key, or in training a ``gt_size`` that is not a multiple of the scale.
        KeyError: in training, ``gt_size`` is missing.
    """
    known = own_keys | BASICSR_KEYS
    for key in opt:
        if key not in known:
            raise UserError(f'{key}: unknown key for {kind}{nearest(key, known)}')
    found = {'use_hflip': True, 'use_rot': True, **{key: value for key, value in opt.items() if value is not None}}
    scale = found['scale']
    if found['phase'] == 'train' and found['gt_size'] % scale:
        fits = max(found['gt_size'] // scale, 1) * scale
        raise UserError(f'gt_size: {found["gt_size"]} is not a multiple of the scale {scale}; use {fits}')
    return found


class Photographs:
    """The photographs of a data set, sorted by name.

    Args:
        root: a folder, searched recursively, or with ``{'type': 'lmdb'}`` an LMDB with BasicSR's ``meta_info.txt``.
        backend: BasicSR's ``io_backend``.
        key: the option that names the folder, ``dataroot_gt`` or ``dataroot_lq``.
        meta_info: a text file with the path of a photograph in each line, relative to ``root``; what follows it in
            BasicSR's lists, such as ``(480,320,3)``, is ignored. By default all photographs are used.

    Attributes:
        paths: the path of each file, or its key in the LMDB.
        names: the same relative to ``root``, with ``/`` between folders.

    Raises:
        UserError: the folder does not exist or has no photographs, or the list cannot be read.
    """

    def __init__(
        self, root: str, backend: dict[str, Any], key: str = 'dataroot_gt', meta_info: str | None = None
    ) -> None:
        self.root, self.backend = root, {'type': 'disk', **backend}
        self.client_key = key.removeprefix('dataroot_')
        if not os.path.isdir(root):
            raise UserError(f"{key}: there is no folder '{root}'")
        if self.backend['type'] == 'lmdb':
            if meta_info is not None:
                raise UserError('meta_info: an LMDB has its own list; leave it out')
            if not root.endswith('.lmdb'):
                raise UserError(f"{key}: '{root}' must end with .lmdb, because io_backend.type is lmdb")
            self.names = self.paths = sorted(_keys(root, key))
            self.backend.update(db_paths=[root], client_keys=[self.client_key])
        elif meta_info is not None:
            self.names = listed(meta_info)
            self.paths = [os.path.join(root, name) for name in self.names]
        else:
            self.paths = sorted(_files(root, key))
            self.names = [Path(os.path.relpath(path, root)).as_posix() for path in self.paths]
        if not self.paths:
            raise UserError(f"{key}: no photograph in '{root}'; looked for {', '.join(ENDINGS)}")
        self._client: FileClient | None = None

    def get(self, path: str, client_key: str | None = None) -> bytes:
        """The content of a file, read by BasicSR's ``FileClient``.

        Raises:
            UserError: the file cannot be read.
        """
        if self._client is None:  # each worker opens its own, as in BasicSR's data sets
            self._client = FileClient(
                self.backend['type'], **{key: value for key, value in self.backend.items() if key != 'type'}
            )
        try:
            content: bytes = self._client.get(path, client_key or self.client_key)
        except OSError as error:
            raise UserError(f'{path} cannot be read: {error.strerror}') from error
        if content is None:
            raise UserError(f'{path} is not in {self.root}, although its meta_info.txt lists it')
        return content

    def read(self, path: str) -> np.ndarray:
        """Read a photograph as BasicSR's data sets do: (h, w, 3), uint8, BGR.

        Raises:
            UserError: the file cannot be read, or is not an image.
        """
        content = self.get(path)
        try:
            image = imfrombytes(content)
        except cv2.error:  # an empty file
            image = None
        if image is None:
            raise UserError(f'{path} is not a readable image; remove it')
        return image


def _files(root: str, key: str) -> Iterator[str]:
    """The image files below a folder; follows links, skips hidden files and folders."""

    def fail(error: OSError) -> None:
        raise UserError(f'{key}: {error.filename} cannot be read: {error.strerror}')

    seen = set()
    for folder, folders, files in os.walk(root, onerror=fail, followlinks=True):
        real = os.path.realpath(folder)
        folders[:] = [] if real in seen else [name for name in folders if not name.startswith('.')]
        for name in () if real in seen else files:
            if name.lower().endswith(ENDINGS) and not name.startswith('.'):
                yield os.path.join(folder, name)
        seen.add(real)


def listed(path: str) -> list[str]:
    """The names in a list of photographs, one in each line.

    Raises:
        UserError: the list cannot be read, or is empty.
    """
    try:
        lines = Path(path).read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"meta_info: '{path}' cannot be read: {getattr(error, 'strerror', None) or error}") from error
    names = [re.sub(r' \(\d+, ?\d+, ?\d+\)( \d+)?$', '', line.strip()) for line in lines if line.strip()]
    if not names:
        raise UserError(f"meta_info: '{path}' lists no photographs; it needs the path of one in each line")
    return names


def _keys(root: str, key: str) -> Iterator[str]:
    """The keys of an LMDB, from lines such as ``a photo.png (480,320,3) 1``; the key has no extension."""
    try:
        lines = Path(root, 'meta_info.txt').read_text(encoding='utf-8').splitlines()
    except OSError as error:
        raise UserError(
            f"{key}: '{root}' has no readable meta_info.txt, which BasicSR writes when it makes an LMDB"
        ) from error
    for line in filter(str.strip, lines):
        yield os.path.splitext(line.rpartition(' (')[0] or line.split(' ')[0])[0]
