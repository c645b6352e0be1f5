"""Imports every module whose classes the registries of BasicSR and mmengine should know."""

import sdakd_plugin.archs
import sdakd_plugin.data
import sdakd_plugin.losses
import sdakd_plugin.metrics
import sdakd_plugin.mmengine_registry
import sdakd_plugin.models  # noqa: F401
