"""Import ONNX Runtime, in this one place, with its telemetry off.

Official builds of ONNX Runtime since 1.29 write a device identifier and an event store into the user's home folder and
send events to their maker, unless ``ORT_DISABLE_TELEMETRY`` is set before they are imported. The package sets it (see
``trimf/__init__.py``) and keeps a value that the user has set.
"""

from __future__ import annotations

import os

import onnxruntime

if os.environ.get("ORT_DISABLE_TELEMETRY") == "1":
    # The application may have imported ONNX Runtime before TriMF could set the variable.
    onnxruntime.disable_telemetry_events()

__all__ = ["onnxruntime"]
