import math
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest

from medseg.evaluation.bootstrap import mean_interval, resampled_groups
from medseg.evaluation.cases import StructureScore
from medseg.evaluation.lesions import Lesion, LesionScores
from medseg.evaluation.metrics import metric_named
from medseg.evaluation.settings import MetricSettings
from medseg.evaluation.summary import (
    OVERALL,
    summarize,
    summarize_lesions,
    summarize_objects,
)
from medseg.evaluation.tables import lesion_table, structure_table

QUICK = MetricSettings(num_resamples=200)


def row(case, structure, dice, outcome="scored", patient="", lesions=None, **values):
    rest = dict.fromkeys([field.name for field in fields(StructureScore)][5:-2], 1.0)
    return StructureScore(
        case_id=case,
        patient_id=patient or case,
        structure=structure,
        outcome=outcome,
        dice=dice,
        lesions=lesions,
        **(rest | values),
    )


TABLE = structure_table(
    [
        row("a", "organ", 0.9),
        row("a", "tumour", 0.6),
        row("b", "organ", 0.7),
        row("b", "tumour", 0.0, "missed"),
        row("c", "organ", 0.8),
        row("c", "tumour", math.nan, "absent"),
    ]
)


def summary_of(structure, metric="dice", table=TABLE, **options):
    found = summarize(table, settings=QUICK, **options)
    chosen = (found["structure"] == structure) & (found["metric"] == metric)
    return found[chosen].iloc[0]


def test_a_missed_structure_is_in_the_mean_and_counted():
    tumour = summary_of("tumour")
    assert tumour["mean"] == 0.3
    assert (tumour["n"], tumour["n_missed"], tumour["n_absent"]) == (2, 1, 1)


def test_the_overall_row_averages_the_structures_of_each_case_first():
    overall = summary_of(OVERALL)
    assert overall["mean"] == pytest.approx(np.mean([0.75, 0.35, 0.8]))
    assert (overall["n"], overall["n_missed"]) == (3, 1)


def test_the_overall_row_can_be_of_chosen_structures():
    both = pd.concat([TABLE, TABLE.assign(structure="whole", dice=1.0)])
    chosen = summary_of(OVERALL, table=both, overall=["organ", "tumour"])
    assert chosen["mean"] == pytest.approx(np.mean([0.75, 0.35, 0.8]))


def test_a_single_structure_has_no_overall_row():
    organ = TABLE[TABLE["structure"] == "organ"]
    assert OVERALL not in set(summarize(organ, settings=QUICK)["structure"])


def test_the_interval_surrounds_the_mean_and_is_repeatable():
    values = np.random.default_rng(0).beta(8, 2, size=40)
    low, high = mean_interval(values)
    assert low < values.mean() < high
    assert (low, high) == mean_interval(values)
    assert (low, high) != mean_interval(values, seed=1)


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says():
    generator = np.random.default_rng(1)
    samples = generator.beta(8, 2, size=(300, 25))
    hits = [
        low <= 0.8 <= high
        for low, high in (mean_interval(s, num_resamples=300) for s in samples)
    ]
    assert 0.88 < np.mean(hits) <= 1  # 0.95 asked for; three standard errors: 0.04


def test_cases_of_one_patient_widen_the_interval():
    values = np.repeat(np.random.default_rng(2).random(10), 8)
    patients = np.repeat(np.arange(10), 8).tolist()
    naive, honest = mean_interval(values), mean_interval(values, groups=patients)
    assert honest[1] - honest[0] > 2 * (naive[1] - naive[0])


def test_one_patient_has_no_interval_and_equal_values_one_of_no_width():
    assert np.isnan(mean_interval(np.array([0.5, 0.6]), groups=["p", "p"])).all()
    assert mean_interval(np.array([0.5, 0.5, math.nan])) == (0.5, 0.5)
    assert np.isnan(mean_interval(np.array([]))).all()


def test_resamples_draw_whole_patients():
    weights = resampled_groups(["p", "p", "q"], num_resamples=50, seed=0)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 1])
    assert set(weights[:, 0] + weights[:, 2]) == {2}


LESIONS = LesionScores(
    (
        Lesion(1, 0.05, 0.0, detected=False, dice=0.0),
        Lesion(2, 2.0, 0.9, detected=True, dice=0.8),
    ),
    (0.02,),
)


def test_lesions_are_summed_by_size_bin():
    rows = [row("a", "tumour", 0.5, lesions=LESIONS), row("a", "organ", 0.9)]
    table = lesion_table(rows, edges_ml=(0.1, 1.0))
    found = summarize_lesions(table).set_index("size_bin")
    assert list(found.index) == ["below 0.1 ml", "from 1 ml", "all sizes"]
    assert found.loc["below 0.1 ml", "sensitivity"] == 0
    assert found.loc["below 0.1 ml", "n_false_positives"] == 1
    assert found.loc["from 1 ml", "dice"] == 0.8
    assert found.loc["all sizes", "sensitivity"] == 0.5


def test_case_tables_carry_lesion_counts():
    table = structure_table(
        [row("a", "tumour", 0.5, lesions=LESIONS), row("a", "organ", 0.9)]
    )
    assert table.loc[0, "num_lesions"] == 2
    assert table.loc[0, "num_lesions_found"] == 1
    assert math.isnan(table.loc[1, "num_lesions"])


def test_objects_are_averaged_by_image_and_pooled():
    table = pd.DataFrame(
        {
            "case_id": ["a", "b"],
            "patient_id": ["a", "b"],
            "panoptic_quality": [0.5, 0.7],
            "ap_0.5": [1.0, 0.5],
            "f1_0.5": [1.0, 2 / 3],
            "found_0.5": [1, 9],
            "invented_0.5": [0, 9],
            "missed_0.5": [0, 0],
        }
    )
    found = summarize_objects(table, settings=QUICK)
    means = found.set_index(["structure", "metric"])["mean"]
    assert means["mean of images", "ap_0.5"] == 0.75
    assert means["all objects", "ap_0.5"] == 10 / 19
    assert means["all objects", "f1_0.5"] == 20 / 29


def test_metrics_know_which_way_is_better():
    assert metric_named("hd95_mm").larger_is_better is False
    assert metric_named("ap_0.5").title == "AP@0.5"
    assert metric_named("something").larger_is_better is True
