"""Which prediction belongs to which reference."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import DatasetError, MissingFileError
from medseg.instances.measures import OUTLINES
from medseg.io import find_scans, scan_stem


@dataclass(frozen=True)
class CasePair:
    """The two label maps of one case."""

    case_id: str
    prediction: Path | None
    """None where there is none; everything in the reference was then missed."""
    reference: Path
    patient_id: str = ""
    """The case itself when left out."""
    unannotated: tuple[str, ...] = ()
    """Structures that the reference does not annotate: they are not scored."""


@dataclass(frozen=True)
class Pairing:
    """Predictions and references that belong together, and those without a partner."""

    pairs: tuple[CasePair, ...]
    """Cases with both, sorted."""
    lone_predictions: tuple[Path, ...]
    missing: tuple[CasePair, ...]
    """Cases with a reference and no prediction, sorted."""


def pair_files(
    predictions: Path,
    references: Mapping[str, Path],
    *,
    patients: Mapping[str, str] | None = None,
    unannotated: Mapping[str, tuple[str, ...]] | None = None,
) -> Pairing:
    """Pairs the label maps below a folder with references by name.

    A prediction is named after its case, or after the file of its reference; the
    format may differ.

    Args:
        predictions: Folder of label maps.
        references: The reference of each case.
        patients: The patient of each case, where known.
        unannotated: Structures that a case's reference does not annotate.

    Raises:
        MissingFileError: There is no such folder, or it holds no label map.
        DatasetError: Two predictions have the name of one case, or nothing fits.
    """
    found = _by_stem(predictions)
    by_name = {
        scan_stem(path).removesuffix(".seg"): case for case, path in references.items()
    }
    by_name |= {case: case for case in references}
    chosen = {by_name[stem]: path for stem, path in found.items() if stem in by_name}
    if not chosen:
        raise DatasetError(
            f"{predictions}: none of the {len(found)} label maps is named after one "
            f"of the {len(references)} references; found {min(found)}, expected for "
            f"example {min(references, default='(no reference)')}"
        )
    every = [
        CasePair(
            case,
            chosen.get(case),
            references[case],
            (patients or {}).get(case, ""),
            (unannotated or {}).get(case, ()),
        )
        for case in sorted(references)
    ]
    used = set(chosen.values())
    return Pairing(
        pairs=tuple(pair for pair in every if pair.prediction is not None),
        lone_predictions=tuple(p for p in found.values() if p not in used),
        missing=tuple(pair for pair in every if pair.prediction is None),
    )


def references_in(folder: Path) -> dict[str, Path]:
    """The label maps below a folder, by the name of their file.

    Raises:
        MissingFileError: There is no such folder, or it holds no label map.
        DatasetError: Two files have one name.
    """
    return _by_stem(folder)


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in find_scans(folder):
        if path.parent.name == OUTLINES:
            continue  # pictures to look at, beside the label maps of single objects
        stem = scan_stem(path).removesuffix(".seg")  # as 3D Slicer names its files
        other = found.setdefault(stem, path)
        if other != path:
            raise DatasetError(
                f"{folder}: {other.relative_to(folder)} and {path.relative_to(folder)}"
                " name the same case; keep one of them"
            )
    if not found:
        raise MissingFileError(f"{folder}: holds no label map")
    return found
