"""Compares every DICOM series of a data folder with its reference NIfTI files.

    python benchmarks/dicom_references.py ../shared/data/dicom [--json]

Each voxel of the series is looked up in the reference at the same world position.
Where the series had to be resampled, the difference is that of two interpolations.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from medseg.io.dicom import DicomScan, Series, find_series, read_series


@dataclass(frozen=True)
class Row:
    """One volume against one reference."""

    series: str
    shape: str
    affine_error_mm: float
    compared: str
    share_equal: float
    mean_difference: float
    corrections: str


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = rows_of(arguments.folder)
    if arguments.json:
        for row in rows:
            print(json.dumps(asdict(row)))
        return
    print(
        "| series | shape | affine, mm | compared with | equal | mean diff. | record |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        equal = f"{100 * row.share_equal:.2f} %"
        print(
            f"| `{row.series}` | {row.shape} | {row.affine_error_mm:.0e} "
            f"| {row.compared} | {equal} | {row.mean_difference:.3g} "
            f"| {row.corrections or 'none'} |"
        )


def rows_of(folder: Path) -> list[Row]:
    """One row for each volume and reference below a folder."""
    rows = []
    for case in sorted(path for path in folder.iterdir() if path.is_dir()):
        volumes = find_series(case / "dicom").volumes
        for reference in sorted(case.glob("reference*.nii.gz")):
            rows += compare(case.name, volumes, reference)
    return rows


def compare(name: str, volumes: tuple[Series, ...], reference: Path) -> list[Row]:
    """Rows of the volumes that belong to one reference."""
    image = nib.load(reference)
    times = np.asarray(image.dataobj)
    times = times if times.ndim == 4 else times[..., None]
    straight = "corrected" in reference.name or "variable" in name
    chosen = volumes
    if len(volumes) > 1 and times.shape[3] == 1:
        chosen = tuple(v for v in volumes if _fits(v, times.shape))
    rows = []
    for number, series in enumerate(chosen):
        scan = read_series(series, allow_shear=not straight)
        label = "/".join(filter(None, [name, series.part]))
        rows.append(_row(label, scan, times[..., number], image.affine, reference.name))
    return rows


def _fits(series: Series, shape: tuple[int, ...]) -> bool:
    frame = series.frames[0]
    return (frame.columns, frame.rows, len(series.frames)) == tuple(shape[:3])


def _row(
    label: str, scan: DicomScan, voxels: np.ndarray, affine: np.ndarray, name: str
) -> Row:
    ours = scan.volume.voxels[0]
    mapping = np.linalg.inv(affine) @ scan.volume.affine
    index = np.indices(ours.shape).reshape(3, -1)
    where = mapping[:3, :3] @ index + mapping[:3, 3:]
    rounded = np.rint(where)
    inside = ((rounded >= 0) & (voxels.shape > rounded.T).T).all(axis=0)
    offset = np.abs(affine[:3, :3] @ (where - rounded)[:, inside]).max()
    if name == "reference_voxels_only.nii.gz":
        return _planes_only(label, scan, voxels, name)
    resampled = any(c.is_repair for c in scan.corrections)
    if resampled:
        there = ndimage.map_coordinates(
            voxels.astype(float), where, order=1, mode="nearest"
        )
    else:
        limits = np.asarray(voxels.shape)[:, None] - 1
        there = voxels[tuple(np.clip(rounded, 0, limits).astype(int))]
    there = there.reshape(ours.shape)
    kept = inside.reshape(ours.shape)
    difference = np.abs(there - ours)[kept]
    return Row(
        label,
        "×".join(map(str, ours.shape)),
        float(offset),
        name,
        float((difference <= (0.5 if resampled else 0)).mean()),
        float(difference.mean()),
        "; ".join(map(str, scan.corrections)),
    )


def _planes_only(label: str, scan: DicomScan, voxels: np.ndarray, name: str) -> Row:
    """Against a reference whose affine must not be used: the stored planes."""
    from medseg.io.dicom.pixels import stored_values

    stored = stored_values(scan.stack.frames)
    flipped = voxels.transpose(2, 1, 0)[:, ::-1]
    equal = max(float((stored == planes).mean()) for planes in (flipped, flipped[::-1]))
    return Row(
        label,
        "×".join(map(str, scan.volume.voxels.shape[1:])),
        float("nan"),
        f"{name} (stored planes only)",
        equal,
        float("nan"),
        "; ".join(map(str, scan.corrections)),
    )


if __name__ == "__main__":
    main()
