"""The images that a run trains and validates on."""

import basicsr  # noqa: F401 - first: it imports all of the plugin, in an order that works

from sdakd_plugin.data import cached_teacher_dataset, photo_dataset, sample_image_dataset, whole_image_dataset  # noqa: F401
