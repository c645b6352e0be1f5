"""The one piece of magic: stock BasicSR finds the plugin, and imports on today's torchvision.

``sdakd_plugin.pth`` in site-packages imports this package in every Python process, so this module stays tiny: it
imports nothing but ``sys`` until somebody imports ``basicsr``. Set ``SDAKD_DISABLE=1`` to keep it out of a process.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing would be most of what a start costs
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any


class BasicSRFinder:
    """Waits for ``import basicsr`` and registers the plugin right after BasicSR's own classes."""

    searching = False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != 'basicsr' or self.searching:
            return None
        from importlib.util import find_spec

        self.searching = True  # let the other finders answer
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
    """Supplies ``torchvision.transforms.functional_tensor``, gone since torchvision 0.17, to BasicSR 1.4.2.

    It stands last in ``sys.meta_path``: where torchvision still has the module, that one is found first.
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
    """Register the plugin now if BasicSR is imported, else as soon as it is."""
    if any(isinstance(finder, BasicSRFinder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, BasicSRFinder())  # type: ignore[arg-type]
    if 'basicsr' in sys.modules:
        register()


def register() -> None:
    """Import everything that registers itself. A failure is reported in one line, with ``SDAKD_DEBUG=1`` after its
    traceback, and BasicSR goes on without the plugin."""
    try:
        import sdakd_plugin.registration  # noqa: F401

        check_options_early()
    except Exception as error:
        import os
        import traceback

        if os.environ.get('SDAKD_DEBUG') == '1':
            traceback.print_exc()
        reason = ' '.join(f'{type(error).__name__}: {error}'.split())  # some messages have lines of their own
        print(f'sdakd_plugin: not available in BasicSR: {reason}', file=sys.stderr)


def check_options_early() -> None:
    """Let BasicSR's ``parse_options`` check the options of this plugin's models before it makes a folder. For every
    other model the function does what it did."""
    from sdakd_plugin.stock.parse_options import wrap

    def checked(parse_options: Any) -> Any:
        from sdakd_plugin.checks.run import checked  # not before: it may be what imports basicsr

        return checked(parse_options)

    wrap(checked)
