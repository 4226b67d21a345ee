"""Folds for cross-validation: split by patient, repeatable, equal in cases."""

from collections import defaultdict

from medseg.datasets.case import Case, Dataset
from medseg.errors import DatasetError
from medseg.files import hash_text


def make_folds(
    dataset: Dataset, *, num_folds: int = 5, seed: int = 0
) -> dict[str, int]:
    """The fold in which each case validates, so that no patient is in two folds.

    Patients are taken in an order that depends on the seed and their id alone, those
    with most cases first, and each goes to the fold with fewest cases. Folds that
    came with the data set are kept: only patients without one are distributed, over
    the folds that there are.

    Args:
        dataset: Its labelled cases are split.
        num_folds: Number of folds, unless every case came with one.
        seed: Another seed gives another split.

    Returns:
        Fold by case id, in the order of the data set's cases.

    Raises:
        DatasetError: There is no case, there are fewer patients than folds, or folds
            that came with the data set divide a patient.
    """
    if not dataset.cases:
        raise DatasetError(
            f"{dataset.root}: no case has both an image and a label map "
            f"({len(dataset.lone_images)} images and {len(dataset.lone_labels)} label "
            "maps have no partner); files are paired by name"
        )
    given = given_folds(dataset.cases)
    groups = defaultdict(list)
    for case in dataset.cases:
        groups[case.patient_id].append(case.case_id)
    if set(groups) - set(given):
        num_folds = max([num_folds, *(fold + 1 for fold in given.values())])
        _require_patients(dataset, len(groups), num_folds)
    assigned = dict(given)
    sizes = _sizes(groups, given, num_folds)
    for patient in _order(groups, seed):
        if patient not in assigned:
            fold = min(range(num_folds), key=lambda number: (sizes[number], number))
            assigned[patient] = fold
            sizes[fold] += len(groups[patient])
    return {case.case_id: assigned[case.patient_id] for case in dataset.cases}


def given_folds(cases: tuple[Case, ...]) -> dict[str, int]:
    """Fold by patient, as far as the data set came with folds.

    Raises:
        DatasetError: A patient has cases in two folds.
    """
    folds: dict[str, int] = {}
    for case in cases:
        if case.fold is None:
            continue
        known = folds.setdefault(case.patient_id, case.fold)
        if known != case.fold:
            raise DatasetError(
                f"{case.case_id}: patient {case.patient_id} is in folds {known} and "
                f"{case.fold}, so validation would see training patients; give all "
                "cases of a patient the same fold"
            )
    return folds


def _order(groups: dict[str, list[str]], seed: int) -> list[str]:
    shuffled = sorted(groups, key=lambda patient: hash_text(f"{seed}:{patient}"))
    return sorted(shuffled, key=lambda patient: -len(groups[patient]))


def _sizes(
    groups: dict[str, list[str]], given: dict[str, int], num_folds: int
) -> dict[int, int]:
    sizes = dict.fromkeys(range(num_folds), 0)
    for patient, fold in given.items():
        sizes[fold] = sizes.get(fold, 0) + len(groups[patient])
    return sizes


def _require_patients(dataset: Dataset, num_patients: int, num_folds: int) -> None:
    if not 2 <= num_folds <= num_patients:
        raise DatasetError(
            f"{dataset.name}: {num_patients} patients ({dataset.patient_source}) "
            f"cannot be split into {num_folds} folds; at least one patient per fold "
            "and two folds are needed"
        )
