"""medseg: from a folder of scans to a trained, tracked, honestly scored model."""

from importlib.metadata import PackageNotFoundError, version

from medseg.telemetry import opt_out

opt_out()

try:
    __version__ = version("medseg")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"

__all__ = ["__version__"]
