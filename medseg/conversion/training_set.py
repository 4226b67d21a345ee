"""Converted images and labels as a data set: a manifest that `medseg train` takes."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.datasets.case import Case, Dataset
from medseg.datasets.manifest import write_manifest
from medseg.errors import LabelError
from medseg.io import write_label_map
from medseg.io.dicom.label_objects.structure_choice import StructureChoice
from medseg.labels import LabelScheme
from medseg.progress import Progress
from medseg.reading import read_label_map
from medseg.volume import LabelMap


@dataclass(frozen=True)
class LabelledCase:
    """One image and the label maps that belong to it, as files of one folder.

    Attributes:
        name: Name of the image's results.
        patient: Stands for the patient.
        modality: Such as ``"CT"``.
        image: The image's file.
        labels: Files of label maps on its grid.
        annotated: Structures that the label objects list, with voxels or without.
    """

    name: str
    patient: str
    modality: str
    image: Path
    labels: tuple[Path, ...]
    annotated: frozenset[str] = frozenset()


def write_training_sets(
    cases: Sequence[LabelledCase],
    out: Path,
    choice: StructureChoice,
    *,
    progress: Progress,
) -> tuple[Path, ...]:
    """``manifest.csv`` of all cases that have labels, one for each modality.

    Several label maps of one case become one. Where two of them mark a voxel, the
    case is left out and named, unless the choice says which structure counts. What no
    label object of a case lists is written down as not annotated there.

    Args:
        cases: Images with their label maps.
        out: The folder that holds all files.
        choice: Names and values of the structures.
        progress: Told what is left out.

    Returns:
        The manifests; none where no case has labels.

    Raises:
        OutputError: A file cannot be written.
    """
    groups: defaultdict[str, list[Case]] = defaultdict(list)
    for case in cases:
        try:
            label = _one_label(case, out, choice)
        except LabelError as error:
            progress.warn(f"{case.name}: left out of the manifest: {error}")
            continue
        groups[case.modality].append(
            Case(
                case.name,
                case.patient,
                (case.image,),
                label,
                tuple(n for n in choice.names if n not in case.annotated),
            )
        )
    _say_unannotated([c for members in groups.values() for c in members], progress)
    paths = []
    for modality, members in sorted(groups.items()):
        suffix = f"_{modality.lower()}" if len(groups) > 1 else ""
        paths.append(out / f"manifest{suffix}.csv")
        dataset = Dataset(
            name=out.resolve().name,
            root=out,
            channels=(modality,),
            scheme=LabelScheme(names=choice.values),
            cases=tuple(members),
        )
        write_manifest(paths[-1], dataset)
    return tuple(paths)


def _say_unannotated(cases: Sequence[Case], progress: Progress) -> None:
    counts = Counter(name for case in cases for name in case.unannotated)
    if counts:
        listed = ", ".join(f"{name} in {count}" for name, count in counts.items())
        progress.warn(
            f"of {len(cases)} cases with labels, some do not list all structures "
            f"(missing: {listed}); these count as not annotated there, neither trained "
            "on nor scored. Where absence was meant, empty the manifest's column "
            "not_annotated"
        )


def _one_label(case: LabelledCase, out: Path, choice: StructureChoice) -> Path:
    """The case's only label map, or all of them in one.

    Raises:
        LabelError: Two of them mark one voxel.
    """
    if len(case.labels) == 1:
        return case.labels[0]
    maps = [read_label_map(path) for path in case.labels]
    merged = maps[0].voxels.copy()
    for path, label_map in zip(case.labels[1:], maps[1:], strict=True):
        new = label_map.voxels
        both = (merged > 0) & (new > 0)
        if both.any() and not choice.first_wins:
            raise LabelError(
                f"{int(both.sum())} voxels of {path.name} are marked in another label "
                "map of the same image; say by --structures which structure counts"
            )
        merged = np.where(both, np.minimum(merged, new), np.maximum(merged, new))
    path = out / f"{case.name}__labels.nii.gz"
    write_label_map(path, LabelMap(merged, maps[0].affine))
    return path
