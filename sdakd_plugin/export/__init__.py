"""Writes a generator as a file that other programs can run."""

import sdakd_plugin.utils.no_telemetry  # noqa: F401  # before a module imports a runtime
