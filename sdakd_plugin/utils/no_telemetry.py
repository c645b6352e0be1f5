"""Keeps the runtimes from reporting their use to a server of their makers; imported before any of them.

OpenVINO reports its import, from a process that it forks, unless ``openvino_telemetry`` is missing; ONNX Runtime from
version 1.32 reports its sessions unless an environment variable says no. Whoever wants the reports sets that to 0.
"""

import os
import sys

sys.modules.setdefault('openvino_telemetry', None)  # type: ignore[arg-type]  # it cannot be imported any more
os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')
