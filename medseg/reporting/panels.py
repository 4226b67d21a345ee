"""Slices of a scan, turned and scaled the way radiologists look at them.

Anatomical scans are brought closest to RAS+ and shown in radiological view: the
patient's right is on the left of axial and coronal panels, anterior is on top of axial
and on the left of sagittal ones, superior is on top. Panels run along the voxel axes
nearest to the body's; oblique scans are not resampled. Pictures are shown as they are.
Where an affine is a placeholder, nobody knows which side is which: no letters then.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from medseg.geometry import canonical_reorientation, says_nothing, spacing_of
from medseg.labels import IGNORE_INDEX, LabelScheme
from medseg.reporting.clearest_channel import box_around, clearest_channel
from medseg.volume import LabelMap, Volume

Plane: TypeAlias = Literal["axial", "coronal", "sagittal", "picture"]

_PERPENDICULAR: dict[Plane, int] = {"axial": 2, "coronal": 1, "sagittal": 0}
_LETTERS = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}
_MOST_SAMPLES = 500_000


@dataclass(frozen=True)
class Panel:
    """One slice, rows from top to bottom, columns from left to right."""

    plane: Plane
    image: np.ndarray
    """Grey values from 0 to 1, shape (rows, columns); colours (rows, columns, 3)."""
    prediction: np.ndarray
    """Label indices, or object numbers, shape (rows, columns)."""
    reference: np.ndarray | None
    """The same of the reference; None where there is none."""
    aspect: float
    """Height of a pixel over its width."""
    letters: str
    """Where left, right, top and bottom lie in the body; empty for pictures."""
    caption: str
    """Which slice this is."""
    channel: str
    """Which channel is shown; empty where there is no other."""
    window: tuple[slice, slice] | None = None
    """Rows and columns around the structures, where a closer look pays."""

    @property
    def foreground(self) -> np.ndarray:
        """Pixels that either label map gives a structure."""
        found = self.prediction > 0
        return found if self.reference is None else found | (self.reference > 0)

    @property
    def relative_height(self) -> float:
        """Height over width, as shown."""
        rows, columns = self.prediction.shape
        return float(rows * self.aspect / columns)

    def closer(self) -> "Panel":
        """The part in the window; the panel itself where there is none."""
        if self.window is None:
            return self
        return replace(
            self,
            image=self.image[self.window],
            prediction=self.prediction[self.window],
            reference=None if self.reference is None else self.reference[self.window],
            window=None,
        )


def cut_panels(
    volume: Volume,
    *,
    prediction: LabelMap,
    reference: LabelMap | None,
    scheme: LabelScheme,
) -> list[Panel]:
    """A panel per plane, each through the slice where the two label maps differ most.

    Where they do not differ, or there is no reference, the slice shows the most
    structure; without any structure it is the middle one. Of several channels the one
    is shown in which the structures stand out most; pictures of three are in colour.

    Args:
        volume: The scan.
        prediction: Values as in files, on the scan's grid.
        reference: The same, or None.
        scheme: What the values mean; where they number objects, panels do too.

    Returns:
        Axial, coronal and sagittal panels; planes a single voxel wide are left out.

    Raises:
        GridMismatchError: A label map does not lie on the scan's grid.
    """
    scan = _Scan.turn(volume, prediction, reference, scheme)
    return [_cut(scan, plane) for plane in scan.planes()]


def cut_alike(
    volume: Volume,
    *,
    predictions: Sequence[LabelMap],
    reference: LabelMap,
    scheme: LabelScheme,
) -> list[Panel]:
    """The same part of the same slice for each of several predictions.

    It is the slice where they differ most from the reference, all together.

    Args:
        volume: The scan.
        predictions: On the scan's grid, at least one.
        reference: The same.
        scheme: What the values mean.

    Raises:
        GridMismatchError: A label map does not lie on the scan's grid.
    """
    scans = [_Scan.turn(volume, p, reference, scheme) for p in predictions]
    panels = [_cut(scans[0], plane) for plane in scans[0].planes()]
    plane = main_panel(panels).plane
    others = tuple(n for n in range(3) if n != _axis(plane))
    wrong = [np.count_nonzero(s.prediction != s.reference, axis=others) for s in scans]
    where = int(np.sum(wrong, axis=0).argmax()) if np.any(wrong) else None
    alike = [_cut(scan, plane, position=where) for scan in scans]
    union = np.max([panel.foreground for panel in alike], axis=0)
    window = _window(replace(alike[0], prediction=union.astype(np.uint8)))
    return [replace(panel, window=window) for panel in alike]


def main_panel(panels: list[Panel]) -> Panel:
    """The panel that says most: the largest area of structures, in mm².

    Planes across thick slices count less, by how stretched their pixels are.
    """

    def telling(panel: Panel) -> float:
        stretched = min(panel.aspect, 1 / panel.aspect)
        return float(panel.foreground.sum()) * panel.aspect * stretched

    return max(panels, key=telling)


@dataclass(frozen=True)
class _Scan:
    """A scan and its label maps with axes along right, anterior and superior."""

    image: np.ndarray
    prediction: np.ndarray
    reference: np.ndarray | None
    spacing: tuple[float, float, float]
    is_picture: bool
    channel: str
    """Which one is shown, in words; empty where there is no other."""
    is_lost: bool = False
    """Whether nothing is known of where its axes point."""

    @classmethod
    def turn(
        cls,
        volume: Volume,
        prediction: LabelMap,
        reference: LabelMap | None,
        scheme: LabelScheme,
    ) -> "_Scan":
        maps = [prediction] if reference is None else [prediction, reference]
        for label_map in maps:
            volume.grid.require_match(label_map.grid, what="label map and scan differ")
        identity = np.array_equal(volume.affine, np.eye(4))
        is_picture = identity and volume.grid.shape[2] == 1
        turn = canonical_reorientation(volume.affine)
        labels = [_labels(label_map, scheme) for label_map in maps]
        sizes = spacing_of(turn.apply_to_affine(volume.affine, volume.grid.shape))
        colour = is_picture and volume.num_channels == 3
        image, channel = (
            (volume.voxels, "") if colour else _clearest(volume.voxels, labels)
        )
        return cls(
            image=image if is_picture else turn.apply(image),
            prediction=labels[0] if is_picture else turn.apply(labels[0]),
            reference=None
            if reference is None
            else (labels[1] if is_picture else turn.apply(labels[1])),
            spacing=sizes,
            is_picture=is_picture,
            is_lost=says_nothing(volume.affine),
            channel=channel,
        )

    def planes(self) -> list[Plane]:
        """Planes whose two axes are both more than one voxel long."""
        if self.is_picture:
            return ["picture"]
        thin = {axis for axis in range(3) if self.prediction.shape[axis] == 1}
        found: list[Plane] = [
            plane for plane, axis in _PERPENDICULAR.items() if not thin - {axis}
        ]
        return found or ["axial"]


def _clearest(image: np.ndarray, labels: list[np.ndarray]) -> tuple[np.ndarray, str]:
    """The channel in which structures stand out most, and which it is of several."""
    if len(image) == 1:
        return image, ""
    structures = labels[-1] if labels[-1].any() else labels[0]
    number = clearest_channel(image, structures > 0)
    return image[number : number + 1], f"channel {number + 1} of {len(image)}"


def _axis(plane: Plane) -> int:
    return 2 if plane == "picture" else _PERPENDICULAR[plane]


def _cut(scan: _Scan, plane: Plane, *, position: int | None = None) -> Panel:
    """A plane's panel, through the slice that tells most unless another is named."""
    axis = _axis(plane)
    position = _telling_slice(scan, axis) if position is None else position
    across, down = (other for other in range(3) if other != axis)
    low, high = _gray_range(scan)

    def view(array: np.ndarray) -> np.ndarray:
        turned = np.moveaxis(array.take(position, axis=array.ndim - 3 + axis), -1, -2)
        return np.asarray(turned if scan.is_picture else turned[..., ::-1, ::-1])

    image = (view(scan.image).astype(np.float32) - low) / max(high - low, 1e-9)
    image = np.clip(image, 0, 1)
    panel = Panel(
        plane=plane,
        image=np.moveaxis(image, 0, -1) if len(image) == 3 else image[0],
        prediction=view(scan.prediction),
        reference=None if scan.reference is None else view(scan.reference),
        aspect=scan.spacing[down] / scan.spacing[across],
        letters="" if scan.is_lost else _LETTERS.get(plane, ""),
        caption=_caption(scan, plane, axis, position),
        channel=scan.channel,
    )
    return replace(panel, window=_window(panel))


def _telling_slice(scan: _Scan, axis: int) -> int:
    """The slice with most disagreement, else most structure, else the middle.

    Where the reference holds a structure, only slices that show it are chosen from: a
    picture of invented voxels alone would hide what there was to find.
    """
    others = tuple(other for other in range(3) if other != axis)
    if scan.reference is not None:
        wrong = np.count_nonzero(scan.prediction != scan.reference, axis=others)
        shown = np.count_nonzero(scan.reference, axis=others) > 0
        if shown.any():
            wrong = np.where(shown, wrong + 1, 0)
        if wrong.any():
            return int(wrong.argmax())
    filled = np.count_nonzero(scan.prediction, axis=others)
    return int(filled.argmax()) if filled.any() else len(filled) // 2


def _gray_range(scan: _Scan) -> tuple[float, float]:
    """Grey values shown as black and white: percentiles around the structures."""
    if scan.image.dtype == np.uint8 and len(scan.image) == 3:
        return 0.0, 255.0
    image = scan.image[0]
    filled = scan.prediction > 0
    if scan.reference is not None:
        filled = filled | (scan.reference > 0)
    around = image if scan.is_picture else image[box_around(filled, margin=0.5)]
    low, high = _percentiles(around, 0.5, 99.7)
    if filled.any() and not scan.is_picture:
        # Not wider than the structures' own range and three times as much on either
        # side, so that soft tissue keeps its contrast beside air and bone; never so
        # narrow that a structure is white throughout.
        darkest, brightest = _percentiles(image[filled], 1, 99.5)
        room = max(3 * (brightest - darkest), 0.12 * (high - low))
        low = min(max(low, darkest - room), darkest)
        high = max(min(high, brightest + room), brightest)
    return low, high


def _percentiles(values: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Two percentiles of some of the finite values; 0 and 1 where there are none."""
    flat = values.ravel()
    flat = flat[:: max(1, flat.size // _MOST_SAMPLES)].astype(np.float32)
    flat = flat[np.isfinite(flat)]
    if not flat.size:
        return 0.0, 1.0
    found = np.percentile(flat, [low, high])
    return float(found[0]), float(found[1])


def _window(panel: Panel) -> tuple[slice, slice] | None:
    """The part around the structures, where it is much smaller than the panel."""
    filled = panel.foreground
    if not filled.any():
        return None
    rows, columns = filled.shape
    found = [np.flatnonzero(filled.any(axis=axis)) for axis in (1, 0)]
    centres = [(int(f[0]) + int(f[-1]) + 1) / 2 for f in found]
    scale = (panel.aspect, 1.0)
    extents = [(f[-1] - f[0] + 1) * s for f, s in zip(found, scale, strict=True)]
    least = 0.26 * max(rows * panel.aspect, columns)
    side = max(1.35 * max(extents), least)
    parts = [
        _span(centre, side / s, size)
        for centre, s, size in zip(centres, scale, (rows, columns), strict=True)
    ]
    share = (parts[0].stop - parts[0].start) * (parts[1].stop - parts[1].start)
    return (parts[0], parts[1]) if share < 0.5 * rows * columns else None


def _span(centre: float, length: float, size: int) -> slice:
    length = min(length, size)
    start = int(min(max(centre - length / 2, 0), size - length))
    return slice(start, min(start + max(round(length), 1), size))


def _labels(label_map: LabelMap, scheme: LabelScheme) -> np.ndarray:
    """Indices, or object numbers where values number objects; 0 where ignored."""
    if scheme.instances:
        outside = [scheme.background]
        outside += [] if scheme.ignore is None else [scheme.ignore]
        return np.where(np.isin(label_map.voxels, outside), 0, label_map.voxels)
    indices = scheme.to_indices(label_map.voxels, name="label map")
    indices[indices == IGNORE_INDEX] = 0
    return indices


def _caption(scan: _Scan, plane: Plane, axis: int, position: int) -> str:
    if plane == "picture":
        width, height = scan.prediction.shape[:2]
        return f"{width} × {height} pixels"
    return f"{plane} {position + 1} of {scan.prediction.shape[axis]}"
