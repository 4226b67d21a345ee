"""Splits of a data set: those it came with, else folds by patient, equal in cases."""

from collections import defaultdict
from collections.abc import Container, Sequence

from medseg.datasets.case import Case, Dataset
from medseg.datasets.splits import Split, split_problems, splits_of_folds
from medseg.errors import DatasetError
from medseg.files import hash_text


def make_splits(
    dataset: Dataset, *, num_folds: int = 5, seed: int = 0
) -> tuple[Split, ...]:
    """The splits that a data set came with, exactly as given; else those of new folds.

    Args:
        dataset: Its labelled cases are split.
        num_folds: Number of folds, unless the data set came with splits.
        seed: Another seed gives other folds, unless the data set came with splits.

    Raises:
        DatasetError: A given split names a case twice, an unknown one, or the same
            case or patient for training and validation; or no folds can be made.
    """
    check_splits(dataset)
    if dataset.splits:
        return dataset.splits
    return splits_of_folds(make_folds(dataset, num_folds=num_folds, seed=seed))


def check_splits(dataset: Dataset) -> None:
    """Refuses given splits that cannot be kept exactly; every fault is named.

    Raises:
        DatasetError: There are such.
    """
    patients = {case.case_id: case.patient_id for case in dataset.cases}
    problems = [text for _, text in split_problems(dataset.splits, patients)]
    if problems:
        named = "\n  ".join(problems[:20])
        raise DatasetError(
            f"{dataset.root}: the given splits cannot be used as they are\n  {named}"
        )


def divide_cases(
    cases: Sequence[Case], listed: Container[str] | None
) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """The cases that given splits name, and the others; None names all."""
    kept = tuple(case for case in cases if listed is None or case.case_id in listed)
    chosen = {case.case_id for case in kept}
    return kept, tuple(case for case in cases if case.case_id not in chosen)


def make_folds(
    dataset: Dataset, *, num_folds: int = 5, seed: int = 0
) -> dict[str, int]:
    """The fold in which each case validates, so that no patient is in two folds.

    Patients are taken in an order that depends on the seed and their id alone, those
    with most cases first, and each goes to the fold with fewest cases.

    Args:
        dataset: Its labelled cases are split.
        num_folds: Number of folds.
        seed: Another seed gives another split.

    Returns:
        Fold by case id, in the order of the data set's cases.

    Raises:
        DatasetError: There is no case, or there are fewer patients than folds.
    """
    if not dataset.cases:
        raise DatasetError(
            f"{dataset.root}: no case has both an image and a label map "
            f"({len(dataset.lone_images)} images and {len(dataset.lone_labels)} label "
            "maps have no partner); files are paired by name"
        )
    groups = defaultdict(list)
    for case in dataset.cases:
        groups[case.patient_id].append(case.case_id)
    _require_patients(dataset, len(groups), num_folds)
    assigned: dict[str, int] = {}
    sizes = [0] * num_folds
    for patient in _order(groups, seed):
        fold = min(range(num_folds), key=lambda number: (sizes[number], number))
        assigned[patient] = fold
        sizes[fold] += len(groups[patient])
    return {case.case_id: assigned[case.patient_id] for case in dataset.cases}


def _order(groups: dict[str, list[str]], seed: int) -> list[str]:
    shuffled = sorted(groups, key=lambda patient: hash_text(f"{seed}:{patient}"))
    return sorted(shuffled, key=lambda patient: -len(groups[patient]))


def _require_patients(dataset: Dataset, num_patients: int, num_folds: int) -> None:
    if not 2 <= num_folds <= num_patients:
        raise DatasetError(
            f"{dataset.name}: {num_patients} patients ({dataset.patient_source}) "
            f"cannot be split into {num_folds} folds; at least one patient per fold "
            "and two folds are needed"
        )
