"""Import hooks that register the plugin with BasicSR and make BasicSR compatible with current torchvision.

``sdakd_plugin.pth`` in site-packages imports this package in every Python process. Therefore this module imports only
``sys`` until ``basicsr`` is imported. Set ``SDAKD_DISABLE=1`` to disable it.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # a constant, because importing typing would dominate the start-up time
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any


class BasicSRFinder:
    """Registers the plugin when ``basicsr`` is imported, right after BasicSR's own classes."""

    searching = False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != 'basicsr' or self.searching:
            return None
        from importlib.util import find_spec

        self.searching = True  # leave the search to the other finders
        try:
            spec = find_spec(name)
        finally:
            self.searching = False
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            sys.meta_path.append(FunctionalTensorFinder())
            execute(module)
            register()

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


class FunctionalTensorFinder:
    """Provides ``torchvision.transforms.functional_tensor``, removed in torchvision 0.17, for BasicSR 1.4.2.

    It is the last finder in ``sys.meta_path``: if torchvision still has the module, that one is found first.
    """

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != 'torchvision.transforms.functional_tensor':
            return None
        from importlib.machinery import ModuleSpec

        return ModuleSpec(name, self)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        from torchvision.transforms.functional import rgb_to_grayscale

        module.rgb_to_grayscale = rgb_to_grayscale  # type: ignore[attr-defined]


def install() -> None:
    """Register the plugin now if BasicSR is already imported, otherwise when it is imported."""
    if any(isinstance(finder, BasicSRFinder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, BasicSRFinder())  # type: ignore[arg-type]
    if 'basicsr' in sys.modules:
        register()


def register() -> None:
    """Import all modules that register classes.

    If that fails, one line is printed (with ``SDAKD_DEBUG=1`` after the traceback), and BasicSR works without the
    plugin.
    """
    try:
        import sdakd_plugin.registration  # noqa: F401

        check_options_early()
    except Exception as error:
        import os
        import traceback

        if os.environ.get('SDAKD_DEBUG') == '1':
            traceback.print_exc()
        reason = ' '.join(f'{type(error).__name__}: {error}'.split())  # some messages have several lines
        print(f'sdakd_plugin: not available in BasicSR: {reason}', file=sys.stderr)


def check_options_early() -> None:
    """Make BasicSR's ``parse_options`` check the options of this plugin's models, before any folder is created.

    For all other models the function is unchanged.
    """
    from sdakd_plugin.stock.parse_options import wrap

    def checked(parse_options: Any) -> Any:
        from sdakd_plugin.checks.run import checked  # not earlier: it imports basicsr

        return checked(parse_options)

    wrap(checked)
