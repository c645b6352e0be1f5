"""Data sets whose errors name the image, where BasicSR says ``'NoneType' object has no attribute 'astype'``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from basicsr.utils.registry import DATASET_REGISTRY

from sdakd_plugin.errors import UserError
from sdakd_plugin.utils.registries import full_name

BuildDataset = Callable[[dict[str, Any]], Any]


def with_image_names(build_dataset: BuildDataset) -> BuildDataset:
    """Wrap BasicSR's ``build_dataset``, so that data sets raise a UserError that names an unreadable image."""

    def build(opt: dict[str, Any]) -> Any:
        return named(build_dataset({**opt, 'type': full_name(DATASET_REGISTRY, opt['type'])}), opt['name'])

    return build


def named(dataset: Any, name: str) -> Any:
    """Make a data set name its unreadable images, also in the workers of a data loader, and return it."""
    kind = type(dataset)

    class Named(kind):  # type: ignore[misc,valid-type]
        def __getitem__(self, index: int) -> Any:
            try:
                return super().__getitem__(index)
            except UserError:
                raise
            except Exception as error:  # a damaged file can cause any exception
                paths = getattr(self, 'paths', None)
                what = paths[index] if paths else f'image {index}'
                files = ', '.join(map(str, what.values())) if isinstance(what, dict) else what
                raise UserError(f'datasets: {name}: cannot read {files}: {error}') from error

        def __reduce__(self) -> Any:  # spawned workers receive it pickled
            plain = object.__new__(kind)
            vars(plain).update(vars(self))
            return named, (plain, name)

    Named.__name__, Named.__qualname__, Named.__module__ = kind.__name__, kind.__qualname__, kind.__module__
    dataset.__class__ = Named
    return dataset
