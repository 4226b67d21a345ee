"""Scores of presence against the definition of each of them."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.evaluation.presence import (
    area_under_curve,
    presence_table,
    summarize_presence,
)


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.2, 0.5, 0.9]), st.booleans()), min_size=1
    )
)
def test_auc_is_the_share_of_pairs_in_the_right_order(
    cases: list[tuple[float, bool]],
) -> None:
    with_it = [p for p, present in cases if present]
    without = [p for p, present in cases if not present]
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in with_it for b in without]
    expected = sum(pairs) / len(pairs) if pairs else math.nan
    found = area_under_curve(
        np.array([p for p, _ in cases]), np.array([present for _, present in cases])
    )
    assert found == pytest.approx(expected, nan_ok=True)


def scores(rows: list[tuple[str, str, str, float]]) -> pd.DataFrame:
    return pd.DataFrame(
        rows, columns=["case_id", "patient_id", "structure", "reference_ml"]
    )


def test_a_threshold_of_a_half_divides_found_from_missed() -> None:
    cases = scores(
        [
            ("a", "p1", "liver", 3.0),
            ("b", "p2", "liver", 0.1),
            ("c", "p3", "liver", 0.0),
            ("d", "p4", "liver", 0.0),
        ]
    )
    said = {"a": 0.5, "b": 0.49, "c": 0.6, "d": 0.1}
    table = presence_table(cases, {case: {"liver": p} for case, p in said.items()})
    assert list(table["present"]) == [True, True, False, False]
    (row,) = summarize_presence(table).to_dict(orient="records")
    assert (row["cases"], row["with"]) == (4, 2)
    assert (row["sensitivity"], row["specificity"]) == (0.5, 0.5)
    assert row["auc"] == pytest.approx(0.5)


def test_what_nobody_annotated_or_asked_has_no_row() -> None:
    cases = scores(
        [
            ("a", "p1", "liver", math.nan),
            ("a", "p1", "tumour", 1.0),
            ("b", "p2", "tumour", 1.0),
        ]
    )
    table = presence_table(cases, {"a": {"liver": 0.9, "tumour": 0.8}})
    assert list(table["structure"]) == ["tumour"]


def test_a_structure_of_every_case_has_no_auc_and_no_specificity() -> None:
    cases = scores([("a", "p1", "liver", 1.0), ("b", "p2", "liver", 2.0)])
    table = presence_table(cases, {"a": {"liver": 0.9}, "b": {"liver": 0.8}})
    (row,) = summarize_presence(table).to_dict(orient="records")
    assert row["sensitivity"] == 1.0
    assert math.isnan(row["auc"])
    assert math.isnan(row["specificity"])
