"""A data set whose errors name the image: BasicSR's decoder says ``'NoneType' object has no attribute 'astype'``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from basicsr.utils.registry import DATASET_REGISTRY

from sdakd_plugin.errors import UserError
from sdakd_plugin.utils.registries import full_name

BuildDataset = Callable[[dict[str, Any]], Any]


def with_image_names(build_dataset: BuildDataset) -> BuildDataset:
    """BasicSR's ``build_dataset``, whose data sets raise a UserError that names the image which cannot be read."""

    def build(opt: dict[str, Any]) -> Any:
        return named(build_dataset({**opt, 'type': full_name(DATASET_REGISTRY, opt['type'])}), opt['name'])

    return build


def named(dataset: Any, name: str) -> Any:
    """The data set itself, which names its images from now on, in the loader's workers too."""
    kind = type(dataset)

    class Named(kind):  # type: ignore[misc,valid-type]
        def __getitem__(self, index: int) -> Any:
            try:
                return super().__getitem__(index)
            except UserError:
                raise
            except Exception as error:  # a damaged file can provoke any exception in the decoders
                paths = getattr(self, 'paths', None)
                what = paths[index] if paths else f'image {index}'
                files = ', '.join(map(str, what.values())) if isinstance(what, dict) else what
                raise UserError(f'datasets: {name}: cannot read {files}: {error}') from error

        def __reduce__(self) -> Any:  # a launcher's workers get it pickled
            plain = object.__new__(kind)
            vars(plain).update(vars(self))
            return named, (plain, name)

    Named.__name__, Named.__qualname__, Named.__module__ = kind.__name__, kind.__qualname__, kind.__module__
    dataset.__class__ = Named
    return dataset
