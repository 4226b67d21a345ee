"""What variations have in common where runs of theirs are missing.

A study has parts, a fold and seed each. A pair of variations is compared on the parts
that both have, the ranks rest on those that all have: a run that is missing takes its
part from its own variation's pairs, and from no other pair.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING

from medseg.evaluation.by_size import IS_BIN

if TYPE_CHECKING:
    import pandas as pd

PART = "part"
"""Column that names the part of the study which a row is of."""
_MOST_NAMED = 6


def on_common_parts(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Rows of the parts that all tables have, a case's values averaged over seeds.

    Args:
        tables: Scores of each variation; those without the column `PART` come back as
            they are.
    """
    if not _have_parts(tables):
        return dict(tables)
    common = _common(tables)
    return {name: _averaged(t[t[PART].isin(common)]) for name, t in tables.items()}


def ranked_variations(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Those that have a part in common; else without those of fewest parts."""
    names = list(tables)
    while _have_parts(tables) and len(names) > 1:
        if _common({name: tables[name] for name in names}):
            break
        names.remove(min(reversed(names), key=lambda name: len(_parts(tables[name]))))
    return names


def remarks_on_parts(
    tables: Mapping[str, pd.DataFrame], *, kind: str
) -> tuple[str, ...]:
    """What the ranks rest on where not every variation has every part, in words.

    Args:
        tables: Scores of each variation.
        kind: What the parts are, in the plural.
    """
    if not _have_parts(tables):
        return ()
    every = list(dict.fromkeys(part for t in tables.values() for part in _parts(t)))
    ranked = ranked_variations(tables)
    common = _common({name: tables[name] for name in ranked})
    if len(ranked) == len(tables) and len(common) == len(every):
        return ()
    named = ", ".join(part for part in every if part in common)
    listed = f" ({named})" if len(common) <= _MOST_NAMED else ""
    remarks = [
        f"Each pair is compared on the {kind} that both finished; the ranks rest on "
        f"{len(common)} of {len(every)} {kind}{listed}, those that "
        f"{'all' if len(ranked) == len(tables) else ' and '.join(ranked)} finished."
    ]
    pairs = itertools.combinations(tables, 2)
    if apart := [f"{a} and {b}" for a, b in pairs if not _common(_two(tables, a, b))]:
        remarks.append(
            f"Not compared with each other, since they share none of the {kind}: "
            f"{'; '.join(apart)}."
        )
    if left := [name for name in tables if name not in ranked]:
        remarks.append(
            f"Without a rank, since none of the {kind} is common to all: "
            f"{', '.join(left)}."
        )
    return tuple(remarks)


def comparable_pairs(
    tables: Mapping[str, pd.DataFrame],
) -> list[dict[str, pd.DataFrame]]:
    """Every two variations that have a part in common, cut down to what they have."""
    pairs = (_two(tables, *names) for names in itertools.combinations(tables, 2))
    return [on_common_parts(p) for p in pairs if not _have_parts(p) or _common(p)]


def _two(
    tables: Mapping[str, pd.DataFrame], first: str, second: str
) -> dict[str, pd.DataFrame]:
    return {first: tables[first], second: tables[second]}


def _have_parts(tables: Mapping[str, pd.DataFrame]) -> bool:
    return bool(tables) and all(PART in table for table in tables.values())


def _parts(table: pd.DataFrame) -> list[str]:
    return [str(part) for part in table[PART].unique()]


def _common(tables: Mapping[str, pd.DataFrame]) -> set[str]:
    return set.intersection(*(set(_parts(table)) for table in tables.values()))


def _averaged(table: pd.DataFrame) -> pd.DataFrame:
    """One row per case and structure, the mean over seeds."""
    keys = ["case_id", "patient_id", "structure", IS_BIN]
    keys = [key for key in keys if key in table]
    return table.groupby(keys, sort=False).mean(numeric_only=True).reset_index()
