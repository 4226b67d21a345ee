"""What is wrong between cases: the same scan twice, a patient in two folds."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from medseg.datasets.case import Dataset
from medseg.datasets.check_case import CheckedCase
from medseg.datasets.check_label import RIM_VALUE, ignored_by_name
from medseg.datasets.finding import Finding, FindingKind
from medseg.datasets.splits import split_problems
from medseg.io.label_reading import plain_name

_RARE = 0.05
"""A value that fewer than this share of the cases hold may be a slip."""
_MOST = 0.5
"""Structures that fill more than this share of all voxels may be the background."""


def check_across(
    dataset: Dataset,
    facts: Sequence[CheckedCase],
    lone_hashes: Mapping[Path, Sequence[str]],
) -> Iterator[Finding]:
    """Everything that only shows when cases are compared.

    Args:
        dataset: What was read.
        facts: What was found in each case.
        lone_hashes: Hash of each channel of the files that belong to no case.
    """
    yield from _lone_files(dataset, facts, lone_hashes)
    yield from _same_scans(facts)
    yield from _same_labels(facts)
    yield from _faults_of_splits(dataset)
    yield from _lost_geometry(facts)
    yield from _nothing_to_hold_out(dataset)
    yield from _names_with_several_values(dataset, facts)
    yield from _ignored_by_name(dataset)


def check_found_scheme(facts: Sequence[CheckedCase]) -> Iterator[Finding]:
    """What is odd about label values that nobody wrote down."""
    labelled = [fact for fact in facts if fact.label_values]
    holders = defaultdict(list)
    for fact in labelled:
        for value in fact.label_values:
            holders[value].append(fact)
    for value, cases in sorted(holders.items()):
        if value != 0 and len(cases) < _RARE * len(labelled):
            yield Finding(
                _ids(cases),
                cases[0].case.label,
                "label values",
                f"value {value} occurs in {len(cases)} of {len(labelled)} cases only",
                "a slip of the pen? If not, name the labels in a description",
                "warning",
            )
    yield from _rims(labelled)
    share = sum(fact.labelled_share for fact in labelled) / max(len(labelled), 1)
    if share > _MOST:
        yield Finding(
            "",
            None,
            "label values",
            f"structures fill {share:.0%} of all voxels, taking 0 as background",
            "if 0 is the structure that is sought, name it and the background in a "
            "description",
            "warning",
        )


def _rims(labelled: Sequence[CheckedCase]) -> Iterator[Finding]:
    """A value that lies along borders, as what is not to be scored is marked."""
    holding = [fact for fact in labelled if RIM_VALUE in fact.label_values]
    rims = [fact for fact in holding if fact.has_rim]
    if rims and 2 * len(rims) > len(holding):
        yield Finding(
            "",
            None,
            "label values",
            f"value {RIM_VALUE} lies along the borders of structures in {len(rims)} of "
            f"{len(holding)} label maps, as PASCAL VOC marks what is not to be scored",
            f"say `ignore: {RIM_VALUE}` beside the labels in dataset.yaml; as it is, "
            "it is learnt as a structure",
            "warning",
        )


def _ignored_by_name(dataset: Dataset) -> Iterator[Finding]:
    """Structures whose name says that they are not to be scored."""
    if dataset.scheme.ignore is not None:
        return
    for name, value in ignored_by_name(dataset.scheme).items():
        yield Finding(
            "",
            None,
            "label values",
            f"structure {name} ({value}) is named as what is not to be scored",
            f"say `ignore: {value}` in place of the structure; as it is, it is learnt",
            "warning",
        )


def _nothing_to_hold_out(dataset: Dataset) -> Iterator[Finding]:
    """All cases of one patient, so that no fold can validate."""
    if len(dataset.cases) > 1 and len(dataset.patients) == 1 and not dataset.splits:
        yield Finding(
            "",
            None,
            "folds",
            f"all {len(dataset.cases)} cases are of one patient, "
            f"{dataset.patients[0]} ({dataset.patient_source}), so that nothing can be "
            "held out",
            "name the patients in a patients.csv beside the data (case_id, patient_id)",
            "error" if dataset.has_guessed_patients else "warning",
        )


def _names_with_several_values(
    dataset: Dataset, facts: Sequence[CheckedCase]
) -> Iterator[Finding]:
    """Structures that files name, with values that differ, where no name decides."""
    known = {plain_name(name) for name in dataset.scheme.names}
    values = defaultdict(lambda: defaultdict(list))  # type: ignore[var-annotated]
    for fact in facts:
        for name, value in fact.label_names.items():
            values[plain_name(name)][value].append(fact)
    if known & set(values):
        return  # the names decide; what they leave out was refused
    for holders in values.values():
        if len(holders) < 2:
            continue
        rarest = min(holders.values(), key=len)
        name = next(
            n for n in rarest[0].label_names if values[plain_name(n)] is holders
        )
        yield Finding(
            _ids(rarest),
            rarest[0].case.label,
            "label values",
            f"the files name a structure {name}, which is "
            f"{' and '.join(map(str, sorted(holders)))} in different cases, and the "
            "scheme has other names",
            "name the structures in the scheme as the files do",
            "error",
        )


def _lone_files(
    dataset: Dataset,
    facts: Sequence[CheckedCase],
    hashes: Mapping[Path, Sequence[str]],
) -> Iterator[Finding]:
    """Files without a partner, and whose voxels they repeat."""
    scans = {
        value: f.case.case_id for f in facts for value in f.channel_hashes if value
    }
    maps = {fact.label_hash: fact.case.case_id for fact in facts if fact.label_hash}
    used = {
        path.resolve()
        for case in (*dataset.cases, *dataset.test_cases, *dataset.unlisted_cases)
        for path in (*case.images, *([case.label] if case.label else []))
    }
    dataset = replace(
        dataset,
        lone_images=tuple(p for p in dataset.lone_images if p.resolve() not in used),
        lone_labels=tuple(p for p in dataset.lone_labels if p.resolve() not in used),
    )
    for path in dataset.lone_images:
        yield _lone(path, "lone image", "label map", _known(hashes, path, scans))
    for path in dataset.lone_labels:
        yield _lone(path, "lone label", "image", _known(hashes, path, maps))


def _lone(path: Path, kind: FindingKind, partner: str, twin: str | None) -> Finding:
    message = f"there is no {partner} of this name"
    repair = f"add the {partner}, or move the file away; it is not used"
    if twin is not None:
        message += f", and the voxels are those of {twin}"
        repair = "find out whose it is, or move the file away; it is not used"
    return Finding("", path, kind, message, repair, "warning")


def _known(
    hashes: Mapping[Path, Sequence[str]], path: Path, cases: Mapping[str, str]
) -> str | None:
    return next(
        (cases[value] for value in hashes.get(path, ()) if value in cases), None
    )


def _same_scans(facts: Sequence[CheckedCase]) -> Iterator[Finding]:
    """Cases that share a channel; constant channels do not count."""
    for cases in _sharing(facts, lambda fact: fact.channel_hashes):
        patients = {fact.case.patient_id for fact in cases}
        leak = " of different patients" if len(patients) > 1 else ""
        yield _twin(
            cases,
            "same scan",
            f"{len(cases)} cases{leak} hold the same voxels",
            "keep one, or give both the same patient so that they share a fold",
        )


def _same_labels(facts: Sequence[CheckedCase]) -> Iterator[Finding]:
    """Cases with one label map, leaving out empty ones."""
    drawn = [fact for fact in facts if len(fact.label_values) > 1]
    for cases in _sharing(drawn, lambda fact: [fact.label_hash]):
        yield _twin(
            cases,
            "same label",
            f"{len(cases)} cases have the same label map",
            "one of them belongs to another scan; find the right one",
        )


def _faults_of_splits(dataset: Dataset) -> Iterator[Finding]:
    """Given splits that cannot be kept, and patients who are also held out."""
    patients = {case.case_id: case.patient_id for case in dataset.cases}
    for cases, fault in split_problems(dataset.splits, patients):
        yield Finding(
            ", ".join(cases),
            None,
            "folds",
            fault,
            "correct the splits; give all cases of a patient the same side",
            "error",
        )
    tested = {case.patient_id: case.case_id for case in dataset.test_cases}
    for case in dataset.cases:
        if case.patient_id in tested:
            yield Finding(
                ", ".join(sorted((case.case_id, tested[case.patient_id]))),
                None,
                "folds",
                f"patient {case.patient_id} is in the test set and in training",
                "give all cases of a patient the same side; scores would be too good",
                "error",
            )


def _lost_geometry(facts: Sequence[CheckedCase]) -> Iterator[Finding]:
    """Volumes that all have unit voxels at the origin: headers that were made up."""
    grids = [fact.grid for fact in facts if fact.grid and fact.grid.shape[2] > 1]
    unit = [
        np.array_equal(np.abs(grid.affine), np.eye(4)) and len(grids) > 1
        for grid in grids
    ]
    if unit and all(unit):
        yield Finding(
            "",
            None,
            "header",
            f"all {len(grids)} volumes have voxels of 1 x 1 x 1 mm at the origin, as "
            "programs write that lost the geometry",
            "if the scans had another voxel size, restore it; else distances and "
            "volumes are in voxels, not in mm",
            "warning",
        )


def _sharing(
    facts: Sequence[CheckedCase], keys: Callable[[CheckedCase], Iterable[str]]
) -> list[list[CheckedCase]]:
    """Groups of two or more cases that share a key, each group once."""
    holders: dict[str, dict[str, CheckedCase]] = {}
    for fact in facts:
        for key in filter(None, keys(fact)):
            holders.setdefault(key, {})[fact.case.case_id] = fact
    groups = {tuple(cases): list(cases.values()) for cases in holders.values()}
    return [cases for cases in groups.values() if len(cases) > 1]


def _twin(
    cases: list[CheckedCase], kind: FindingKind, message: str, repair: str
) -> Finding:
    last = cases[-1].case
    file = last.label if kind == "same label" else last.images[0]
    return Finding(_ids(cases), file, kind, message, repair, "error")


def _ids(cases: Iterable[CheckedCase]) -> str:
    return ", ".join(fact.case.case_id for fact in cases)
