"""Runs a generator in a runtime other than plain PyTorch, with the same images: each backend is a module that turns
``lq`` (n, c, h, w), range 0..1, into ``sr``, so that whatever calls a network can call it."""

import sdakd_plugin.utils.no_telemetry  # noqa: F401  # before a module imports a runtime

CHOICES = ('auto', 'torch', 'openvino', 'onnx')
