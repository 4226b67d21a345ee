"""How much memory a scan takes in nnU-Net's own steps, before any is taken."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from medseg.inference.memory_plan import resident_bytes, too_small, trim_ram
from medseg.inference.nnunet.decision import BLOCK
from medseg.inference.nnunet.preprocess import NnUNetInput
from medseg.inference.nnunet.resample import Resize
from medseg.inference.nnunet.windows import window_starts

HALF, SINGLE, DOUBLE = 2, 4, 8
"""Bytes of a number."""
SPLINE = 3 * DOUBLE
"""Bytes of a voxel while a spline is fitted to it: itself, padded, and coefficients."""


def preparation_bytes(
    shape: Sequence[int], new_shape: Sequence[int], *, inputs: int
) -> int:
    """Largest number of bytes that resampling takes at once, the scan aside.

    Args:
        shape: Voxels of the scan.
        new_shape: At the network's voxel size.
        inputs: Channels of the network; more than the scan's in a cascade.
    """
    old, new = prod(shape), prod(new_shape)
    one_channel = SPLINE * old + 2 * DOUBLE * new
    return one_channel + 2 * SINGLE * inputs * new


@dataclass(frozen=True)
class DecisionSizes:
    """What the memory of windows and of the decision depends on.

    Attributes:
        folds: Networks whose sums are held.
        outputs: Channels of the logits.
        window: Voxels, two or three sides.
        step: Share of a window from one to the next.
        one_window: Bytes that a network takes for one.
        all_at_once: Logits of the whole scan are held, as for probabilities.
    """

    folds: int
    outputs: int
    window: Sequence[int]
    step: float
    one_window: int
    all_at_once: bool

    def bytes_for(self, prepared: NnUNetInput, resampling: Resize) -> int:
        """Largest number of bytes in use at once, the prepared scan aside."""
        shape = prepared.voxels.shape[1:]
        sides = (*shape[: 3 - len(self.window)], *self.window)
        padded = [max(n, side) for n, side in zip(shape, sides, strict=True)]
        row = HALF * self.outputs * prod(padded[1:])
        depth = self.window[0] if len(self.window) == 3 else 1
        starts = window_starts(padded[0], depth, step=self.step)
        rows = max(b - a for a, b in zip(starts, [*starts[1:], padded[0]], strict=True))
        slabs = 2 * rows + 2 * (BLOCK + 1 + rows)  # the mean and its copies
        sums = self.folds * depth + (depth - rows if len(starts) > 1 else 0)
        copies = SINGLE * prepared.voxels.shape[0] * prod(padded)
        labels = (HALF + 1) * prod(resampling.shape)
        found: int = (sums + slabs) * row + copies + labels + self.one_window
        if self.all_at_once or not resampling.is_linear:
            found += 2 * row * padded[0] + (SPLINE + SINGLE) * prod(padded)
            found += 2 * DOUBLE * prod(resampling.shape)
        if self.all_at_once:  # and a file of them all, mapped into memory
            found += HALF * self.outputs * prod(resampling.shape)
        return found


def require_ram(needed: int, allowed: int | None, *, name: str) -> None:
    """Refuses a scan that would take more than the process may hold.

    Args:
        needed: Bytes beside what the process holds already.
        allowed: Largest resident size of the process (``--max-ram``); None: any.
        name: Case or file, for error messages.

    Raises:
        PredictionError: It would; says how much would do.
    """
    if allowed is None:
        return
    trim_ram()
    whole = resident_bytes() + needed
    if whole > allowed:
        raise too_small(name=name, what="RAM", allowed=allowed, needed=whole)
