"""What is measured, and how."""

import re
from typing import Literal

from pydantic import Field, model_validator

from medseg.errors import SettingsError
from medseg.evaluation.metrics import STRUCTURE_METRICS
from medseg.evaluation.surface import SurfaceKind
from medseg.labels import LabelScheme
from medseg.plugins import PluginSettings
from medseg.setting_errors import nearest_name
from medseg.settings import Settings

_COLUMNS = {"case_id", "patient_id", "structure", "outcome"} | {
    metric.name for metric in STRUCTURE_METRICS
}
"""What tables of scores hold already."""


class PluginMetricSettings(PluginSettings):
    """A metric of each structure by path: a class of `monai.metrics`, or a function.

    A function is called with two masks, boolean arrays (I, J, K), and ``spacing=``.
    """

    column: str = Field(default="", pattern=r"^[a-z0-9_]*$")
    """Column of the tables; by default its name in small letters."""
    worst: float | None = None
    """What a structure scores that is missed or invented, where the metric gives none;
    None leaves it out of the means, whose n says so."""

    larger_is_better: bool = True
    """False for distances and errors; comparisons rank by it."""

    @property
    def column_name(self) -> str:
        """Column of the tables."""
        own = self.name.rpartition(":")[2]
        return self.column or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", own).lower()


class MetricSettings(Settings):
    """Choices that change the numbers; each table of scores is saved with them."""

    tolerance_mm: float = Field(default=1.0, ge=0)
    """Distance within which two surfaces agree, for the surface Dice (NSD)."""
    tolerances_mm: dict[str, float] = {}
    """Other tolerances for single structures or regions, by name."""
    surface: SurfaceKind = "voxels"
    """``voxels``: each surface voxel counts the same (MONAI, SimpleITK); ``elements``:
    surface between voxel centres, weighted by area (DeepMind's package)."""
    distances: bool = True
    """Whether HD, HD95, ASSD and NSD are measured; overlap always is."""
    lesions: tuple[str, ...] | Literal["all"] = ()
    """Structures or regions that are scored lesion by lesion too."""
    lesion_coverage: float = Field(default=0.1, ge=0, le=1)
    """Share of a lesion's voxels that must be predicted for it to be detected; 0
    means a single voxel."""
    lesion_min_ml: float = Field(default=0.0, ge=0)
    """Components smaller than this are noise: in the reference they are no lesion, in
    the prediction no false positive."""
    lesion_size_edges_ml: tuple[float, ...] = (0.1, 1.0, 10.0)
    """Borders between the size bins of lesions, in ml."""
    instance_thresholds: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9)
    """IoU from which a predicted object is the reference object, 0.5 or more; used
    where the label scheme says that values are objects."""
    extra: tuple[PluginMetricSettings, ...] = ()
    """Metrics by path, beside medseg's own: a column each."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Level of the confidence intervals."""
    num_resamples: int = Field(default=2000, ge=100)
    """Bootstrap resamples behind each confidence interval."""
    seed: int = 0
    """Seed of the bootstrap."""

    @model_validator(mode="after")
    def _consistent(self) -> "MetricSettings":
        if list(self.lesion_size_edges_ml) != sorted(set(self.lesion_size_edges_ml)):
            raise ValueError(f"edges {self.lesion_size_edges_ml} do not grow")
        if any(not 0.5 <= value <= 1 for value in self.instance_thresholds):
            raise ValueError(
                f"thresholds {self.instance_thresholds}: each must lie between 0.5 "
                "and 1, where an object has at most one partner"
            )
        columns = [one.column_name for one in self.extra]
        taken = {*_COLUMNS, *(c for c in columns if columns.count(c) > 1)}
        for column in columns:
            if column in taken:
                raise ValueError(f"extra: column {column!r} is taken; set another")
        negative = [n for n, value in self.tolerances_mm.items() if value < 0]
        if negative:
            raise ValueError(f"tolerances of {negative} are negative")
        return self

    def require_names(self, scheme: LabelScheme) -> None:
        """Refuses names of structures or regions that a label scheme does not have.

        Raises:
            SettingsError: There are such; the nearest right name is given.
        """
        known = (*scheme.structures, *scheme.regions)
        lesions = () if self.lesions == "all" else self.lesions
        for key, names in (
            ("metrics.tolerances_mm", tuple(self.tolerances_mm)),
            ("metrics.lesions", lesions),
        ):
            for name in names:
                if name not in known:
                    raise SettingsError(
                        f"{key}: no structure or region is called {name!r}"
                        f"{nearest_name(name, known)}; known: {', '.join(known)}"
                    )

    def require_measured(self, column: str) -> None:
        """Refuses a column that tables of these settings do not have.

        Raises:
            SettingsError: Distances or lesions are not measured; says what to set.
        """
        if not self.distances and column in {"nsd", "hd_mm", "hd95_mm", "assd_mm"}:
            raise SettingsError(
                f"metric {column}: not measured with metrics.distances=false; set it "
                "to true"
            )
        lesions = {"lesion_sensitivity", "lesion_f1", "lesionwise_dice"}
        if not self.lesions and column in lesions | {"num_false_lesions"}:
            raise SettingsError(
                f"metric {column}: lesions are not scored; name their structures in "
                "metrics.lesions, or set it to all"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the tables that can be compared, the user's own at the end."""
        own = tuple(metric.column_name for metric in self.extra)
        return (*(metric.name for metric in STRUCTURE_METRICS), *own)

    @property
    def smaller_is_better(self) -> frozenset[str]:
        """Columns of the user's own metrics of which smaller values are better."""
        own = [metric for metric in self.extra if not metric.larger_is_better]
        return frozenset(metric.column_name for metric in own)

    def tolerance_of(self, structure: str) -> float:
        """Tolerance in mm that applies to a structure or region."""
        return self.tolerances_mm.get(structure, self.tolerance_mm)

    def scores_lesions_of(self, structure: str) -> bool:
        """Whether a structure or region is scored lesion by lesion."""
        return self.lesions == "all" or structure in self.lesions
