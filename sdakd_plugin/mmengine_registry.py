"""The plugin's networks and losses in mmengine's registry ``MODELS``, under the scope ``sdakd``.

``MODELS.build(dict(type='sdakd.SRGANGenerator'))`` works after BasicSR or a module of this package has been imported. A
configuration of mmengine can do that::

    custom_imports = dict(imports=['sdakd_plugin.mmengine_registry'])
"""

from __future__ import annotations

from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import Registry


class PluginRegistry(Registry):
    """A registry that is filled on first use, since not all classes may exist while BasicSR is being imported."""

    def import_from_location(self) -> None:
        for registry in (ARCH_REGISTRY, LOSS_REGISTRY):
            for name, entry in registry:
                if entry.__module__.startswith('sdakd_plugin.') and name not in self._module_dict:
                    self._register_module(module=entry, module_name=name)


MODELS = PluginRegistry('sdakd model', parent=MMENGINE_MODELS, scope='sdakd')  # build function: the parent's
