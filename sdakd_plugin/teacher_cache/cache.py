"""The folder of the teacher's images of fixed paired data: its contents, and whether they are up to date.

Besides the images it has ``manifest.json``: how they were made, and for each LQ image the size, the modification time
and the hash of its contents. Entries are written before images, so that every image belongs to its entry.
"""

from __future__ import annotations

import hashlib
import json
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from basicsr.utils import FileClient
from basicsr.utils.registry import DATASET_REGISTRY

from sdakd_plugin import weights
from sdakd_plugin.data.cached_teacher_dataset import FIXED, image_file, image_name, lq_file, lq_folder
from sdakd_plugin.data.lq_photo_dataset import LQPhotoDataset
from sdakd_plugin.data.photo_dataset import PhotoDataset
from sdakd_plugin.data.photographs import Photographs
from sdakd_plugin.data.published import brings_kernels
from sdakd_plugin.data.sample_image_dataset import SampleImageDataset
from sdakd_plugin.errors import UserError
from sdakd_plugin.networks.frozen import UNTRAINED, untrained, weights_are_local
from sdakd_plugin.options import Options, TeacherOptions, parse
from sdakd_plugin.stock.named_errors import with_image_names
from sdakd_plugin.utils.registries import look_up
from sdakd_plugin.weights.files import new_file

MANIFEST = 'manifest.json'
WEIGHTS = 'teacher.pretrain_network_g'
REMEDY = '`sdakd cache -opt FILE`'
PREPARATION = ('color', 'mean', 'std')  # how a data set processes an LQ image after reading it


@dataclass(frozen=True)
class Manifest:
    """Attributes:
    recipe: the values that the images depend on besides the LQ images, by option key; for weights their hash.
    source: the weights as named in the option file.
    images: for each LQ image the size of its file in bytes, the modification time in nanoseconds, and the SHA-256
        of its contents; if LQ images are made from photographs, those of the photograph.
    """

    recipe: dict[str, Any]
    source: list[str | None]
    images: dict[str, list[Any]]


class TeacherCache:
    """The folder ``teacher.cache`` of a run and the data set that it belongs to.

    Args:
        options: the options of the run.

    Attributes:
        folder: the path, which may not exist yet.

    Raises:
        UserError: no folder is named, or the data are not fixed pairs.
    """

    def __init__(self, options: Options) -> None:
        teacher, block = options.teacher, options.datasets.get('train')
        if teacher is None or teacher.cache is None:
            raise UserError('teacher.cache: this key is missing; it names the folder for the images')
        if block is None:
            raise UserError('datasets.train: this block is missing; the images are made for its LQ images')
        if block.get('type') not in FIXED or options.scales is not None:
            what = 'scales' if options.scales is not None else block.get('type')
            raise UserError(
                f'teacher.cache: needs fixed LQ images, those of {" or ".join(FIXED)}; with {what} the LQ images are '
                'made anew each time; leave it out'
            )
        if brings_kernels(block):
            raise UserError(
                'teacher.cache: needs fixed LQ images; set datasets.train.degradation_seed, e.g. to 0, or leave it out'
            )
        self.options, self.teacher, self.block = options, teacher, block
        self.folder = Path(teacher.cache).expanduser()

    @cached_property
    def dataset(self) -> Any:
        """The data set with whole images, not crops: ``lq`` (c, h, w), processed as for training."""
        whole = {**deepcopy(self.block), 'phase': 'val', 'scale': self.options.scale}
        return with_image_names(look_up(DATASET_REGISTRY, self.block['type']))(whole)

    @property
    def lq_folder(self) -> str:
        return lq_folder(self.block)

    @cached_property
    def indices(self) -> dict[str, int]:
        """The index of each image in the data set, by its name in the folder."""
        return {image_name(paths['lq_path'], self.lq_folder): index for index, paths in enumerate(self.dataset.paths)}

    def read(self) -> Manifest | None:
        """The manifest, if the folder has one.

        Raises:
            UserError: it is damaged.
        """
        path = self.folder / MANIFEST
        try:
            return Manifest(**json.loads(path.read_text(encoding='utf-8')))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, TypeError, ValueError) as error:
            raise UserError(
                f'teacher.cache: {path} is damaged or cannot be read; delete the folder and run {REMEDY} ({error})'
            ) from error

    def write(self, manifest: Manifest) -> None:
        with new_file(self.folder / MANIFEST) as file:
            file.write(json.dumps(asdict(manifest)).encode())

    def describe(self, before: Manifest | None) -> Manifest:
        """The manifest of the current options and data. Only files that have changed since ``before`` are hashed again.

        Raises:
            UserError: the weights cannot be read.
        """
        source = [self.teacher.pretrain_network_g, self.teacher.param_key_g]
        if before is not None and before.source == source and not weights_are_local(self.teacher.pretrain_network_g):
            digest = before.recipe.get(WEIGHTS)  # trusted, since the weights are not here to be hashed
        else:
            digest = hash_weights(self.teacher)
        recipe = {
            WEIGHTS: digest,
            'teacher.network_g': self.teacher.network_g,
            'scale': self.options.scale,
            **{f'datasets.train.{key}': self.block.get(key) for key in PREPARATION},
            'datasets.train.degradation': self._degradation,
        }
        known = before.images if before else {}
        images = {name: self._entry(name, known.get(name)) for name in self.indices}
        return Manifest(json.loads(json.dumps(recipe)), source, images)

    @property
    def keeps_lq(self) -> bool:
        """Whether the folder also stores the LQ images, as it does for degraded ones."""
        return isinstance(self.dataset, PhotoDataset) and self.dataset.degradation is not None

    @property
    def _degradation(self) -> Any:
        """How the data set makes its LQ images, if it does."""
        return self.dataset.recipe if isinstance(self.dataset, PhotoDataset) else None

    def missing(self, manifest: Manifest) -> list[str]:
        """The names of the images that are missing in the folder."""
        kinds = [image_file, lq_file] if self.keeps_lq else [image_file]
        return [
            name
            for name in self.indices
            if name not in manifest.images or not all(kind(self.folder, name).is_file() for kind in kinds)
        ]

    def _entry(self, name: str, known: list[Any] | None) -> list[Any]:
        if isinstance(self.dataset, SampleImageDataset):  # embedded, so there is no file
            _, lq = self.dataset.pairs[self.indices[name]]
            return [lq.nbytes, 0, hashlib.sha256(lq.tobytes()).hexdigest()]
        paths = self.dataset.paths[self.indices[name]]
        role = 'gt' if isinstance(self.dataset, PhotoDataset) else 'lq'  # the file that the LQ image depends on
        path = paths[f'{role}_path']
        lmdb = self.lq_folder.endswith('.lmdb')
        try:
            found = (Path(self.lq_folder, 'data.mdb') if lmdb else Path(path)).stat()
            stamp = [found.st_size, found.st_mtime_ns]
            if known is not None and known[:2] == stamp:
                return known
            return [*stamp, hashlib.sha256(self._files.get(path, role)).hexdigest()]
        except OSError as error:
            raise UserError(f'datasets.train: {path} cannot be read: {error.strerror}') from error

    @property
    def _files(self) -> FileClient | Photographs:
        if isinstance(self.dataset, (PhotoDataset, LQPhotoDataset)):
            return self.dataset.photographs
        if self.dataset.file_client is None:  # as the data set itself makes it on first use
            backend = self.dataset.io_backend_opt
            self.dataset.file_client = FileClient(backend.pop('type'), **backend)
        return self.dataset.file_client


def difference(before: Manifest, now: Manifest) -> str | None:
    """The first difference between two manifests, in words; ``None`` if the images are up to date."""
    for key, value in now.recipe.items():
        if before.recipe.get(key) != value:
            return f'was made with another {key}'
    changed = changed_images(before, now)
    more = f' and {len(changed) - 1} more' if len(changed) > 1 else ''
    return f'was made before {changed[0]}{more} changed' if changed else None


def changed_images(before: Manifest, now: Manifest) -> list[str]:
    """The names of the LQ images whose contents have changed."""
    return [name for name, entry in now.images.items() if name in before.images and before.images[name][2] != entry[2]]


def hash_weights(teacher: TeacherOptions) -> str:
    """The SHA-256 of the generator's tensors, whatever file they are in."""
    if teacher.pretrain_network_g == UNTRAINED:
        state = untrained(teacher.network_g, 'g').net.state_dict()
    else:
        _, state = weights.load(teacher.pretrain_network_g, WEIGHTS, teacher.param_key_g)
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(f'{name} {state[name].dtype} {list(state[name].shape)}'.encode())
        digest.update(state[name].contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def asks_for_cache(options: Options) -> bool:
    """Whether a training reads the teacher's images from a folder."""
    return options.is_train and options.teacher is not None and options.teacher.cache is not None


def lacking(cache: TeacherCache) -> str | None:
    """The number of missing images, in words; ``None`` if the folder is complete.

    Raises:
        UserError: the images were made from other weights or data.
    """
    before = cache.read()
    if before is None:
        return f'teacher.cache: {cache.folder} holds no images'
    if reason := difference(before, cache.describe(before)):
        raise UserError(f'teacher.cache: {cache.folder} {reason}; make it anew with {REMEDY}')
    missing = cache.missing(before)
    return (
        f'teacher.cache: {len(missing)} of {len(cache.indices)} images are missing in {cache.folder}'
        if missing
        else None
    )


def with_cache(opt: dict[str, Any]) -> dict[str, Any]:
    """The options with the data set that serves the cached images, where the option file asks for them.

    Args:
        opt: as BasicSR's ``parse_options`` returns them; not changed.

    Raises:
        UserError: the cache is missing, incomplete, or made from other weights or data.
    """
    options = parse(opt)
    if not asks_for_cache(options):
        return opt
    cache = TeacherCache(options)
    if lack := lacking(cache):
        raise UserError(f'{lack}; make them with {REMEDY}')
    block = opt['datasets']['train']
    cached = {
        **block,
        'type': 'CachedTeacherDataset',
        'paired_type': block['type'],
        'dataroot_teacher': str(cache.folder),
    }
    return {**opt, 'datasets': {**opt['datasets'], 'train': cached}}
