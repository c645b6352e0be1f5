"""Imports all modules that register classes with BasicSR or mmengine."""

import sdakd_plugin.archs
import sdakd_plugin.data
import sdakd_plugin.losses
import sdakd_plugin.metrics
import sdakd_plugin.mmengine_registry
import sdakd_plugin.models  # noqa: F401
