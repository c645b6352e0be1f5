"""Metrics, registered with BasicSR."""
from sdakd_plugin.metrics import (  # noqa: F401
    lpips_metric,
    niqe_metric,
)
