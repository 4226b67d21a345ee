"""What a MONAI bundle does with a scan, as an imported model keeps it.

A model that was imported from a bundle has a `BundleRecipe` in its model.yaml (under
``exact``): the transforms before and after the network and the inferer, as plain
values. Only what this module lists can be kept, so that whoever reads a model.yaml of
unknown origin builds these transforms of MONAI and nothing else.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, JsonValue, model_validator

from medseg.setting_errors import nearest_name
from medseg.settings import Settings

_EVERY = "keys allow_missing_keys"

BEFORE: Mapping[str, str] = {
    "Orientationd": "axcodes as_closest_canonical",
    "Spacingd": "pixdim diagonal mode padding_mode align_corners dtype scale_extent "
    "recompute_affine min_pixdim max_pixdim ensure_same_shape",
    "Resized": "spatial_size size_mode mode align_corners anti_aliasing "
    "anti_aliasing_sigma dtype",
    "SpatialPadd": "spatial_size method mode value constant_values",
    "DivisiblePadd": "k mode method value constant_values",
    "BorderPadd": "spatial_border mode value constant_values",
    "ResizeWithPadOrCropd": "spatial_size mode method value constant_values",
    "CenterSpatialCropd": "roi_size",
    "CropForegroundd": "source_key select_fn channel_indices margin allow_smaller "
    "k_divisible mode value constant_values",
    "ScaleIntensityd": "minv maxv factor channel_wise dtype",
    "ScaleIntensityRanged": "a_min a_max b_min b_max clip dtype",
    "ScaleIntensityRangePercentilesd": "lower upper b_min b_max clip relative "
    "channel_wise dtype",
    "ClipIntensityPercentilesd": "lower upper sharpness_factor channel_wise dtype",
    "NormalizeIntensityd": "subtrahend divisor nonzero channel_wise dtype",
    "ThresholdIntensityd": "threshold above cval",
    "ConcatItemsd": "name dim",
    "EnsureTyped": "data_type dtype wrap_sequence track_meta",
    "CastToTyped": "dtype",
    "ToTensord": "dtype wrap_sequence track_meta",
}
"""Transforms from a scan to the network's input, with the arguments they may have."""

AFTER: Mapping[str, str] = {
    "Activationsd": "sigmoid softmax",
    "AsDiscreted": "argmax to_onehot threshold rounding",
    "Invertd": "orig_keys nearest_interp to_tensor",
    "KeepLargestConnectedComponentd": "applied_labels is_onehot independent "
    "connectivity num_components",
    "FillHolesd": "applied_labels connectivity",
    "RemoveSmallObjectsd": "min_size connectivity independent_channels by_measure "
    "pixdim",
    "LabelFilterd": "applied_labels",
    "MapLabelValued": "orig_labels target_labels dtype",
    "EnsureTyped": BEFORE["EnsureTyped"],
    "CastToTyped": BEFORE["CastToTyped"],
    "ToTensord": BEFORE["ToTensord"],
}
"""Transforms from the network's answer to labels, with their arguments."""

DTYPES = ("float16", "float32", "float64", "uint8", "int16", "int32", "int64", "bool")
"""Number types that an argument ``dtype`` may name."""

SELECTION = re.compile(r"x (>|>=|<|<=|!=) (-?\d+(?:\.\d+)?)")
"""What ``select_fn`` of CropForegroundd may be: a comparison with a number."""

IMAGE, PREDICTION = "image", "pred"
"""What MONAI's evaluator calls the network's input and its answer."""

Length: TypeAlias = Annotated[int, Field(ge=1, le=1 << 14)]


def arguments_of(name: str, known: Mapping[str, str]) -> frozenset[str]:
    """The arguments that a transform may have."""
    return frozenset(f"{known[name]} {_EVERY}".split())


class BundleTransform(Settings):
    """One of MONAI's dictionary transforms, with its arguments."""

    name: str
    """The class, such as ``Spacingd``."""
    args: dict[str, JsonValue] = {}
    """Its arguments by MONAI's names; number types as text."""

    def require_known(self, known: Mapping[str, str]) -> None:
        """Refuses what is not in a list of transforms.

        Raises:
            ValueError: The transform or an argument is not in it.
        """
        if self.name not in known:
            near = nearest_name(self.name, known)
            raise ValueError(f"transform {self.name} is not known{near}")
        allowed = arguments_of(self.name, known)
        if strange := sorted(set(self.args) - allowed):
            near = nearest_name(strange[0], allowed)
            raise ValueError(f"{self.name}: argument {strange[0]} is not known{near}")
        for key in {"dtype"} & set(self.args):
            if self.args[key] not in {*DTYPES, None}:
                raise ValueError(f"{self.name}: {key} is {self.args[key]!r:.40}")
        chosen = self.args.get("select_fn")
        if chosen is not None and not (
            isinstance(chosen, str) and SELECTION.fullmatch(chosen)
        ):
            raise ValueError(f"{self.name}: select_fn is {chosen!r:.80}")


class BundleInferer(Settings):
    """How the network goes over a scan, by MONAI's names."""

    name: Literal[
        "SimpleInferer",
        "SlidingWindowInferer",
        "SlidingWindowInfererAdapt",
        "SliceInferer",
    ] = "SimpleInferer"
    """The class; ``SimpleInferer`` takes the scan as a whole."""
    roi_size: tuple[Annotated[int, Field(ge=-1, le=1 << 14)], ...] = ()
    """Voxels of a window along each axis; -1 for all."""
    sw_batch_size: Length = 1
    """Windows per pass."""
    overlap: (
        Annotated[float, Field(ge=0, lt=1)]
        | tuple[Annotated[float, Field(ge=0, lt=1)], ...]
    ) = 0.25
    """Share of a window that its neighbour covers again."""
    mode: Literal["constant", "gaussian"] = "constant"
    """Weights of a window's voxels."""
    sigma_scale: float | tuple[float, ...] = 0.125
    """Deviation of the Gaussian as a share of the window."""
    padding_mode: Literal["constant", "reflect", "replicate", "circular"] = "constant"
    """How scans smaller than a window are filled up."""
    cval: float = 0.0
    """With what, for ``constant``."""
    spatial_dim: Annotated[int, Field(ge=0, le=2)] = 0
    """The axis across slices (``SliceInferer``)."""


class BundleSaving(Settings):
    """What MONAI's ``SaveImaged`` does to a label map before it is written."""

    resample: bool = False
    """Bring it onto the scan's own grid."""
    mode: Literal["nearest", "bilinear"] = "nearest"
    """How."""
    padding_mode: Literal["border", "zeros", "reflection"] = "border"
    """What lies outside."""


class BundleRecipe(Settings):
    """Everything that a bundle's inference needs besides the network."""

    kind: Literal["monai"] = "monai"
    """Whose inference."""
    inputs: tuple[str, ...] = (IMAGE,)
    """Keys of the items that are loaded: one with all channels, or one for each."""
    before: tuple[BundleTransform, ...] = ()
    """From the scan to the network's input."""
    inferer: BundleInferer = BundleInferer()
    """How the network goes over it."""
    after: tuple[BundleTransform, ...] = ()
    """From the network's answer to labels."""
    saving: BundleSaving = BundleSaving()
    """What is done to the label map when it is written."""
    answer: Literal["labels", "onehot", "masks"]
    """What ``after`` ends in: one channel of label values, one channel for each label,
    or overlapping masks, of which a label map holds the sum of powers of two."""
    version: str = ""
    """Of the bundle."""
    monai: str = ""
    """Version of MONAI that the bundle was made with."""

    @model_validator(mode="after")
    def _only_what_is_known(self) -> "BundleRecipe":
        for step in self.before:
            step.require_known(BEFORE)
        for step in self.after:
            step.require_known(AFTER)
        return self

    @property
    def cascade(self) -> bool:
        """Whether the network needs another one before it: no bundle does."""
        return False

    @property
    def extra_channels(self) -> int:
        """Channels besides the scan's: none."""
        return 0

    @property
    def keep_largest(self) -> tuple[tuple[int, ...], ...]:
        """Post-processing outside of `after`: none."""
        return ()

    @property
    def fast(self) -> None:
        """What fast mode was measured to differ by: it is not known for bundles."""
        return

    @property
    def tool(self) -> str:
        """What the model comes from."""
        return "MONAI"

    def origin(self, dataset: str) -> str:
        """Where the model comes from, in words."""
        return (
            f"a MONAI bundle{f' {self.version}' if self.version else ''}, trained on "
            f"{dataset or 'unnamed data'}"
        )
