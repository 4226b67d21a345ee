"""Which windows a scan is cut into."""

from dataclasses import dataclass, replace
from math import prod

from medseg.inference.exact_tiling import ExactAxis, exact_tiling
from medseg.inference.tiling import Tiling, blended_tiling

SMALLEST = 16
"""Windows are not halved below this, nor below twice the network's stride."""


REFERENCE_OVERLAP = 0.5
"""Of the windows that all others are compared with, as in nnU-Net."""


@dataclass(frozen=True)
class WindowSpec:
    """Size and overlap of windows, in the order of the stream's axes.

    Attributes:
        size: Voxels of a window.
        overlap: Share that the next window covers again, where they are blended.
        exact: How the network is cut exactly; None to blend.
        divisor: Sizes are kept multiples of it.
    """

    size: tuple[int, ...]
    overlap: float
    exact: tuple[ExactAxis, ...] | None = None
    divisor: tuple[int, ...] = ()

    def tiling(self, shape: tuple[int, ...], *, axis: int) -> Tiling:
        """Windows over an image; blended where exact ones leave nothing to keep."""
        if self.exact is not None:
            exact = exact_tiling(shape, self.exact, window=self.size, axis=axis)
            if exact is not None:
                return exact
        return blended_tiling(shape, window=self.size, overlap=self.overlap, axis=axis)

    def halved(self) -> "WindowSpec | None":
        """Half the voxels, along the longest axis; None where that is too small."""
        steps = self.divisor or (1,) * len(self.size)
        for axis in sorted(range(len(self.size)), key=lambda a: -self.size[a]):
            step = steps[axis]
            half = -(-self.size[axis] // 2 // step) * step
            if SMALLEST <= half < self.size[axis] and half >= 2 * step:
                size = (*self.size[:axis], half, *self.size[axis + 1 :])
                return replace(self, size=size)
        return None

    @property
    def voxels(self) -> int:
        """Voxels of a window."""
        return prod(self.size)

    def describe(self) -> str:
        """The windows in words."""
        size = " x ".join(str(n) for n in self.size)
        if self.exact is not None:
            return f"{size}, exact halo"
        return f"{size}, overlap {self.overlap:g}"
