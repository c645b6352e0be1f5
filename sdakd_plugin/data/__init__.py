"""Data sets, registered with BasicSR, and its on-the-fly degradation."""
import basicsr  # noqa: F401 - first: it imports all of the plugin, in an order that works

from sdakd_plugin.data import cached_teacher_dataset, sample_image_dataset, whole_image_dataset  # noqa: F401
