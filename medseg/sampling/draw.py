"""One patch that was chosen: of which case, and where."""

from dataclasses import dataclass

from medseg.store.arrays import Box
from medseg.types import Shape


@dataclass(frozen=True)
class Draw:
    """A patch of a case; it may reach over the case's border."""

    case_index: int
    """Position in the sequence of cases that the sampler was given."""
    case_id: str
    """Name of the case."""
    corner: tuple[int, int, int]
    """First voxel of the patch; negative where it begins outside."""
    size: Shape
    """Voxels of the patch along (i, j, k); one along k in 2D."""
    label: int = 0
    """The class for whose sake it was chosen; 0 for a place of no account."""
    voxel: tuple[int, int, int] | None = None
    """The voxel that was chosen; it lies inside the patch."""

    def inside(self, shape: Shape) -> Box:
        """The part of the patch that lies in an array of a given shape."""
        i, j, k = (
            slice(max(start, 0), max(min(start + size, length), 0))
            for start, size, length in zip(self.corner, self.size, shape, strict=True)
        )
        return (i, j, k)
