"""How the next patch is chosen."""

from typing import Any, Literal, TypeAlias

from pydantic import Field, model_validator

from medseg.plugins import PluginName
from medseg.settings import Settings

Strategy: TypeAlias = Literal[
    "uniform",
    "foreground",
    "class_balanced",
    "inverse_frequency",
    "lesion_balanced",
    "any_foreground",
    "hard_example",
]


class SamplingSettings(Settings):
    """Which patches training sees, and how often."""

    strategy: Strategy | PluginName = "foreground"
    """``uniform``: any place of any case. ``foreground``: a case, one of the
    structures it shows, a voxel of it (nnU-Net's). ``class_balanced``: each structure
    equally often over the whole data set, then a case that shows it.
    ``inverse_frequency``: each structure in inverse proportion to its voxels.
    ``lesion_balanced``: each size bin equally often, then any connected component in
    it. ``any_foreground``: any patch that holds at least `min_fraction` of
    structures, wherever in it. ``hard_example``: as ``foreground``, cases with a high
    running loss more often. Or ``package.module:Name``, ``my_file.py:Name`` of a
    `Chooser`."""
    args: dict[str, Any] = {}
    """Keyword arguments of a strategy by path."""
    foreground_share: float = Field(default=0.5, ge=0, le=1)
    """Share of patches that the strategy chooses; the others lie anywhere. Not used
    by ``uniform``."""
    jitter: float = Field(default=0.5, ge=0, le=1)
    """How far from the centre of its patch a chosen voxel may lie: 0 at the centre,
    1 anywhere in the patch."""
    power: float = Field(default=1.0, ge=0)
    """``inverse_frequency``: 1 is inversely proportional, 0 is equal shares.
    ``hard_example``: weight of a case is its running loss to this power."""
    size_bins: tuple[int, ...] = (10, 100, 1000, 10_000)
    """``lesion_balanced`` and sampling statistics: voxels from which a component
    belongs to the next bin."""
    min_fraction: float = Field(default=0.01, gt=0, le=1)
    """``any_foreground``: share of a patch that structures must cover."""

    padding: Literal["zero", "edge"] = "zero"
    """What lies outside of a case in patches that reach over its border: ``zero`` is
    background; ``edge`` repeats the border and leaves it out of the loss."""
    cache: Literal["auto", "gpu", "ram", "disk"] = "auto"
    """Where patches come from. ``gpu``: all training cases lie on the GPU, where
    batches are cut out and changed. ``ram``: all are read first, for shared or slow
    disks. ``disk``: mapped files, which the system keeps in memory as far as there is
    room. ``auto``: the GPU where the cases fit into a third of its free memory, else
    files; files on a CPU."""

    @model_validator(mode="after")
    def _rising(self) -> "SamplingSettings":
        if list(self.size_bins) != sorted(set(self.size_bins)):
            raise ValueError(f"size_bins {self.size_bins} do not rise")
        return self
