"""What decides how objects are cut from levels of depth."""

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from medseg.settings import Settings


class DecodingSettings(Settings):
    """How objects are found in the network's answer; chosen on held-out cases."""

    foreground: float = Field(default=0.5, gt=0, lt=1)
    """Probability from which a voxel belongs to any object."""
    seed: float = Field(default=0.7, gt=0, lt=1)
    """Expected depth, from 0 outside to 1 innermost, from which it belongs to the
    seed of an object; connected seeds are one object."""
    alone: float = Field(default=1.0, gt=0, le=1)
    """Depth that a connected part of the foreground without any seed must have
    somewhere to be an object; 1 is never."""
    min_voxels: int = Field(default=0, ge=0)
    """Smaller objects are taken away."""
    reason: str = ""
    """Where the numbers come from; for readers only."""

    def describe(self) -> str:
        """The numbers in words."""
        alone = f", alone above {self.alone:g}" if self.alone < 1 else ""
        return (
            f"foreground above {self.foreground:g}, seeds above {self.seed:g}{alone}, "
            f"{self.min_voxels} voxels at least"
        )


def joint_decoding(
    members: Sequence[DecodingSettings | None],
) -> DecodingSettings | None:
    """What several models have in common: mean thresholds, the least of least sizes.

    Objects without a seed are found where all members find them.
    """
    known = [member for member in members if member is not None]
    if not known:
        return None
    alone = [member.alone for member in known]
    return DecodingSettings(
        foreground=float(np.mean([member.foreground for member in known])),
        seed=float(np.mean([member.seed for member in known])),
        alone=1.0 if max(alone) == 1 else float(np.mean(alone)),
        min_voxels=min(member.min_voxels for member in known),
        reason=f"the mean of {len(known)} models",
    )
