"""The plugin's networks and losses in mmengine's registry ``MODELS``, under the scope ``sdakd``.

Import this module, or let a configuration do it, then ``MODELS.build(dict(type='sdakd.SRGANGenerator'))`` works::

    custom_imports = dict(imports=['sdakd_plugin.mmengine_registry'])

It is not imported with BasicSR, which would start 0.3 s later: mmengine is for those who ask for it.
"""
from __future__ import annotations

import basicsr  # noqa: F401  # first: it registers the plugin
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import Registry

import sdakd_plugin.archs
import sdakd_plugin.losses  # noqa: F401

MODELS = Registry('sdakd model', parent=MMENGINE_MODELS, scope='sdakd')  # build function: the parent's

for registry in (ARCH_REGISTRY, LOSS_REGISTRY):
    for name, entry in registry:
        if entry.__module__.startswith('sdakd_plugin.'):  # BasicSR's own have no scope of ours
            MODELS.register_module(name=name, module=entry)
