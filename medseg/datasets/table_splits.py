"""Which splits a table of cases gives, by its columns called split and fold.

Three forms are understood, and kept exactly:

- a ``fold`` column of numbers: a case validates in its fold and is trained on in all
  others; one without a number takes no part;
- a ``split`` column of ``train``, ``val`` and ``test`` (or of numbers, as above): fold
  0 validates the ``val`` cases, and is the only one;
- a column per fold, ``fold_0``, ``fold_1``, ..., of ``train`` and ``val``: cases that
  are neither take no part in the fold.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.datasets.patients import first_column
from medseg.datasets.splits import Split, named_cases, splits_of_folds
from medseg.errors import DatasetError

SPLIT_COLUMNS = ("split", "subset", "partition", "set")
_FOLD = re.compile(r"^(cv_?)?folds?_?(\d*)$")
_WORDS = {"test": "test", "testing": "test", "held_out": "test", "holdout": "test"}
_WORDS |= dict.fromkeys(("val", "valid", "validation", "dev"), "val")
_WORDS |= dict.fromkeys(("train", "training", "tr"), "train")
_WORDS[""] = ""

Row = Mapping[str, str]


@dataclass(frozen=True)
class SplitColumns:
    """Which columns of a table say how its cases are split."""

    path: Path
    """The table, for messages."""
    split: str | None = None
    """Column of ``train``, ``val``, ``test`` or of numbers."""
    fold: str | None = None
    """Column of numbers."""
    by_fold: tuple[tuple[int, str], ...] = ()
    """Fold and its own column of ``train`` and ``val``."""

    def is_test(self, row: Row, line: int) -> bool:
        """Whether a row is held out for testing.

        Raises:
            DatasetError: A cell holds none of the words; the line is named.
        """
        if self.split is not None and self.word(row, line) == "test":
            return True
        words = {_WORDS[row[column].lower()] for _, column in self.by_fold}
        return words == {"test"}

    def word(self, row: Row, line: int) -> str:
        """``train``, ``val``, ``test``, a number or nothing, by the split column.

        Raises:
            DatasetError: The cell holds something else; the line is named.
        """
        text = row[self.split].lower() if self.split else ""
        if text.isdecimal():
            return text
        if text not in _WORDS:
            raise DatasetError(
                f"{self.path}, line {line}: split {text!r}, expected train, val, test "
                "or a number"
            )
        return _WORDS[text]

    def number(self, row: Row, line: int) -> int | None:
        """The fold by the fold column.

        Raises:
            DatasetError: The cell holds something else; the line is named.
        """
        text = row[self.fold] if self.fold else ""
        match = re.match(r"^(?:fold[_ ]?)?(\d+)(?:\.0)?$", text)
        if text and not match:
            raise DatasetError(
                f"{self.path}, line {line}: fold {text!r}, expected a whole number"
            )
        return int(match[1]) if match else None


def find_split_columns(rows: Sequence[Row], path: Path) -> SplitColumns:
    """The columns that say how a table's cases are split; empty ones do not count.

    Raises:
        DatasetError: Several columns give folds, each its own.
    """
    named = [name for name in rows[0] if _FOLD.match(name)]
    filled = [name for name in named if any(row[name] for row in rows)]
    worded = [
        name for name in filled if all(row[name].lower() in _WORDS for row in rows)
    ]
    numbered = [name for name in filled if name not in worded]
    by_fold = tuple((_number_of(name), name) for name in worded)
    if len(numbered) + bool(worded) > 1 or len({n for n, _ in by_fold}) < len(by_fold):
        raise DatasetError(
            f"{path}: columns {', '.join(filled)} each give folds; keep one of them"
        )
    return SplitColumns(
        path=path,
        split=first_column(dict(rows[0]), SPLIT_COLUMNS),
        fold=numbered[0] if numbered else None,
        by_fold=by_fold,
    )


def given_splits(
    rows: Mapping[str, tuple[int, Row]], columns: SplitColumns
) -> tuple[tuple[Split, ...], set[str] | None]:
    """The splits that a table gives, and the cases it lists for training.

    Args:
        rows: Line and row by case id, of the labelled cases that are not held out.
        columns: Which columns to read.

    Returns:
        The splits, none where folds are to be made; and the cases that take part,
        None for all.

    Raises:
        DatasetError: A cell is wrong, or two columns contradict each other.
    """
    words = {name: columns.word(row, line) for name, (line, row) in rows.items()}
    numbers = {name: columns.number(row, line) for name, (line, row) in rows.items()}
    folds = {name: number for name, number in numbers.items() if number is not None}
    splits = splits_of_folds(folds) or _by_column(rows, columns)
    by_split, listed = _by_words(words, columns.path)
    if splits and by_split:
        _require_agreement(splits, by_split, columns)
    splits = splits or by_split
    return splits, named_cases(splits) if splits else listed


def _by_column(
    rows: Mapping[str, tuple[int, Row]], columns: SplitColumns
) -> tuple[Split, ...]:
    def cases(column: str, word: str) -> tuple[str, ...]:
        return tuple(
            name
            for name, (_, row) in rows.items()
            if _WORDS[row[column].lower()] == word
        )

    return tuple(
        Split(fold, train=cases(column, "train"), val=cases(column, "val"))
        for fold, column in columns.by_fold
    )


def _by_words(
    words: Mapping[str, str], path: Path
) -> tuple[tuple[Split, ...], set[str] | None]:
    """Splits and listed cases by the split column alone.

    An empty cell means training where the column marks nothing else for it, and no
    part where it does.
    """
    found = set(words.values())
    numbers = {name: int(word) for name, word in words.items() if word.isdecimal()}
    if numbers and found & {"train", "val"}:
        raise DatasetError(
            f"{path}: the split column holds both numbers and "
            f"{' and '.join(sorted(found & {'train', 'val'}))}; keep one of the two"
        )
    if numbers:
        return splits_of_folds(numbers), None
    rest = "train" if "train" in found else ""
    train = tuple(name for name, word in words.items() if word == rest)
    val = tuple(name for name, word in words.items() if word == "val")
    if val:
        return (Split(0, train=train, val=val),), None
    return (), set(train)


def _require_agreement(
    splits: Sequence[Split], by_split: Sequence[Split], columns: SplitColumns
) -> None:
    """Refuses a split column that says otherwise than the folds."""
    folds = {(frozenset(s.train), frozenset(s.val)) for s in splits}
    for split in by_split:
        if (frozenset(split.train), frozenset(split.val)) not in folds:
            fold = columns.fold or ", ".join(name for _, name in columns.by_fold)
            raise DatasetError(
                f"{columns.path}: columns {columns.split} and {fold} both divide "
                "training from validation cases, and differently; keep one of them"
            )


def _number_of(column: str) -> int:
    match = _FOLD.match(column)
    return int(match[2]) if match and match[2] else 0
