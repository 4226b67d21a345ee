"""What is wrong with the values of a label map, and which are not to be scored."""

from pathlib import Path

import numpy as np

from medseg.datasets.case import Case
from medseg.datasets.discovery import LOSSY
from medseg.datasets.finding import Finding, Severity
from medseg.datasets.label_noise import CAUSE, REPAIR, noise_in, values_in
from medseg.labels import LabelScheme
from medseg.types import LabelArray


def check_label_map(
    case: Case,
    path: Path,
    voxels: LabelArray,
    scheme: LabelScheme,
    *,
    stored_as: str = "",
) -> tuple[tuple[int, ...], list[Finding]]:
    """The values of a label map, sorted, and what is wrong with them.

    Args:
        case: Whose label map it is.
        path: Its file.
        voxels: As preparing reads them, in the scheme's values.
        scheme: What the values should be.
        stored_as: Type of the stored voxels.
    """
    findings = []
    if stored_as.startswith("float"):
        findings.append(_stored_as_float(case, path, stored_as))
    values = values_in(voxels)
    known = {*scheme.values, *([] if scheme.ignore is None else [scheme.ignore])}
    unknown = [] if scheme.instances else sorted(set(values) - known)
    if unknown:
        message, repair = _unknown(values, unknown, voxels, scheme)
        if set(unknown) & set(noise_in(voxels, lossy=path.suffix.lower() in LOSSY)):
            message, repair = f"{message}, {CAUSE}", REPAIR
        findings.append(_finding(case, path, message, repair))
    for name in case.unannotated:
        if scheme.names[name] in values:
            message = f"holds {name}, which the case is said not to annotate"
            repair = "correct the column not_annotated, or the label map"
            findings.append(_finding(case, path, message, repair))
    if not set(values) - {scheme.background, scheme.ignore}:
        findings.append(_empty(case, path, values))
    return values, findings


def _finding(
    case: Case, path: Path, message: str, repair: str, severity: Severity = "error"
) -> Finding:
    return Finding(case.case_id, path, "label values", message, repair, severity)


def _stored_as_float(case: Case, path: Path, stored_as: str) -> Finding:
    return Finding(
        case.case_id,
        path,
        "label type",
        f"labels are stored as {stored_as}; the values are whole numbers and "
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


RIM_VALUE = 255
"""What PASCAL VOC, Cityscapes, ADE20K's followers and many tools store there."""
IGNORED_NAMES = {
    "ignore", "ignored", "void", "unlabeled", "unlabelled", "unknown", "dontcare",
    "donotcare", "border", "boundary", "uncertain",
}  # fmt: skip
_HALF_WIDTH = 4
"""Pixels after which a rim of VOC's, some five wide, is gone from both sides."""
_LEFT = 0.05


def is_rim(voxels: LabelArray, value: int = RIM_VALUE) -> bool:
    """Whether a value lies along the borders of structures and nowhere else.

    That is where it touches another structure and nearly nothing of it lies further
    than four voxels inside.

    Args:
        voxels: Label values, shape (I, J, K).
        value: Which one is in question.
    """
    from scipy import ndimage

    rim = voxels == value
    others = (voxels != 0) & ~rim
    if not rim.any() or not others.any():
        return False
    if not (ndimage.binary_dilation(rim) & others).any():
        return False
    inner = ndimage.binary_erosion(rim, iterations=_HALF_WIDTH, border_value=1)
    return bool(np.count_nonzero(inner) <= _LEFT * np.count_nonzero(rim))


def ignored_by_name(scheme: LabelScheme) -> dict[str, int]:
    """Structures whose name says that they are not to be scored."""
    return {
        name: value
        for name, value in scheme.names.items()
        if "".join(filter(str.isalpha, name.lower())) in IGNORED_NAMES
    }
