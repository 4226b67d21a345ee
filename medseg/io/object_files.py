"""Label maps of single objects for ImageJ and Fiji, QuPath, and napari.

References:
    ROI files: https://imagej.net/ij/source/ij/io/RoiDecoder.java, written by roifile.
    GeoJSON: RFC 7946, with QuPath's properties,
        https://qupath.readthedocs.io/en/stable/docs/advanced/exporting_annotations.html
    OME-TIFF: https://docs.openmicroscopy.org/ome-model/latest/ome-tiff/
"""

import json
from collections.abc import Iterable
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import numpy as np

from medseg.errors import SettingsError
from medseg.extras import how_to_install
from medseg.files import atomic_write
from medseg.geometry import spacing_of
from medseg.instances.edges import ObjectOutline, outlines_of
from medseg.structure_colors import rgb_of
from medseg.types import Affine
from medseg.volume import LabelMap

_MOVE_TO, _LINE_TO, _CLOSE = 0.0, 1.0, 4.0
"""Steps of a path, as java.awt.geom.PathIterator numbers them."""
_TILE = 512


class ObjectFormat(StrEnum):
    """What a label map of objects can be written as besides."""

    ROI = "roi"
    """A zip of regions of interest, for the ROI Manager of ImageJ and Fiji."""
    GEOJSON = "geojson"
    """Detections for QuPath."""
    OME_TIFF = "ome-tiff"
    """Labels with their pixel size, for napari and all that read OME-TIFF."""

    @property
    def ending(self) -> str:
        """What follows the picture's name in that of the file."""
        endings = {
            ObjectFormat.ROI: "_rois.zip",
            ObjectFormat.GEOJSON: ".geojson",
            ObjectFormat.OME_TIFF: "_labels.ome.tif",
        }
        return endings[self]


def parse_formats(text: str) -> tuple[ObjectFormat, ...]:
    """Formats from words such as ``"roi,geojson"``.

    Raises:
        SettingsError: There is no such format, or its library is not installed.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    known = [str(one) for one in ObjectFormat]
    if unknown := [word for word in words if word not in known]:
        raise SettingsError(
            f"cells as {', '.join(unknown)}: expected some of {', '.join(known)}"
        )
    formats = tuple(ObjectFormat(word) for word in dict.fromkeys(words))
    if ObjectFormat.ROI in formats and find_spec("roifile") is None:
        raise SettingsError(f"ROI files need roifile: {how_to_install('cells')}")
    return formats


def write_objects(
    path: Path,
    label_map: LabelMap,
    *,
    as_format: ObjectFormat,
    name: str = "cell",
    background: int = 0,
) -> None:
    """Writes the objects of a label map in another program's format.

    Args:
        path: The file.
        label_map: One value per object.
        as_format: For which program.
        name: What the objects are called.
        background: The value outside of objects.

    Raises:
        OutputError: The file cannot be written.
    """
    if as_format is ObjectFormat.OME_TIFF:
        write_ome_labels(path, label_map, background=background)
        return
    outlines = outlines_of(label_map.voxels, background=background)
    num_planes = label_map.voxels.shape[2]
    if as_format is ObjectFormat.ROI:
        write_rois(path, outlines, num_planes=num_planes)
    else:
        write_geojson(path, outlines, name=name, num_planes=num_planes)


def write_rois(
    path: Path, outlines: Iterable[ObjectOutline], *, num_planes: int = 1
) -> None:
    """Writes a zip with a region of interest for each object, called by its number.

    An object of one ring is a traced one, others (with holes, in parts) are composite.

    Args:
        path: The zip.
        outlines: Of the objects.
        num_planes: Of the picture; in a stack each region says which one it is of.

    Raises:
        OutputError: The file cannot be written.
    """
    with (
        atomic_write(path) as temporary,
        ZipFile(temporary, "w", ZIP_DEFLATED) as archive,
    ):
        for outline in outlines:
            name = f"{outline.label:05d}"
            if num_planes > 1:
                name = f"{name}-{outline.plane + 1:04d}"
            roi = _roi(outline, name, in_stack=num_planes > 1)
            # a fixed date: the same objects make the same file
            archive.writestr(ZipInfo(f"{name}.roi"), roi.tobytes())


def _roi(outline: ObjectOutline, name: str, *, in_stack: bool) -> Any:
    import roifile

    rings = outline.rings
    points = np.concatenate(rings)
    position = outline.plane if in_stack else None
    roi = roifile.ImagejRoi.frompoints(points, name=name, position=position)
    roi.roitype = roifile.ROI_TYPE.TRACED
    roi.right, roi.bottom = (int(side) for side in points.max(axis=0))
    if len(rings) > 1:
        roi.roitype = roifile.ROI_TYPE.RECT
        roi.integer_coordinates = None
        roi.n_coordinates = 0
        roi.multi_coordinates = _path(rings)
        roi.shape_roi_size = len(roi.multi_coordinates)
    return roi


def _path(rings: list[np.ndarray]) -> np.ndarray:
    """Rings as ImageJ's shape path, which fills by the even-odd rule."""
    steps: list[float] = []
    for ring in rings:
        for number, (x, y) in enumerate(ring.tolist()):
            steps += [_LINE_TO if number else _MOVE_TO, x, y]
        steps.append(_CLOSE)
    return np.array(steps, np.float32)


def write_geojson(
    path: Path,
    outlines: Iterable[ObjectOutline],
    *,
    name: str = "cell",
    num_planes: int = 1,
) -> None:
    """Writes a FeatureCollection of detections, coordinates in pixels.

    Args:
        path: The file.
        outlines: Of the objects.
        name: Class of the objects.
        num_planes: Of the picture; in a stack each object says which one it is of.

    Raises:
        OutputError: The file cannot be written.
    """
    with (
        atomic_write(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        file.write('{"type":"FeatureCollection","features":[')
        for number, outline in enumerate(outlines):
            feature = _feature(outline, name, in_stack=num_planes > 1)
            text = json.dumps(feature, separators=(",", ":"))
            file.write(f",{text}" if number else text)
        file.write("]}")


def _feature(outline: ObjectOutline, name: str, *, in_stack: bool) -> dict[str, Any]:
    polygons = [[_closed(ring) for ring in part] for part in outline.parts]
    is_one = len(polygons) == 1
    geometry: dict[str, Any] = {
        "type": "Polygon" if is_one else "MultiPolygon",
        "coordinates": polygons[0] if is_one else polygons,
    }
    if in_stack:
        geometry["plane"] = {"c": -1, "z": outline.plane, "t": 0}
    return {
        "type": "Feature",
        "id": str(uuid5(NAMESPACE_URL, f"{name} {outline.label} {outline.plane}")),
        "geometry": geometry,
        "properties": {
            "objectType": "detection",
            "isLocked": False,
            "name": str(outline.label),
            "classification": {"name": name, "color": list(rgb_of(1))},
            "measurements": {"label": outline.label},
        },
    }


def _closed(ring: np.ndarray) -> list[list[int]]:
    points: list[list[int]] = ring.tolist()
    return [*points, points[0]]


def write_ome_labels(path: Path, label_map: LabelMap, *, background: int = 0) -> None:
    """Writes an OME-TIFF of object numbers, 0 outside, with the pixel size in µm.

    Args:
        path: The file, which programs know by ``.ome.tif``.
        label_map: One value per object.
        background: The value outside of objects.

    Raises:
        OutputError: The file cannot be written.
    """
    import tifffile

    voxels = np.where(label_map.voxels == background, 0, label_map.voxels)
    voxels = voxels.astype(np.min_scalar_type(int(voxels.max(initial=0))))
    planes = voxels.transpose(2, 1, 0)
    is_flat = len(planes) == 1
    metadata = ome_metadata(path.name, label_map.affine, is_flat=is_flat)
    with atomic_write(path) as temporary:
        tifffile.imwrite(
            temporary,
            planes[0] if is_flat else planes,
            ome=True,
            photometric="minisblack",
            tile=(_TILE, _TILE),
            compression="zlib",
            metadata=metadata,
            bigtiff=voxels.nbytes > 2**31,
        )


def ome_metadata(name: str, affine: Affine, *, is_flat: bool) -> dict[str, Any]:
    """What an OME-TIFF of labels says of itself, as tifffile takes it.

    Args:
        name: Of the image.
        affine: Of its grid; the identity says that the pixel size is not known.
        is_flat: Whether it is a single plane.
    """
    metadata: dict[str, Any] = {"axes": "YX" if is_flat else "ZYX", "Name": name}
    if not np.array_equal(affine, np.eye(4)):
        axes = "XY" if is_flat else "XYZ"
        for axis, mm in zip(axes, spacing_of(affine), strict=False):
            metadata[f"PhysicalSize{axis}"] = mm * 1000
            metadata[f"PhysicalSize{axis}Unit"] = "µm"
    return metadata
