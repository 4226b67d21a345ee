"""Studies whose truth is known, for tests and demonstrations."""

from medseg.testing.tiny_cells import make_tiny_cells
from medseg.testing.tiny_study import make_tiny_membranes, make_tiny_study

__all__ = ["make_tiny_cells", "make_tiny_membranes", "make_tiny_study"]
