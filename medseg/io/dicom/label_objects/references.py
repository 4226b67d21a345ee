"""Which image a segmentation or structure set belongs to.

Label objects name the series and the slices that they were drawn on. Anonymisers and
planning systems leave these references out or stale; where the slices, or the frame
of reference and the planes, leave no doubt, the image is found nevertheless.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import InputError
from medseg.geometry import Grid
from medseg.io.dicom.frame import Correction
from medseg.io.dicom.series import Series


@dataclass(frozen=True)
class LabelledImage:
    """An image that labels may refer to.

    Attributes:
        name: What its results are called.
        series: Its slices.
        grid: The grid that its volume was given.
    """

    name: str
    series: Series
    grid: Grid


@dataclass(frozen=True)
class ImageReferences:
    """What a label object says about its image; each part may be empty.

    Attributes:
        series: SeriesInstanceUIDs.
        instances: SOPInstanceUIDs of slices.
        frames_of_reference: FrameOfReferenceUIDs.
        patient: PatientID.
    """

    series: frozenset[str]
    instances: frozenset[str]
    frames_of_reference: frozenset[str]
    patient: str

    @classmethod
    def of(
        cls,
        *,
        series: Iterable[str],
        instances: Iterable[str],
        frames_of_reference: Iterable[str],
        patient: str,
    ) -> "ImageReferences":
        """References without those that are empty."""
        return cls(
            frozenset(series) - {""},
            frozenset(instances) - {""},
            frozenset(frames_of_reference) - {""},
            patient,
        )

    def find(
        self,
        images: Sequence[LabelledImage],
        *,
        path: Path,
        fits: Callable[[Series], bool],
        corrections: list[Correction],
    ) -> LabelledImage | None:
        """The image that the labels belong to; None where none is meant for sure.

        Args:
            images: The images at hand.
            path: The label object, for messages.
            fits: Whether the object's planes are slices of a series.
            corrections: Told where the object's own reference is stale.

        Raises:
            InputError: Several images may be meant.
        """
        named = [
            i for i in images if i.series.attributes["SeriesInstanceUID"] in self.series
        ]
        if len(named) == 1:
            return named[0]
        if named:
            return self._narrowed(named, path)
        for found, how in (
            ([i for i in images if self._names_slices_of(i)], "its slices"),
            (
                [i for i in images if self._shares_frame(i) and fits(i.series)],
                "frame of reference and planes",
            ),
        ):
            if found:
                image = found[0] if len(found) == 1 else self._narrowed(found, path)
                text = (
                    f"the series that it names is not here; {how} are those of "
                    f"{image.name}"
                )
                corrections.append(Correction("reference", text))
                return image
        return None

    def _narrowed(self, images: Sequence[LabelledImage], path: Path) -> LabelledImage:
        """The one of several images whose slices, else whose patient, is named.

        Raises:
            InputError: It cannot be told.
        """
        for meant in (
            [image for image in images if self._names_slices_of(image)],
            [i for i in images if i.series.attributes["PatientID"] == self.patient],
        ):
            if len(meant) == 1:
                return meant[0]
        raise InputError(
            f"{path}: it may belong to any of {len(images)} volumes and does not say "
            "to which; choose one by --series Part=... or --series Number=..."
        )

    def _names_slices_of(self, image: LabelledImage) -> bool:
        return any(f.sop_uid in self.instances for f in image.series.frames)

    def _shares_frame(self, image: LabelledImage) -> bool:
        attributes = image.series.attributes
        return attributes[
            "FrameOfReferenceUID"
        ] in self.frames_of_reference and attributes["PatientID"] in (self.patient, "")
