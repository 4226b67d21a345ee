import math

import numpy as np
import pandas as pd
import pytest

from medseg.errors import DatasetError
from medseg.evaluation.ranking import rank_variations
from medseg.evaluation.statistics import compare_pairs, holm, paired_scores


def table(dice, *, cases=None, patients=None):
    cases = cases or [f"case_{n}" for n in range(len(dice))]
    return pd.DataFrame(
        {
            "case_id": cases,
            "patient_id": patients or cases,
            "structure": "organ",
            "dice": dice,
        }
    )


def wide(**columns):
    return {"organ": pd.DataFrame(columns)}


def test_scores_are_paired_by_case_whatever_the_order():
    first = table([0.1, 0.2, 0.3])
    second = table([0.6, 0.5, 0.4], cases=["case_2", "case_1", "case_0"])
    paired = paired_scores({"a": first, "b": second}, metric="dice", structure="organ")
    assert (paired["b"] - paired["a"]).round(9).tolist() == [0.3] * 3


def test_cases_of_one_patient_count_once():
    scores = table([0.2, 0.4, 0.9], patients=["p", "p", "q"])
    paired = paired_scores({"a": scores}, metric="dice", structure="organ")
    assert paired["a"].tolist() == pytest.approx([0.3, 0.9])


def test_unpaired_cases_are_refused_and_named():
    tables = {"a": table([0.1, 0.2]), "b": table([0.1], cases=["case_0"])}
    with pytest.raises(DatasetError, match="b: lacks 1 of 2 cases, such as case_1"):
        paired_scores(tables, metric="dice", structure="organ")


def test_a_case_that_occurs_twice_is_refused():
    tables = {"a": table([0.1, 0.2], cases=["x", "x"])}
    with pytest.raises(DatasetError, match="a: case x occurs twice"):
        paired_scores(tables, metric="dice", structure="organ")


def test_a_constant_gain_wins_every_case():
    base = np.linspace(0.5, 0.7, 10)
    found = compare_pairs(wide(a=base + 0.1, b=base))[0]
    assert (found.wins, found.ties, found.losses) == (10, 0, 0)
    assert found.mean_difference == pytest.approx(0.1)
    assert found.rank_biserial == 1
    assert found.p_value < 0.01


def test_where_smaller_is_better_a_larger_value_loses():
    base = np.linspace(5, 7, 10)
    found = compare_pairs(wide(a=base + 1, b=base), larger_is_better=False)[0]
    assert (found.wins, found.losses) == (0, 10)
    assert found.mean_difference == pytest.approx(1)
    assert found.rank_biserial == -1


def test_equal_variations_tie_and_differ_by_nothing():
    base = np.linspace(0, 1, 8)
    found = compare_pairs(wide(a=base, b=base))[0]
    assert (found.ties, found.p_value, found.mean_difference) == (8, 1, 0)
    assert (found.ci_low, found.ci_high) == (0, 0)
    assert math.isnan(found.cohen_dz)


def test_the_wilcoxon_p_value_is_scipys():
    from scipy.stats import wilcoxon

    generator = np.random.default_rng(0)
    a, b = generator.random((2, 20))
    found = compare_pairs(wide(a=a, b=b))[0]
    assert found.p_value == pytest.approx(wilcoxon(a, b).pvalue)


def test_patients_without_a_value_are_left_out_and_counted():
    found = compare_pairs(wide(a=[0.1, 0.2, np.nan], b=[0.1, np.nan, 0.3]))[0]
    assert (found.n, found.n_excluded) == (1, 2)


def test_three_variations_make_three_comparisons_corrected_together():
    generator = np.random.default_rng(0)
    base = generator.random(12)
    noise = generator.normal(0, 0.01, (2, 12))
    scores = wide(a=base + 0.2, b=base + noise[0], c=base + noise[1])
    found = {(c.first, c.second): c for c in compare_pairs(scores)}
    assert set(found) == {("a", "b"), ("a", "c"), ("b", "c")}
    assert found["a", "b"].p_holm == pytest.approx(3 * found["a", "b"].p_value)
    assert found["b", "c"].p_holm == found["b", "c"].p_value


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.02, math.nan])[0] == 0.02


def test_a_clear_winner_is_first_in_every_resample():
    generator = np.random.default_rng(0)
    base = generator.random(15)
    scores = pd.DataFrame({"weak": base, "strong": base + 0.5, "middle": base + 0.2})
    found = rank_variations(scores, num_resamples=200)
    assert found["variation"].tolist() == ["strong", "middle", "weak"]
    assert found["share_first"].tolist() == [1, 0, 0]
    assert found["rank_low"].tolist() == found["rank_high"].tolist() == [1, 2, 3]
    assert found["mean_rank"].tolist() == [1, 2, 3]
    assert found["rank_agreement"].tolist() == pytest.approx([1, 1, 1])


def test_a_toss_up_is_called_one():
    a, b = np.random.default_rng(0).random((2, 30))
    found = rank_variations(pd.DataFrame({"a": a, "b": b}), num_resamples=500)
    assert found["rank_high"].max() == 2
    assert found["rank_low"].min() == 1
    assert found["rank_agreement"][0] < 1


def test_where_smaller_is_better_the_smallest_is_first():
    scores = pd.DataFrame({"far": [9.0, 8.0], "near": [1.0, 2.0]})
    found = rank_variations(scores, larger_is_better=False, num_resamples=100)
    assert found["variation"][0] == "near"
