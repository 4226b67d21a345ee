"""Corrected copies of a data set's files; the originals are never touched.

What follows from the files alone is repaired: headers that contradict themselves,
leaning axes, another orientation, label values by their names, whole numbers stored
as fractions, noise in a mask of one structure, and label maps and channels on another
grid that show the same place. What would have to be guessed is listed, not done.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medseg.datasets.case import Case, Dataset
from medseg.datasets.doctor_report import Report
from medseg.datasets.finding import Finding, FindingKind
from medseg.datasets.label_noise import noise_in
from medseg.datasets.manifest import write_manifest
from medseg.errors import InputError, OutputError
from medseg.geometry import ORTHONORMAL_TOLERANCE, Grid, orthonormality_error
from medseg.io import write_label_map, write_volume
from medseg.io.formats import Format, format_or_none
from medseg.io.geometry_warning import recorded_geometry
from medseg.io.label_reading import label_map_of, read_named_labels
from medseg.io.straight import straightened
from medseg.labels import LabelScheme
from medseg.progress import Progress, Silent
from medseg.reading import read_volume
from medseg.resampling import resample_label_map, resample_objects, resample_volume
from medseg.tables import write_rows
from medseg.volume import LabelMap, Volume

TABLE = "repairs.csv"
MANIFEST = "manifest.csv"
_GRID_KINDS: tuple[FindingKind, ...] = ("shape", "spacing", "origin", "direction")
_SEEN = 0.99
"""Share of a label map's structures that must lie inside the image to move it there."""


@dataclass(frozen=True)
class Change:
    """One file that was corrected, or left as it is."""

    case_id: str
    file: Path | None
    copy: Path | None
    """The corrected copy; None where the file was left."""
    what: str
    """What was changed, or what is wrong with it."""
    why: str
    """What made it necessary, or why it was left."""
    kinds: tuple[FindingKind, ...] = ()
    """Findings of the doctor that the change settles."""


@dataclass(frozen=True)
class Repairs:
    """What became of a data set."""

    folder: Path
    done: tuple[Change, ...]
    left: tuple[Change, ...]

    def describe(self) -> str:
        """The repairs in one line."""
        return (
            f"{len(self.done)} corrected copies in {self.folder}, {len(self.left)} "
            f"things left as they are ({TABLE} says which and why); the data set is "
            f"{self.folder / MANIFEST}"
        )


def repair(report: Report, out: Path, *, progress: Progress | None = None) -> Repairs:
    """Writes corrected copies, a manifest that uses them, and a table of the changes.

    Args:
        report: What the doctor found.
        out: Folder to be made; the originals are named where nothing was changed.
        progress: Follows the cases.

    Raises:
        OutputError: The folder holds something already, or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out}: holds something already; name a new folder")
    shown = progress or Silent()
    dataset = report.dataset
    changes: list[Change] = []
    mended: dict[str, Case] = {}
    cases = (*dataset.cases, *dataset.test_cases)
    for case in shown.track(cases, label="Repairing", total=len(cases)):
        mended[case.case_id], made = _repaired(case, dataset, out)
        changes += made
    result = replace(
        dataset,
        cases=tuple(mended[case.case_id] for case in dataset.cases),
        test_cases=tuple(mended[case.case_id] for case in dataset.test_cases),
    )
    done = tuple(change for change in changes if change.copy is not None)
    left = tuple(change for change in changes if change.copy is None)
    left += tuple(_left(finding) for finding in _unsettled(report.findings, changes))
    write_manifest(out / MANIFEST, result)
    _write_table(out / TABLE, (*done, *left), dataset.root)
    return Repairs(out, done, left)


def _repaired(case: Case, dataset: Dataset, out: Path) -> tuple[Case, list[Change]]:
    """The case with corrected copies where there are any, and the changes."""
    changes: list[Change] = []
    images: list[Path] = []
    grid: Grid | None = None
    for number, path in enumerate(case.images):
        volume, said = _image(path, grid)
        if volume is None:
            images.append(path)
            continue
        grid = grid or volume.grid
        target = path
        if said:
            stem = (
                case.case_id
                if len(case.images) == 1
                else f"{case.case_id}_{number:04d}"
            )
            target = out / "images" / f"{stem}{_suffix(path)}"
            write_volume(target, volume)
            changes.append(_change(case, path, target, said))
        images.append(target)
    label = case.label
    if label is not None and grid is not None:
        scheme = dataset.scheme.without(case.unannotated)
        label_map, said = _label(label, scheme, grid)
        if label_map is not None and said:
            target = out / "labels" / f"{case.case_id}{_suffix(label)}"
            write_label_map(target, label_map)
            changes.append(_change(case, label, target, said))
            label = target
    return replace(case, images=tuple(images), label=label), changes


_Said = list[tuple[str, str, tuple[FindingKind, ...]]]
"""What was changed in a file, why, and which findings that settles."""


def _image(path: Path, grid: Grid | None) -> tuple[Volume | None, _Said]:
    """An image on a straight grid that agrees with the first channel's."""
    try:
        with recorded_geometry() as notes:
            volume = read_volume(path, allow_shear=True)
    except InputError:
        return None, []  # the doctor's finding says it
    said = _header(notes, notes.guessed, path)
    if orthonormality_error(volume.affine) > ORTHONORMAL_TOLERANCE:
        volume = straightened(volume)
        said.append(("resampled onto a straight grid", "its axes lean", ("geometry",)))
    if grid is None or not (difference := grid.mismatch(volume.grid)):
        return volume, said
    turned = volume.turned_to(grid)
    if turned is not volume:
        return turned, [*said, ("axes turned, exactly", difference, ())]
    if not _shows(volume.grid, grid):
        return volume, said
    moved = resample_volume(volume, grid)
    why = f"it lay on another grid than the first channel ({difference})"
    return moved, [*said, ("resampled, linear", why, _GRID_KINDS)]


def _label(
    path: Path, scheme: LabelScheme, grid: Grid
) -> tuple[LabelMap | None, _Said]:
    """A label map in the scheme's values on the image's grid."""
    try:
        with recorded_geometry() as notes:
            labels = read_named_labels(path, scheme=scheme, allow_shear=True)
        label_map = label_map_of(labels, path, scheme, None)
    except InputError:
        return None, []
    said = _header(notes, notes.guessed, path)
    if labels.stored_as.startswith("float"):
        why = f"they were stored as {labels.stored_as}"
        said.append(("labels stored as whole numbers", why, ("label type",)))
    if not np.array_equal(label_map.voxels, labels.label_map.voxels):
        said.append(("values by the structures' names", "the file names them", ()))
    label_map, denoised = _without_noise(label_map, scheme, path)
    said += denoised
    difference = grid.mismatch(label_map.grid)
    turned = label_map.turned_to(grid)
    if difference and turned is not label_map:
        return turned, [*said, ("axes turned, exactly", difference, ())]
    leans = orthonormality_error(label_map.affine) > ORTHONORMAL_TOLERANCE
    same_shape = label_map.grid.shape == grid.shape and not leans
    if not difference or same_shape or not _holds(label_map, scheme, grid):
        return label_map, said
    move = resample_objects if scheme.instances else resample_label_map
    why = f"it lay on another grid than the image ({difference})"
    return move(label_map, grid), [
        *said,
        ("resampled by vote", why, (*_GRID_KINDS, "geometry")),
    ]


def _header(notes: Sequence[str], guessed: Sequence[str], path: Path) -> _Said:
    """One consistent geometry; nothing where any of it had to be guessed."""
    if not notes or guessed:
        return []
    why = "; ".join(note.removeprefix(f"{path}: ") for note in notes)
    return [("header written anew with one geometry", why, ("header",))]


def _without_noise(
    label_map: LabelMap, scheme: LabelScheme, path: Path
) -> tuple[LabelMap, _Said]:
    """A mask of one structure without the values that compression left."""
    unknown = scheme.unknown_values(label_map.voxels)
    lossy = path.suffix.lower() in (".jpg", ".jpeg")
    if not unknown or len(scheme.names) != 1 or scheme.ignore is not None:
        return label_map, []
    if not set(unknown) <= {*noise_in(label_map.voxels, lossy=lossy), 0}:
        return label_map, []
    low, high = scheme.values
    near = np.abs(label_map.voxels.astype(np.int64) - high) < np.abs(
        label_map.voxels.astype(np.int64) - low
    )
    voxels = np.where(near, high, low).astype(label_map.voxels.dtype)
    why = f"values such as {', '.join(map(str, unknown[:4]))} are noise"
    return LabelMap(voxels, label_map.affine), [
        (f"each voxel {low} or {high}, the nearer", why, ("label values",))
    ]


def _holds(label_map: LabelMap, scheme: LabelScheme, grid: Grid) -> bool:
    """Whether nearly all labelled voxels lie inside a grid."""
    places = np.argwhere(label_map.voxels != scheme.background)
    if not len(places):
        return _shows(label_map.grid, grid)
    matrix = np.linalg.inv(grid.affine) @ label_map.affine
    moved = places @ matrix[:3, :3].T + matrix[:3, 3]
    inside = ((moved > -0.5) & (moved < np.asarray(grid.shape) - 0.5)).all(axis=1)
    return bool(inside.mean() >= _SEEN)


def _shows(source: Grid, target: Grid) -> bool:
    """Whether the middle of a grid lies inside another one."""
    middle = (np.asarray(target.shape) - 1) / 2
    matrix = np.linalg.inv(source.affine) @ target.affine
    place = matrix[:3, :3] @ middle + matrix[:3, 3]
    return bool(((place > -0.5) & (place < np.asarray(source.shape) - 0.5)).all())


def _suffix(path: Path) -> str:
    return ".tif" if format_or_none(path) is Format.PICTURE else ".nii.gz"


def _change(case: Case, file: Path, target: Path, said: _Said) -> Change:
    what, why = ("; ".join(texts) for texts in zip(*[s[:2] for s in said], strict=True))
    kinds = tuple(kind for _, _, kinds in said for kind in kinds)
    return Change(case.case_id, file, target, what, why, kinds)


def _unsettled(findings: Sequence[Finding], changes: Sequence[Change]) -> list[Finding]:
    settled = {(change.file, kind) for change in changes for kind in change.kinds}
    return [f for f in findings if (f.file, f.kind) not in settled]


def _left(finding: Finding) -> Change:
    why = f"not repaired: it would be a guess. {finding.repair}"
    return Change(finding.case_id, finding.file, None, finding.message, why)


def _write_table(path: Path, changes: Sequence[Change], root: Path) -> None:
    def shown(file: Path | None, folder: Path) -> str:
        if file is None:
            return ""
        inside = file.is_relative_to(folder)
        return (file.relative_to(folder) if inside else file).as_posix()

    write_rows(
        path,
        ("case_id", "file", "copy", "what", "why"),
        [
            (c.case_id, shown(c.file, root), shown(c.copy, path.parent), c.what, c.why)
            for c in changes
        ],
    )
