"""What is wrong with the values of a label map."""

from pathlib import Path

import numpy as np

from medseg.datasets.case import Case
from medseg.datasets.discovery import values_in
from medseg.datasets.finding import Finding, Severity
from medseg.labels import LabelScheme
from medseg.volume import Volume


def check_label_map(
    case: Case, path: Path, label: Volume, scheme: LabelScheme
) -> tuple[tuple[int, ...], list[Finding]]:
    """The values of a label map, sorted, and what is wrong with them.

    Args:
        case: Whose label map it is.
        path: Its file.
        label: What the file holds, as it is.
        scheme: What the values should be.
    """
    voxels = label.voxels
    if label.num_channels > 1:
        return (), [_finding(case, path, *_several_channels(label))]
    if voxels.dtype.kind == "f" and (odd := _not_whole(voxels)):
        return (), [_finding(case, path, *_no_labels(odd, voxels.size))]
    findings = []
    if voxels.dtype.kind == "f":
        findings.append(_stored_as_float(case, path, voxels))
    whole = voxels[0] if voxels.dtype.kind in "iu" else voxels[0].astype(np.int64)
    values = values_in(whole)
    known = {*scheme.values, *([] if scheme.ignore is None else [scheme.ignore])}
    unknown = [] if scheme.instances else sorted(set(values) - known)
    if unknown:
        message, repair = _unknown(values, unknown, whole, scheme)
        findings.append(_finding(case, path, message, repair))
    if not set(values) - {scheme.background, scheme.ignore}:
        findings.append(_empty(case, path, values))
    return values, findings


def _finding(
    case: Case, path: Path, message: str, repair: str, severity: Severity = "error"
) -> Finding:
    return Finding(case.case_id, path, "label values", message, repair, severity)


def _several_channels(label: Volume) -> tuple[str, str]:
    return (
        f"label map has {label.num_channels} channels, expected 1",
        "store one value per voxel; overlapping structures become regions",
    )


def _not_whole(voxels: np.ndarray) -> int:
    return int(np.count_nonzero(~(voxels == np.rint(voxels))))


def _no_labels(num_odd: int, size: int) -> tuple[str, str]:
    return (
        f"{num_odd} of {size} voxels are no whole numbers",
        "is it an image, a probability map, or a label map resampled with "
        "interpolation? Export the label map itself",
    )


def _stored_as_float(case: Case, path: Path, voxels: np.ndarray) -> Finding:
    return Finding(
        case.case_id,
        path,
        "label type",
        f"labels are stored as {voxels.dtype.name}; the values are whole numbers and "
        "are read as such",
        "nothing must be done; other programs may want an integer type",
        "warning",
    )


def _empty(case: Case, path: Path, values: tuple[int, ...]) -> Finding:
    return Finding(
        case.case_id,
        path,
        "empty label",
        f"no structure is labelled, only {', '.join(map(str, values))} occurs",
        "right for a healthy patient; else finish the labelling",
        "warning",
    )


def _unknown(
    values: tuple[int, ...], unknown: list[int], voxels: np.ndarray, scheme: LabelScheme
) -> tuple[str, str]:
    """What to say about unknown values, and the description that would know them."""
    count = int(np.count_nonzero(np.isin(voxels, unknown)))
    shown = ", ".join(map(str, unknown[:8])) + (", ..." if len(unknown) > 8 else "")
    message = (
        f"{count} voxels hold {shown}, absent from the scheme ({scheme.describe()})"
    )
    structures = [value for value in values if value != scheme.background]
    if len(structures) == len(scheme.structures) and set(structures) == set(unknown):
        mapping = dict(zip(scheme.structures, structures, strict=True))
        named = ", ".join(f"{name}: {value}" for name, value in mapping.items())
        return message, f"if these are the structures, say labels: {{{named}}}"
    return message, "add them to the labels, name one as ignore, or correct the file"
