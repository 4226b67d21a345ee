"""Cases to train on and to validate on, as a data set's author or a table gives them.

A split is kept exactly as given: a case that it names neither for training nor for
validation takes no part in it, and several splits may validate the same case.
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches


@dataclass(frozen=True)
class Split:
    """One division into training and validation cases."""

    fold: int
    """Its number, as ``--fold`` takes it."""
    train: tuple[str, ...]
    """Ids of the cases to train on."""
    val: tuple[str, ...]
    """Ids of the cases that are held out."""

    def only(self, case_ids: Container[str]) -> "Split":
        """The split without the cases that are not among those given."""
        return replace(
            self,
            train=tuple(name for name in self.train if name in case_ids),
            val=tuple(name for name in self.val if name in case_ids),
        )


def splits_of_folds(folds: Mapping[str, int]) -> tuple[Split, ...]:
    """A split per fold: its cases validate, those of the other folds are trained on.

    Args:
        folds: Fold by case id.
    """
    return tuple(
        Split(
            fold,
            train=tuple(name for name, number in folds.items() if number != fold),
            val=tuple(name for name, number in folds.items() if number == fold),
        )
        for fold in sorted(set(folds.values()))
    )


def folds_of_splits(splits: Sequence[Split]) -> dict[str, int] | None:
    """Fold by case id, or None where the splits are no cross-validation.

    Every case must validate in one split and be trained on in all others.
    """
    folds = {name: split.fold for split in splits for name in split.val}
    same = {(s.fold, frozenset(s.train), frozenset(s.val)) for s in splits} == {
        (s.fold, frozenset(s.train), frozenset(s.val)) for s in splits_of_folds(folds)
    }
    return folds if same else None


def named_cases(splits: Iterable[Split]) -> set[str]:
    """Every case that some split trains on or validates on."""
    return {name for split in splits for name in (*split.train, *split.val)}


def split_problems(
    splits: Sequence[Split], patients: Mapping[str, str]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """What keeps splits from being used: the cases concerned, and the fault in words.

    Args:
        splits: As they were given.
        patients: Patient by case id, of all cases that have a label map.
    """
    for split in splits:
        where = f"fold {split.fold}"
        for part, names in (("train", split.train), ("val", split.val)):
            twice = [name for name, n in Counter(names).items() if n > 1]
            if twice:
                yield tuple(twice), f"{where} lists {some(twice)} twice under {part}"
        unknown = [n for n in (*split.train, *split.val) if n not in patients]
        if unknown:
            near = get_close_matches(unknown[0], patients, n=1)
            hint = f" (nearest: {near[0]})" if near else ""
            text = f"{where} names {some(unknown)}, which no case with a label map is "
            yield tuple(unknown), f"{text}called{hint}"
        trained = set(split.train)
        both = [name for name in split.val if name in trained]
        if both:
            yield (
                tuple(both),
                f"{where} has {some(both)} in both train and val, so validation would "
                "see training cases",
            )
    yield from _divided_patients(splits, patients)


def some(names: Sequence[str], *, most: int = 5) -> str:
    """The first of several names, and how many more there are."""
    more = [f"and {len(names) - most} more"] if len(names) > most else []
    return ", ".join([*names[:most], *more])


def _divided_patients(
    splits: Sequence[Split], patients: Mapping[str, str]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Patients of whom a split trains on one case and validates on another; once."""
    told: set[str] = set()
    for split in splits:
        trained = {patients[name]: name for name in split.train if name in patients}
        for name in split.val:
            patient = patients.get(name, "")
            other = trained.get(patient, name)
            if other != name and patient not in told:
                told.add(patient)
                yield (
                    tuple(sorted((other, name))),
                    f"fold {split.fold} trains on {other} and validates on {name}, "
                    f"both of patient {patient}, so validation would see training "
                    "patients",
                )
