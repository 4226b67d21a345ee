"""What a data set is like, measured: the ground on which a plan is made."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from medseg.datasets import Dataset
from medseg.errors import SettingsError, StoreError
from medseg.files import write_text
from medseg.preparation.case_facts import CaseFacts, MeasuredCase
from medseg.settings import Settings

LOWEST_AIR_HU = -500
"""A CT reaches air below this in most scans; no other modality goes there."""
FAINTEST_PERCENT = 5.0
"""So many pictures may have less contrast than is taken for usual."""


class IntensityFacts(Settings):
    """One channel over the whole data set."""

    name: str
    """What the channel holds."""
    modality: Literal["ct", "other"]
    """Whether intensities are Hounsfield units."""
    modality_reason: str
    """Why."""
    mean: float
    """Mean inside the structures."""
    std: float
    """Deviation inside the structures."""
    median: float
    """Median inside the structures."""
    percentile_00_5: float
    """0.5th percentile inside the structures."""
    percentile_99_5: float
    """99.5th percentile inside the structures."""
    smallest: float
    """Lowest intensity of any scan."""
    largest: float
    """Highest intensity of any scan."""
    integer_cases: int
    """Cases whose intensities are all whole numbers."""
    zero_fraction: float
    """Share of exact zeros, median over cases."""
    spreads: tuple[float, float] | None = None
    """What all but the faintest twentieth of the pictures that show a structure
    reach of `ChannelFacts.spreads`; None of scans, and where it was not measured."""


class ClassFacts(Settings):
    """One structure over the whole data set."""

    name: str
    """Name in the label scheme."""
    num_cases: int
    """Cases that show it."""
    voxels: int
    """Voxels of it in all cases."""
    fraction: float
    """Share of all scored voxels."""
    num_components: int
    """Connected components in all cases."""
    component_voxels: tuple[float, float, float]
    """Smallest, median and largest component, in voxels."""


class Fingerprint(Settings):
    """Everything that was measured on a data set."""

    name: str
    """Name of the data set."""
    key: str = ""
    """Hash of the files it was measured on."""
    num_cases: int
    """Labelled cases that could be read."""
    channels: tuple[IntensityFacts, ...]
    """One entry per channel."""
    classes: tuple[ClassFacts, ...]
    """One entry per structure."""
    pictures: bool
    """Whether the images are pictures (PNG, JPEG, TIFF) without anatomical axes."""
    cases: tuple[CaseFacts, ...]
    """One entry per case."""

    @property
    def spacings(self) -> np.ndarray:
        """Voxel sizes in mm, shape (cases, 3)."""
        return np.asarray([case.spacing for case in self.cases], dtype=float)

    @property
    def shapes(self) -> np.ndarray:
        """Voxels along each axis, shape (cases, 3)."""
        return np.asarray([case.shape for case in self.cases], dtype=float)

    @property
    def cropped_shapes(self) -> np.ndarray:
        """The same without all-zero margins, shape (cases, 3)."""
        return np.asarray([case.cropped_shape for case in self.cases], dtype=float)

    def permuted(self, axes: tuple[int, int, int]) -> "Fingerprint":
        """The same data set, its axes in another order."""
        cases = tuple(
            case.model_copy(
                update={
                    "shape": tuple(case.shape[axis] for axis in axes),
                    "cropped_shape": tuple(case.cropped_shape[axis] for axis in axes),
                    "spacing": tuple(case.spacing[axis] for axis in axes),
                }
            )
            for case in self.cases
        )
        return self.model_copy(update={"cases": cases})


def summarize_cases(
    dataset: Dataset, measured: Sequence[MeasuredCase], *, pictures: bool, key: str
) -> Fingerprint:
    """The fingerprint of a data set, from the measurements of its cases."""
    facts = [case.facts for case in measured]
    samples = np.concatenate([case.samples for case in measured], axis=1)
    return Fingerprint(
        name=dataset.name,
        key=key,
        num_cases=len(facts),
        channels=tuple(
            _intensities(name, number, facts, samples[number])
            for number, name in enumerate(dataset.channels)
        ),
        classes=tuple(
            _class_facts(name, number, measured)
            for number, name in enumerate(dataset.scheme.structures)
        ),
        pictures=pictures,
        cases=tuple(facts),
    )


def read_fingerprint(path: Path) -> Fingerprint:
    """The fingerprint that a file holds.

    Raises:
        StoreError: The file is missing or holds something else.
    """
    try:
        return Fingerprint.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, SettingsError) as error:
        raise StoreError(
            f"{path}: cannot be read as a fingerprint; run `medseg prepare` again"
        ) from error


def write_fingerprint(path: Path, fingerprint: Fingerprint) -> None:
    """Writes a fingerprint as JSON.

    Raises:
        OutputError: The file cannot be written.
    """
    write_text(path, fingerprint.model_dump_json(indent=1))


def _intensities(
    name: str, number: int, facts: Sequence[CaseFacts], samples: np.ndarray
) -> IntensityFacts:
    channels = [case.channels[number] for case in facts]
    inside = samples.astype(np.float64) if samples.size else np.zeros(1)
    low, median, high = (float(p) for p in np.percentile(inside, [0.5, 50, 99.5]))
    lowest = [channel.smallest for channel in channels]
    integer = sum(channel.integer for channel in channels)
    modality, reason = _modality(name, float(np.median(lowest)), integer, len(facts))
    return IntensityFacts(
        name=name,
        modality=modality,
        modality_reason=reason,
        mean=float(inside.mean()),
        std=float(inside.std()),
        median=median,
        percentile_00_5=low,
        percentile_99_5=high,
        smallest=min(lowest),
        largest=max(channel.largest for channel in channels),
        integer_cases=integer,
        zero_fraction=float(np.median([c.zero_fraction for c in channels])),
        spreads=_usual_spreads(number, facts),
    )


def _usual_spreads(
    number: int, facts: Sequence[CaseFacts]
) -> tuple[float, float] | None:
    """Of one channel: see `IntensityFacts.spreads`."""
    found = [
        spreads
        for case in facts
        if (spreads := case.channels[number].spreads) and sum(case.num_voxels[1:])
    ]
    if not found:
        return None
    narrow, wide = np.percentile(found, FAINTEST_PERCENT, axis=0)
    return float(narrow), float(wide)


def _modality(
    name: str, lowest: float, integer: int, cases: int
) -> tuple[Literal["ct", "other"], str]:
    if name.strip().upper() == "CT":
        return "ct", "the data set calls the channel CT"
    if lowest <= LOWEST_AIR_HU and 2 * integer > cases:
        return "ct", (
            f"the lowest intensity is {lowest:g} (median over cases) and {integer} of "
            f"{cases} cases hold whole numbers, as Hounsfield units do"
        )
    return "other", f"no CT, as the lowest intensity is {lowest:g} (median over cases)"


def _class_facts(
    name: str, number: int, measured: Sequence[MeasuredCase]
) -> ClassFacts:
    voxels = [case.facts.num_voxels[number + 1] for case in measured]
    sizes = np.concatenate([case.component_voxels[number] for case in measured])
    scored = sum(sum(case.facts.num_voxels) for case in measured)
    three = np.percentile(sizes, [0, 50, 100]) if len(sizes) else np.zeros(3)
    return ClassFacts(
        name=name,
        num_cases=sum(count > 0 for count in voxels),
        voxels=sum(voxels),
        fraction=sum(voxels) / max(scored, 1),
        num_components=len(sizes),
        component_voxels=(float(three[0]), float(three[1]), float(three[2])),
    )
