"""The plugin's networks and losses in mmengine's registry ``MODELS``, under the scope ``sdakd``.

``MODELS.build(dict(type='sdakd.SRGANGenerator'))`` works wherever BasicSR, or a module of this package, was imported; a
configuration of mmengine can see to that::

    custom_imports = dict(imports=['sdakd_plugin.mmengine_registry'])
"""

from __future__ import annotations

from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import Registry


class PluginRegistry(Registry):
    """Filled when it is first asked: while BasicSR is imported, the plugin's classes may not all be there yet."""

    def import_from_location(self) -> None:
        for registry in (ARCH_REGISTRY, LOSS_REGISTRY):
            for name, entry in registry:
                if entry.__module__.startswith('sdakd_plugin.') and name not in self._module_dict:
                    self._register_module(module=entry, module_name=name)


MODELS = PluginRegistry('sdakd model', parent=MMENGINE_MODELS, scope='sdakd')  # build function: the parent's
