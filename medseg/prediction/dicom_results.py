"""What goes back to an archive with a scan: its segmentation and a report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.io.dicom.label_objects.object_headers import Algorithm
from medseg.io.dicom.label_objects.report_writing import write_report
from medseg.io.dicom.label_objects.segment_codes import (
    CodeTable,
    Segment,
    segments_of,
    without_code,
)
from medseg.io.dicom.label_objects.segmentation_writing import write_segmentation
from medseg.io.dicom.label_objects.structure_measurements import measure_structures
from medseg.io.dicom.series import Series
from medseg.model import Model
from medseg.prediction.attempts import Attempts
from medseg.prediction.records import Prediction
from medseg.prediction.scan import Scan
from medseg.progress import Progress
from medseg.volume import LabelMap

SUSPECT = "SUSPECT: scan or findings are unlike those of training"
"""Content Description of segmentations that are (at most 64 characters, DICOM LO)."""
SEGMENTATION, REPORT = "_seg.dcm", "_sr.dcm"
"""What the names of the objects end in."""
SEGMENTATION_OBJECT, REPORT_OBJECT = "DICOM segmentation", "DICOM report"
"""What they are called where they could not be written."""


@dataclass(frozen=True)
class DicomResults:
    """Writes the objects of a model's label maps.

    Attributes:
        model: What segmented.
        codes: Codes of structures.
        with_report: Whether measurements are reported too.
    """

    model: Model
    codes: CodeTable
    with_report: bool = False

    def write(
        self,
        scan: Scan,
        label_map: LabelMap,
        out: Path,
        *,
        notes: list[str],
        attempts: Attempts,
        doubts: Sequence[str] = (),
    ) -> list[str]:
        """Writes a segmentation, and a report where one is wanted, of a DICOM scan.

        Where the series cannot carry the one, the other is written all the same.

        Args:
            scan: What was segmented.
            label_map: On the scan's own grid, values as in files.
            out: Folder of the label maps.
            notes: Told why an object is not needed.
            attempts: Told why an object cannot be written.
            doubts: Why the result is suspect; for both objects.

        Returns:
            Names of the objects, below the folder.

        Raises:
            OutputError: The disk is full or read-only.
        """
        if scan.series is None:
            if self.with_report:
                notes.append("no DICOM series to refer to; no report was written")
            return []
        segments = segments_of(self.model.plan.labels.structures, self.codes)
        description = SUSPECT if doubts else None
        names: list[str] = []
        with attempts.of(SEGMENTATION_OBJECT, out / f"{scan.name}{SEGMENTATION}"):
            names += self._write_segmentation(
                scan, label_map, out, segments, notes, description
            )
        if self.with_report:
            has_segments = bool(names)
            with attempts.of(REPORT_OBJECT, out / f"{scan.name}{REPORT}"):
                names += self._write_report(
                    scan, label_map, out, segments, doubts, has_segments=has_segments
                )
        return names

    def is_complete(self, earlier: Prediction) -> bool:
        """Whether results of an earlier call hold all that is wanted now.

        What could not be made then cannot be made now: scan and model are the same.

        Args:
            earlier: What became of the scan.
        """
        has_segmentation = any(name.endswith(SEGMENTATION) for name in earlier.outputs)
        has_report = any(name.endswith(REPORT) for name in earlier.outputs)
        settled = has_segmentation or SEGMENTATION_OBJECT in earlier.not_written
        return (settled or not earlier.size) and (
            has_report or REPORT_OBJECT in earlier.not_written or not self.with_report
        )

    @property
    def _algorithm(self) -> Algorithm:
        return Algorithm(self.model.plan.name, self.model.identity)

    def _write_segmentation(
        self,
        scan: Scan,
        label_map: LabelMap,
        out: Path,
        segments: Sequence[Segment],
        notes: list[str],
        description: str | None,
    ) -> list[str]:
        """The segmentation object, filed with the image; none where it were empty."""
        name = f"{scan.name}{SEGMENTATION}"
        indices = self._indices(scan, label_map)
        if not indices.voxels.any():
            (out / name).unlink(missing_ok=True)  # of another model
            notes.append("no structure was found; no DICOM segmentation was written")
            return []
        write_segmentation(
            out / name,
            indices,
            _series_of(scan),
            segments=segments,
            algorithm=self._algorithm,
            content_description=description,
        )
        return [name]

    def _write_report(
        self,
        scan: Scan,
        label_map: LabelMap,
        out: Path,
        segments: Sequence[Segment],
        doubts: Sequence[str],
        *,
        has_segments: bool,
    ) -> list[str]:
        scheme, series = self.model.plan.labels, _series_of(scan)
        shown = self._indices(scan, label_map)
        if scheme.instances:  # numbers of objects, to be counted
            objects = np.where(
                label_map.voxels == scheme.background, 0, label_map.voxels
            )
            shown = LabelMap(objects, label_map.affine)
        name = f"{scan.name}{REPORT}"
        write_report(
            out / name,
            measure_structures(shown, series, segments, are_objects=scheme.instances),
            series,
            segmentation=out / f"{scan.name}{SEGMENTATION}" if has_segments else None,
            algorithm=self._algorithm,
            doubts=doubts,
        )
        return [name]

    def _indices(self, scan: Scan, label_map: LabelMap) -> LabelMap:
        scheme = self.model.plan.labels
        indices = scheme.to_indices(label_map.voxels, name=scan.name)
        return LabelMap(indices, label_map.affine)


def say_unknown(
    structures: Sequence[str], codes: CodeTable, progress: Progress
) -> None:
    """Says which structures have no code, before any of them is filed."""
    if unknown := without_code(structures, codes):
        progress.say(
            f"no code for {', '.join(unknown)}: filed as Tissue under that label; "
            "--codes TABLE names codes"
        )


def _series_of(scan: Scan) -> Series:
    assert scan.series is not None
    return scan.series
