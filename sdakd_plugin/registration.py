"""Imports every module whose classes BasicSR's registries should know."""
import sdakd_plugin.archs
import sdakd_plugin.data
import sdakd_plugin.losses
import sdakd_plugin.metrics
import sdakd_plugin.models  # noqa: F401
