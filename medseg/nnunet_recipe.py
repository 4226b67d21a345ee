"""What nnU-Net's own predictor does with a scan, as an imported model keeps it.

A model that was imported from an nnU-Net folder has a `NnUNetRecipe` in its model.yaml
(under ``exact``): with it, label maps are computed step by step as nnU-Net's predictor
computes them, and not by the sliding windows of medseg's own models. Axes are
nnU-Net's: the array axes of its reader, (k, j, i) for volumes, then transposed.
"""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from medseg.settings import Settings

Reader: TypeAlias = Literal[
    "SimpleITKIO",
    "SimpleITKIOWithReorient",
    "NibabelIO",
    "NibabelIOWithReorient",
    "NaturalImage2DIO",
    "Tiff3DIO",
]
"""nnU-Net's classes for reading files; each has an axis order of its own."""

Scheme: TypeAlias = Literal[
    "ZScoreNormalization",
    "CTNormalization",
    "NoNormalization",
    "RescaleTo01Normalization",
    "RGBTo01Normalization",
]
"""nnU-Net's ways to normalise a channel."""

Axis: TypeAlias = Annotated[int, Field(ge=0, le=2)]
Order: TypeAlias = Annotated[int, Field(ge=0, le=5)]
"""Of a spline."""
Voxels: TypeAlias = Annotated[int, Field(ge=1, le=1 << 16)]
Millimetres: TypeAlias = Annotated[float, Field(gt=0, le=1e6)]


class NnUNetChannel(Settings):
    """How one channel is normalised."""

    scheme: Scheme
    """The class that does it."""
    use_mask: bool = False
    """Statistics over the inside of the non-zero region alone (z-score)."""
    mean: float = 0.0
    """Of the training set's foreground (CT)."""
    std: float = 1.0
    """Of the training set's foreground (CT)."""
    low: float = 0.0
    """Half a percent of the foreground lies below (CT)."""
    high: float = 0.0
    """Half a percent of the foreground lies above (CT)."""


class NnUNetResampling(Settings):
    """One of nnU-Net's functions for resampling, with its arguments."""

    function: Literal[
        "resample_data_or_seg_to_shape",
        "resample_torch_fornnunet",
        "no_resampling_hack",
    ] = "resample_data_or_seg_to_shape"
    """The function."""
    is_seg: bool = False
    """Labels: each is resampled on its own, the largest share wins."""
    order: Order = 3
    """Of the spline; within slices where those are resampled apart."""
    order_z: Order = 0
    """Across slices, where those are resampled apart."""
    force_separate_z: bool | None = None
    """Resample across slices apart; None: where the spacing is anisotropic."""
    separate_z_anisotropy_threshold: float = Field(default=3.0, gt=0)
    """Ratio of largest to smallest voxel side from which it is."""
    memefficient_seg_resampling: bool = False
    """Labels of torch's function: assign where more than half."""
    mode: str = Field(default="linear", pattern="^[a-z-]{1,20}$")
    """Of torch's function, within slices."""
    aniso_axis_mode: str = Field(default="nearest-exact", pattern="^[a-z-]{1,20}$")
    """Of torch's function, across slices."""


class FastAgreement(Settings):
    """How far fast mode's label maps were from those of exact mode, when measured."""

    num_scans: int = Field(ge=1)
    """Scans that were compared."""
    dice: dict[str, float]
    """Smallest Dice of each structure over the scans."""

    @property
    def smallest(self) -> float:
        """Of all structures and scans; 1 where there is nothing to compare."""
        return min(self.dice.values(), default=1.0)


class NnUNetRecipe(Settings):
    """Everything that nnU-Net's predictor needs besides the network."""

    kind: Literal["nnunet"] = "nnunet"
    """Whose predictor."""
    reader: Reader
    """Class that read the training scans: decides the order of axes."""
    orientation: str | None = Field(default=None, pattern="^[RL][AP][SI]$")
    """Axes of the training files, such as ``LPS``; scans are turned so first. None:
    scans are taken in the axes of their files, as nnU-Net does."""
    transpose: tuple[Axis, Axis, Axis] = (0, 1, 2)
    """``transpose_forward``: order in which the reader's axes are taken."""
    spacing: tuple[Millimetres, ...]
    """Voxel size of the network, after transposing; two numbers for slices."""
    patch_size: tuple[Voxels, ...]
    """Windows, in the same order."""
    channels: tuple[NnUNetChannel, ...]
    """Normalisation of each channel, in order."""
    resampling_data: NnUNetResampling
    """Of scans."""
    resampling_labels: NnUNetResampling
    """Of the previous stage's label map, in a cascade."""
    resampling_logits: NnUNetResampling
    """Of the network's answer."""
    mirror_axes: tuple[Axis, ...] = ()
    """Test-time flips, in the network's axes; none where training did not mirror."""
    foreground: tuple[int, ...]
    """All label values but background: a cascade's extra channels."""
    region_order: tuple[int, ...] = ()
    """``regions_class_order``: the value each region is painted with, in order; empty
    for plain labels."""
    keep_largest: tuple[tuple[int, ...], ...] = ()
    """Post-processing: unions of values of which only the largest component stays."""
    cascade: bool = False
    """Whether the network also sees the previous stage's label map; that model lies in
    ``previous_stage``, in this folder or beside it."""
    configuration: str = ""
    """Name of the configuration in plans.json."""
    trainer: str = ""
    """Class that trained it."""
    fast: FastAgreement | None = None
    """What fast mode was measured to differ by; None: it was not, and is refused."""

    @model_validator(mode="after")
    def _consistent(self) -> "NnUNetRecipe":
        if sorted(self.transpose) != [0, 1, 2]:
            raise ValueError(f"transpose {self.transpose}: no order of three axes")
        if len(self.spacing) != len(self.patch_size) or len(self.spacing) not in {2, 3}:
            raise ValueError(
                f"spacing {self.spacing} and patch_size {self.patch_size}: expected "
                "two numbers each, or three"
            )
        if any(axis >= len(self.patch_size) for axis in self.mirror_axes):
            raise ValueError(
                f"mirror_axes {self.mirror_axes}: there are {len(self.patch_size)}"
            )
        return self

    @property
    def spatial_dims(self) -> int:
        """2 for a network of slices, 3 for one of volumes."""
        return len(self.patch_size)

    @property
    def extra_channels(self) -> int:
        """Channels that the previous stage of a cascade adds to the scan's."""
        return len(self.foreground) if self.cascade else 0

    @property
    def axes(self) -> tuple[int, int, int]:
        """For each axis of nnU-Net's arrays, after transposing, the volume's axis.

        Readers give (k, j, i), whatever the format.
        """
        first, second, third = (2 - axis for axis in self.transpose)
        return (first, second, third)

    @property
    def turned_to(self) -> str | None:
        """The orientation that scans are turned to first; None leaves them."""
        if self.reader.endswith("WithReorient"):
            return "RAS"
        return self.orientation

    @property
    def tool(self) -> str:
        """What the model comes from."""
        return "nnU-Net"

    def origin(self, dataset: str) -> str:
        """Where the model comes from, in words."""
        return (
            f"nnU-Net: {self.configuration} of {dataset or 'unnamed data'}, trained by "
            f"{self.trainer}"
        )
