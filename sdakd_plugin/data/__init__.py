"""Data sets, registered with BasicSR, and its on-the-fly degradation."""
from sdakd_plugin.data import sample_image_dataset, whole_image_dataset  # noqa: F401
