"""Segmentation objects that store few planes: each stays as thick as its slice."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dicom_phantom import ORIENTATIONS, voxels, write_series
from pydicom import dcmread
from pydicom.dataset import Dataset

from medseg.errors import GeometryError
from medseg.io import read_label_map
from medseg.io.dicom import Kind, Series, find_series, read_series
from medseg.io.dicom.label_objects.labels import read_labels
from medseg.io.dicom.label_objects.references import LabelledImage
from medseg.io.dicom.label_objects.segment_codes import load_codes, segment_for
from medseg.io.dicom.label_objects.segmentation_writing import (
    SegmentationType,
    write_segmentation,
)
from medseg.io.dicom.label_objects.structure_choice import StructureChoice
from medseg.volume import LabelMap

PIXEL_MM2 = 0.8 * 0.5


def measures(dataset: Dataset) -> Dataset:
    shared = dataset.SharedFunctionalGroupsSequence[0]
    return shared.PixelMeasuresSequence[0]


def absent(dataset: Dataset) -> None:
    del measures(dataset).SpacingBetweenSlices


def negative(dataset: Dataset) -> None:
    measures(dataset).SpacingBetweenSlices = -2.5


def zero(dataset: Dataset) -> None:
    measures(dataset).SpacingBetweenSlices = 0


def of_stored_planes(dataset: Dataset) -> None:
    measures(dataset).SpacingBetweenSlices = 12.5


def odd(dataset: Dataset) -> None:
    measures(dataset).SpacingBetweenSlices = 3.3


def per_frame(dataset: Dataset) -> None:
    shared = dataset.SharedFunctionalGroupsSequence[0]
    for group in dataset.PerFrameFunctionalGroupsSequence:
        group.PixelMeasuresSequence = shared.PixelMeasuresSequence
    del shared.PixelMeasuresSequence


def per_frame_negative(dataset: Dataset) -> None:
    negative(dataset)
    per_frame(dataset)


EDITS = [absent, negative, zero, of_stored_planes, odd, per_frame, per_frame_negative]


def segmented(
    folder: Path, planes: tuple[int, ...], edit: Callable[[Dataset], None], **kind: str
) -> tuple[Series, Path, np.ndarray]:
    """A CT of ten slices, a segmentation of some of them, and the label map."""
    write_series(
        folder / "ct",
        voxels((12, 14, 10)),
        orientation=ORIENTATIONS[kind.get("plane", "axial")],
    )
    (series,) = find_series(folder / "ct").volumes
    grid = read_series(series).volume.grid
    labels = np.zeros(grid.shape, np.uint8)
    for k in planes:
        labels[2:8, 3:9, k] = 1
    path = folder / "seg.dcm"
    write_segmentation(
        path,
        LabelMap(labels, grid.affine),
        series,
        segments=[segment_for("tumour", 1, load_codes())],
        kind=SegmentationType(kind.get("kind", "binary")),
    )
    dataset = dcmread(path)
    edit(dataset)
    dataset.save_as(path)
    return series, path, labels


@pytest.mark.parametrize("edit", EDITS, ids=lambda e: e.__name__)
@pytest.mark.parametrize("planes", [(2, 7), (4,), (0, 3, 6, 9)])
def test_planes_are_as_thick_as_the_images_slices(
    tmp_path: Path, planes: tuple[int, ...], edit: Callable[[Dataset], None]
) -> None:
    series, path, labels = segmented(tmp_path, planes, edit)
    images = [LabelledImage("ct", series, read_series(series).volume.grid)]
    choice = StructureChoice.of_names(["tumour"])
    found = read_labels(path, Kind.SEGMENTATION, images, choice)
    np.testing.assert_array_equal(found.label_map.voxels, labels)


@pytest.mark.parametrize("kind", ["labelmap", "fractional"])
@pytest.mark.parametrize("plane", ["sagittal", "oblique"])
def test_so_are_those_of_other_kinds_and_planes(
    tmp_path: Path, kind: str, plane: str
) -> None:
    series, path, labels = segmented(tmp_path, (2, 7), absent, kind=kind, plane=plane)
    images = [LabelledImage("ct", series, read_series(series).volume.grid)]
    choice = StructureChoice.of_names(["tumour"])
    found = read_labels(path, Kind.SEGMENTATION, images, choice)
    np.testing.assert_array_equal(found.label_map.voxels, labels)


@pytest.mark.parametrize("edit", EDITS, ids=lambda e: e.__name__)
@pytest.mark.parametrize("planes", [(2, 7), (3, 4, 5)])
def test_without_its_image_the_volume_is_the_same(
    tmp_path: Path, planes: tuple[int, ...], edit: Callable[[Dataset], None]
) -> None:
    _, path, labels = segmented(tmp_path, planes, edit)
    found = read_label_map(path)
    volume = np.count_nonzero(found.voxels) * np.prod(found.grid.spacing)
    assert volume == pytest.approx(np.count_nonzero(labels) * PIXEL_MM2 * 2.5)


def test_two_planes_that_say_nothing_of_their_distance_are_refused(
    tmp_path: Path,
) -> None:
    def bare(dataset: Dataset) -> None:
        absent(dataset)
        del measures(dataset).SliceThickness

    _, path, _ = segmented(tmp_path, (2, 7), bare)
    with pytest.raises(GeometryError, match="nothing says how thick its planes are"):
        read_label_map(path)


def test_thick_planes_on_a_finer_grid_stay_thick(tmp_path: Path) -> None:
    _, path, _ = segmented(tmp_path, (3, 4, 5), lambda _: None)
    write_series(
        tmp_path / "fine", voxels((12, 14, 50)), heights=[0.5 * k for k in range(50)]
    )
    (fine,) = find_series(tmp_path / "fine").volumes
    images = [LabelledImage("fine", fine, read_series(fine).volume.grid)]
    choice = StructureChoice.of_names(["tumour"])
    found = read_labels(path, Kind.SEGMENTATION, images, choice).label_map
    assert found.voxels.sum(axis=(0, 1)).tolist() == [0] * 13 + [36] * 15 + [0] * 22


def test_a_stale_series_gives_way_to_slices_and_planes(tmp_path: Path) -> None:
    def stale(dataset: Dataset) -> None:
        dataset.ReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.3.4"

    series, path, labels = segmented(tmp_path, (2, 7), stale)
    images = [LabelledImage("ct", series, read_series(series).volume.grid)]
    choice = StructureChoice.of_names(["tumour"])
    found = read_labels(path, Kind.SEGMENTATION, images, choice)
    np.testing.assert_array_equal(found.label_map.voxels, labels)
    assert [str(c) for c in found.corrections] == [
        "reference: the series that it names is not here; its slices are those of ct"
    ]
