"""Opts out of the usage reports of the libraries that medseg loads.

MLflow, ONNX Runtime, OpenVINO and Ray report to their makers unless told not to: they
look a host up, and keep an identifier of the machine below the home folder. Some do so
while they are imported, and importing MONAI imports MLflow. Hence `import medseg` sets
the variables that they read; what the user set stays.
"""

import importlib
import os
import sys
from types import ModuleType

OPT_OUT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "ORT_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}
"""Variables by which the libraries are told not to report."""


def opt_out() -> None:
    """Sets the variables, for this process and those that it starts."""
    for name, value in OPT_OUT.items():
        os.environ.setdefault(name, value)


def import_openvino() -> ModuleType:
    """OpenVINO, without the package by which it reports.

    OpenVINO knows no variable. It takes a stand-in of its own where
    ``openvino_telemetry`` cannot be imported, which is what it finds here; the consent
    file below the home folder is neither needed nor written.

    Raises:
        ImportError: OpenVINO is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return importlib.import_module("openvino")
