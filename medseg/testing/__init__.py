"""Studies whose truth is known, for tests and demonstrations; checks of plug-ins."""

from typing import Any

from medseg.testing.tiny_cells import make_tiny_cells
from medseg.testing.tiny_dicom import make_tiny_dicom
from medseg.testing.tiny_roads import make_tiny_roads
from medseg.testing.tiny_study import make_tiny_membranes, make_tiny_study

_CHECKS = (
    "check_layout",
    "check_loss",
    "check_metric",
    "check_network",
    "check_reader",
    "check_sampler",
    "check_schedule",
    "check_tracker",
    "check_transform",
)

__all__ = [
    "make_tiny_cells",
    "make_tiny_dicom",
    "make_tiny_membranes",
    "make_tiny_roads",
    "make_tiny_study",
    *_CHECKS,
]


def __getattr__(name: str) -> Any:
    """The checks on first use, so that making a study loads no more than it needs."""
    if name in _CHECKS:
        from medseg.testing import contracts

        return getattr(contracts, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
