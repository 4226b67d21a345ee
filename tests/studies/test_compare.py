"""Studies: variations are laid over a base, paired, compared and never flattered."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from medseg.errors import (
    DatasetError,
    MissingFileError,
    OutputError,
    SettingsError,
    TrainingError,
)
from medseg.evaluation.by_size import scores_by_size
from medseg.evaluation.statistics import holm
from medseg.folder_lock import lock_folder
from medseg.reporting.comparison import format_p
from medseg.reporting.evidence import Evidence
from medseg.studies import compare as compare_module
from medseg.studies.compare import compare, compare_finished
from medseg.studies.comparison import (
    compare_runs,
    read_named_runs,
    write_comparison,
)
from medseg.studies.demo import demo
from medseg.studies.study import StudyChanges, StudyRun, merge, read_study
from medseg.tracking import open_mlflow_run
from medseg.tracking.store import connect


def table(shift: float, *, seed: int = 1, num_cases: int = 20) -> pd.DataFrame:
    """Dice of one structure; the same cases are hard in every variation."""
    hard = np.random.default_rng(0).uniform(0.5, 0.9, num_cases)
    noise = np.random.default_rng(seed).normal(0, 0.005, num_cases)
    names = [f"case_{number:02d}" for number in range(num_cases)]
    return pd.DataFrame(
        {
            "case_id": names,
            "patient_id": names,
            "structure": "lesion",
            "dice": hard + shift + noise,
        }
    )


def test_a_clear_winner_is_called_one(tmp_path: Path) -> None:
    tables = {
        "good": table(0.05, seed=3),
        "poor": table(0.0),
        "same": table(0.001, seed=2),
    }
    found = compare_runs(tables, ["dice"])
    assert found.ranking.iloc[0]["variation"] == "good"
    first = found.statistics.iloc[0]
    assert (first["first"], first["wins"]) == ("good", 20)
    assert "good has the best mean and differs from poor, same" in found.text
    write_comparison(tmp_path, found)
    assert (tmp_path / "figures" / "dice.png").stat().st_size > 10_000


TRAINED = Evidence(num_seeds=3, num_folds=5, steps=(2000, 2400))


@pytest.mark.parametrize(
    ("evidence", "claims", "words"),
    [
        (TRAINED, True, "3 seeds, 2,000 to 2,400 training steps per run."),
        (Evidence(1, 1, (10, 10)), False, "1 seed, 10 training steps per run."),
        (Evidence(1, 5, (2000, 2000)), False, "another seed may turn it around"),
        (Evidence(3, 5, (10, 2000)), False, "hardly train a network"),
        (Evidence(), False, "How many seeds and steps were trained is not known."),
    ],
)
def test_a_conclusion_says_what_it_rests_on_and_claims_no_more(
    evidence: Evidence, claims: bool, words: str
) -> None:
    found = compare_runs(
        {"good": table(0.05, seed=3), "poor": table(0.0)}, ["dice"], evidence=evidence
    )
    assert "good has the best mean and differs from poor" in found.text
    assert ("more than chance explains" in found.text) == claims
    assert "It rests on 20 held-out patients" in found.text
    assert words in found.text


def test_one_patient_allows_no_interval() -> None:
    tables = {"a": table(0.05, num_cases=1), "b": table(0.0, num_cases=1)}
    found = compare_runs(tables, ["dice"], evidence=TRAINED)
    assert "nan" not in found.text
    assert (
        "+0.0500 (one patient allows no interval) | – | – | 1/0/0 | 1 |" in found.text
    )
    assert "One patient allows no interval and no conclusion." in found.text
    assert "chance" not in found.text


def test_two_scans_of_one_patient_are_one_patient() -> None:
    tables = {
        name: table(shift, num_cases=2).assign(patient_id="p")
        for name, shift in {"a": 0.05, "b": 0.0}.items()
    }
    assert "One patient allows no interval" in compare_runs(tables, ["dice"]).text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "< 0.001"), (0.00099, "< 0.001"), (0.001, "0.001"), (0.04999, "0.050")],
)
def test_p_values_are_never_zero(value: float, text: str) -> None:
    assert format_p(value) == text


def own_metric_tables() -> dict[str, pd.DataFrame]:
    return {
        "near": table(0.0).assign(distance=lambda rows: 2.0 - rows["dice"]),
        "far": table(0.0, seed=2).assign(distance=lambda rows: 5.0 - rows["dice"]),
    }


@pytest.mark.parametrize("smaller", [True, False])
def test_own_metrics_are_compared_in_their_own_direction(smaller: bool) -> None:
    found = compare_runs(
        own_metric_tables(),
        ["distance"],
        smaller_is_better={"distance"} if smaller else (),
    )
    assert found.ranking.iloc[0]["variation"] == ("near" if smaller else "far")


def own_metrics(**values: object) -> dict[str, object]:
    one = {"name": "my_metrics.py:Distance", "column": "distance", **values}
    return {"metrics": {"extra": [one]}}


def test_a_study_may_compare_a_users_own_metric(tmp_path: Path) -> None:
    path = write_study(
        tmp_path,
        metrics=["dice", "distance"],
        shared=own_metrics(larger_is_better=False),
    )
    study, runs = read_study(path)
    assert study.metrics == ("dice", "distance")
    assert runs[0].config.metrics.smaller_is_better == {"distance"}
    wrong = write_study(tmp_path, metrics=["distanze"], shared=own_metrics())
    with pytest.raises(SettingsError, match=r"distanze: unknown \(nearest: distance\)"):
        read_study(wrong)


def test_finished_runs_know_the_direction_of_own_metrics(tmp_path: Path) -> None:
    for name, rows in own_metric_tables().items():
        scored(tmp_path, name, rows)
        settings = {"extra": own_metrics(larger_is_better=False)["metrics"]["extra"]}
        place = tmp_path / "runs" / name / "validation" / "summary.json"
        place.write_text(json.dumps({"settings": settings}))
    folders = [(n, str(tmp_path / "runs" / n)) for n in ("near", "far")]
    found = compare_finished(folders, tmp_path / "out", metrics=["distance"])
    assert found.ranking.iloc[0]["variation"] == "near"


def test_budget_folds_and_seeds_of_the_call_go_first(tmp_path: Path) -> None:
    changes = StudyChanges(budget="30s", folds=(2,), seeds=(1, 2))
    _, runs = read_study(write_study(tmp_path), changes)
    assert [run.name for run in runs] == [
        "dice_ce_fold2_seed1",
        "dice_focal_fold2_seed1",
        "dice_ce_fold2_seed2",
        "dice_focal_fold2_seed2",
    ]
    assert {run.config.training.budget for run in runs} == {30.0}
    assert changes.options == ["--budget", "30s", "--folds", "2", "--seeds", "1,2"]
    _, runs = read_study(write_study(tmp_path), StudyChanges())
    assert len(runs) == 4


def test_chance_is_called_chance() -> None:
    found = compare_runs({"a": table(0.0), "b": table(0.0, seed=2)}, ["dice"])
    assert "by more than chance explains" in found.text
    assert "differs from none" in found.text


def test_variations_on_different_cases_are_refused() -> None:
    with pytest.raises(DatasetError, match="case"):
        compare_runs({"a": table(0.0), "b": table(0.0).iloc[1:]}, ["dice"])


def test_one_variation_is_nothing_to_compare() -> None:
    with pytest.raises(DatasetError, match="nothing to compare: 1 variations"):
        compare_runs({"a": table(0.0)}, ["dice"])


def test_an_unfinished_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="the run has not finished"):
        read_named_runs([("a", str(tmp_path))])


def test_merging_replaces_what_has_another_name() -> None:
    base = {"loss": {"name": "dice_ce", "ce_weight": 2.0}, "seed": 1}
    assert merge(base, {"loss": {"name": "focal"}})["loss"] == {"name": "focal"}
    assert merge(base, {"loss": {"ce_weight": 3.0}})["loss"] == {
        "name": "dice_ce",
        "ce_weight": 3.0,
    }


DISTANCES = {"distances": True}


def write_study(folder: Path, **changes: object) -> Path:
    base = {
        "prepare": {"num_folds": 3},
        "plan": {
            "patch_size": [16, 16, 16],
            "batch_size": 2,
            "network": {"name": "unet", "channels": [4, 8], "strides": [1, 2]},
        },
        "training": {"steps": 2, "precision": "float32"},
        "metrics": {"num_resamples": 100, "distances": False},
        "tracking": {"enabled": False},
    }
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    study = {
        "name": "losses",
        "base": "base.yaml",
        "folds": [0, 1],
        "variations": {
            "dice_ce": {"training": {"loss": {"name": "dice_ce"}}},
            "dice_focal": {"training": {"loss": {"name": "dice_focal"}}},
        },
        **changes,
    }
    if (metrics := study.pop("base_metrics", None)) is not None:
        study["shared"] = {**study.get("shared", {}), "metrics": metrics}
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study))
    return path


def test_runs_come_fold_by_fold(tmp_path: Path) -> None:
    _, runs = read_study(write_study(tmp_path))
    assert [run.name for run in runs] == [
        "dice_ce_fold0_seed0",
        "dice_focal_fold0_seed0",
        "dice_ce_fold1_seed0",
        "dice_focal_fold1_seed0",
    ]


def test_a_wrong_variation_is_named(tmp_path: Path) -> None:
    variations = {"a": {}, "b": {"training": {"los": {}}}}
    with pytest.raises(SettingsError, match=r"variation b: training\.los: unknown key"):
        read_study(write_study(tmp_path, variations=variations))


def test_a_study_is_trained_compared_and_continued(
    tmp_path: Path, tiny_study: Path
) -> None:
    path = write_study(tmp_path)
    found = compare(path, tmp_path / "out", data=tiny_study)
    assert set(found.statistics["structure"]) == {"ball", "kernel"}
    assert found.statistics.iloc[0]["n"] >= 2
    weights = tmp_path / "out/runs/dice_ce_fold0_seed0/model/weights.safetensors"
    before = weights.stat().st_mtime_ns
    compare(path, tmp_path / "out", data=tiny_study)
    assert weights.stat().st_mtime_ns == before
    page = (tmp_path / "out" / "report.html").read_text()
    for part in ("Conclusion", "Differences", "Hard cases side by side", "Runs"):
        assert f">{part}</h2>" in page
    assert page.index('id="conclusion"') < page.index('id="differences"')
    assert page.index('id="differences"') < page.index('id="scores"')
    assert "2 training steps per run" in page
    assert "hardly train a network" in page
    links = re.findall(r'<a href="(runs/[^"]+)">', page)
    assert len(links) == 4
    assert all((tmp_path / "out" / link).is_file() for link in links)
    pictures = list((tmp_path / "out" / "hard_cases").glob("*.png"))
    assert len(pictures) == page.count('under each variation" src="data:') > 0
    by_folder = [
        (run.variation, str(tmp_path / "out/runs" / run.name))
        for run in read_study(path)[1]
    ]
    again = compare_finished(by_folder, tmp_path / "again")
    wanted = found.statistics[found.statistics["metric"] == "dice"]
    pd.testing.assert_frame_equal(again.statistics, wanted)


def test_a_second_compare_in_the_folder_is_told(
    tmp_path: Path, tiny_study: Path
) -> None:
    """Two would take runs from each other, and neither would finish."""
    path, out = write_study(tmp_path), tmp_path / "out"
    with lock_folder(out), pytest.raises(OutputError, match="writes results here"):
        compare(path, out, data=tiny_study)
    assert not (out / "runs").exists()


def test_finished_runs_are_found_in_mlflow(tmp_path: Path) -> None:
    store, names = f"sqlite:///{tmp_path / 'mlflow.db'}", {"good": 0.05, "poor": 0.0}
    ids = {}
    for name, shift in names.items():
        cases = tmp_path / name / "cases.csv"
        cases.parent.mkdir()
        table(shift).to_csv(cases, index=False)
        with open_mlflow_run(
            tracking_uri=store, experiment="x", run_name=name, folder=cases.parent
        ) as run:
            run.log_artifact(cases, folder="validation")
            ids[name] = run.run_id
    found = compare_finished(
        [(name, str(run_id)) for name, run_id in ids.items()],
        tmp_path / "out",
        tracking_uri=store,
    )
    assert found.ranking.iloc[0]["variation"] == "good"
    client = connect(store)
    experiment = client.get_experiment_by_name("comparisons")
    (kept,) = client.search_runs([experiment.experiment_id])
    names = {entry.path for entry in client.list_artifacts(kept.info.run_id)}
    assert names == {"statistics.csv", "ranking.csv", "summary.md", "figures"}
    with pytest.raises(MissingFileError, match="neither the folder of a run nor"):
        compare_finished([("a", "0" * 32)], tmp_path / "out", tracking_uri=store)


def test_a_run_that_is_nowhere_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="nowhere: no such folder of a run"):
        read_named_runs([("a", str(tmp_path / "nowhere"))])


def test_folds_of_one_name_must_not_share_cases(tmp_path: Path) -> None:
    (tmp_path / "validation").mkdir()
    table(0.0).to_csv(tmp_path / "validation/cases.csv", index=False)
    with pytest.raises(DatasetError, match="case case_00 was held out in two"):
        read_named_runs([("a", str(tmp_path)), ("a", str(tmp_path))])


def lesions(shift: float, *, num_patients: int = 6) -> pd.DataFrame:
    """Each patient has a small lesion and, but for the last, a large one."""
    rows = [
        ("lesion", number, size, volume, 0.5 + shift * number)
        for number in range(num_patients)
        for size, volume in (("1 to 10 ml", 2.0), ("below 0.1 ml", 0.05))
        if volume < 1 or number < num_patients - 2
    ]
    rows.append(("false positive", 0, "1 to 10 ml", 3.0, 0.0))
    found = pd.DataFrame(
        rows, columns=["kind", "case", "size_bin", "volume_ml", "dice"]
    )
    case = found.pop("case").map("case_{:02d}".format)
    return found.assign(
        case_id=case, patient_id=case, structure="lesion", detected=found["dice"] > 0.5
    )


def test_lesions_are_compared_by_size_smallest_first() -> None:
    sized = scores_by_size(lesions(0.0))
    assert list(sized["structure"].unique()) == [
        "lesion, below 0.1 ml",
        "lesion, 1 to 10 ml",
    ]
    assert len(sized) == 6 + 4  # false positives are nobody's lesion
    tables = {
        name: pd.concat([table(shift), scores_by_size(lesions(shift))])
        for name, shift in {"good": 0.05, "poor": 0.0}.items()
    }
    found = compare_runs(tables, ["dice"])
    rows = found.statistics.set_index("structure")
    assert rows.loc["lesion, below 0.1 ml", "mean_difference"] == pytest.approx(0.125)
    assert "lesion, 1 to 10 ml" not in rows.index  # too few patients have one
    assert rows.loc["lesion", "p_holm"] == rows.loc["lesion", "p_value"]


def test_p_values_of_several_metrics_are_corrected_together() -> None:
    tables = {}
    for seed, name in enumerate("abc"):
        tables[name] = table(0.002 * seed, seed=seed).assign(
            nsd=table(0.003 * seed, seed=seed + 5)["dice"]
        )
    rows = compare_runs(tables, ["dice", "nsd"]).statistics
    assert len(rows) == 6
    assert rows["p_holm"].tolist() == pytest.approx(holm(rows["p_value"].tolist()))
    smallest = rows.loc[rows["p_value"].idxmin()]
    assert smallest["p_holm"] == pytest.approx(min(6 * smallest["p_value"], 1))


def test_a_structure_that_no_patient_has_is_not_compared() -> None:
    def scores(shift: float) -> pd.DataFrame:
        absent = table(0.0).assign(structure="rare", dice=float("nan"))
        return pd.concat([table(shift), absent], ignore_index=True)

    found = compare_runs({"a": scores(0.1), "b": scores(0.0)}, ["dice"])
    assert found.statistics["structure"].tolist() == ["lesion"]
    nothing = table(0.0).assign(dice=float("nan"))
    with pytest.raises(DatasetError, match="no patient has a structure"):
        compare_runs({"a": nothing, "b": nothing}, ["dice"])


@pytest.mark.parametrize(
    ("metric", "column"),
    [
        ("hd95", "hd95_mm"),
        ("HD95", "hd95_mm"),
        ("DSC", "dice"),
        ("surface-dice", "nsd"),
    ],
)
def test_usual_names_of_metrics_are_understood(
    tmp_path: Path, metric: str, column: str
) -> None:
    study, _ = read_study(
        write_study(tmp_path, metrics=[metric], base_metrics=DISTANCES)
    )
    assert study.metrics == (column,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": ["dise"]}, r"metric dise: unknown \(nearest: dice\)"),
        ({"metrics": ["dice", "hd59"]}, r"metric hd59: unknown \(nearest: hd95\)"),
        ({"metrics": ["panoptic_quality"]}, "metric panoptic_quality: unknown"),
        (
            {"metrics": ["nsd"], "base_metrics": {"distances": False}},
            "metric nsd: not measured with metrics.distances=false",
        ),
        ({"metrics": ["lesion_f1"]}, "metric lesion_f1: lesions are not scored"),
    ],
)
def test_a_metric_that_no_run_would_measure_is_refused_before_training(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        read_study(write_study(tmp_path, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": [0, 7]}, "no fold 7, only"),
        (
            {"base_metrics": {"tolerances_mm": {"bal": 3}}},
            r"no structure or region is called 'bal' \(nearest: ball\)",
        ),
        ({"base_metrics": {"lesions": ["kernels"]}}, r"\(nearest: kernel\)"),
        (
            {"variations": {"a": {}, "b": {"plan": {"patch_size": [16, 16]}}}},
            "b_fold0_seed0: plan: .*patch_size .* has 2 numbers, spatial_dims is 3",
        ),
    ],
)
def test_what_would_fail_at_its_turn_is_refused_before_the_first(
    tmp_path: Path, tiny_study: Path, changes: dict[str, object], message: str
) -> None:
    path = write_study(tmp_path, **changes)
    with pytest.raises(SettingsError, match=message):
        compare(path, tmp_path / "out", data=tiny_study)
    assert not list((tmp_path / "out").rglob("*.pt"))


def in_parts(shift: float, parts: str, *, seed: int = 1) -> pd.DataFrame:
    """Scores of runs called fold and seed in two signs; ten cases in each fold."""
    cases = table(shift, seed=seed)
    rows = [
        cases[:10] if fold == "0" else cases[10:]
        for fold, _ in (p for p in parts.split())
    ]
    return pd.concat(
        [
            part.assign(part=name, dice=part["dice"] + int(name[1]) / 100)
            for name, part in zip(parts.split(), rows, strict=True)
        ],
        ignore_index=True,
    )


ALL = "00 01 10 11"


@pytest.mark.parametrize(
    ("a", "b", "c", "pairs", "ranked", "remark"),
    [
        (ALL, ALL, ALL, [20, 20, 20], 20, ""),
        (ALL, "00 01 11", ALL, [20, 20, 20], 20, r"on 3 of 4 .*\(00, 01, 11\), .* all"),
        (ALL, "00 01", ALL, [10, 20, 10], 10, r"on 2 of 4 .*\(00, 01\), .* all"),
        ("00 01", "00 10", "00 11", [10, 10, 10], 10, r"on 1 of 4 .*\(00\), .* all"),
        (ALL, "00 01", "10", [10, 10], 10, r"on 2 of 4 .*\(00, 01\), .* a and b"),
    ],
)
def test_pairs_are_compared_on_the_parts_that_both_have(
    a: str, b: str, c: str, pairs: list[int], ranked: int, remark: str
) -> None:
    tables = {"a": in_parts(0.0, a), "b": in_parts(0.1, b), "c": in_parts(0.3, c)}
    found = compare_runs(tables, ["dice"])
    of_pairs = found.statistics.set_index(["first", "second"])
    assert list(of_pairs["n"]) == pairs
    # On the same folds and seeds, whatever the seeds are worth, it is the shift.
    shifts = {"a": 0.0, "b": 0.1, "c": 0.3}
    for first, second in of_pairs.index:
        found_shift = of_pairs.loc[(first, second), "mean_difference"]
        assert found_shift == pytest.approx(shifts[first] - shifts[second])
    assert set(found.ranking["n"]) == {ranked}
    assert bool(found.remarks) == bool(remark)
    assert re.search(remark, " ".join(found.remarks))
    assert all(said in found.text for said in found.remarks)


def test_a_variation_without_a_common_part_has_pairs_but_no_rank() -> None:
    tables = {
        "a": in_parts(0.0, ALL),
        "b": in_parts(0.1, "00 01"),
        "c": in_parts(0.3, "10"),
    }
    found = compare_runs(tables, ["dice"])
    assert list(found.ranking["variation"]) == ["b", "a"]
    pairs = zip(found.statistics["first"], found.statistics["second"], strict=True)
    assert list(pairs) == [("a", "b"), ("a", "c")]
    assert "Without a rank, since none of the folds and seeds is common to all: c." in (
        found.text
    )
    assert "share none of the folds and seeds: b and c." in found.text


def test_variations_without_anything_in_common_are_not_compared() -> None:
    tables = {"a": in_parts(0.0, "00"), "b": in_parts(0.1, "10")}
    with pytest.raises(DatasetError, match="a, b share none of the folds and seeds"):
        compare_runs(tables, ["dice"])


def scored(out: Path, run: str, scores: pd.DataFrame) -> None:
    folder = out / "runs" / run / "validation"
    folder.mkdir(parents=True)
    scores.to_csv(folder / "cases.csv", index=False)


def test_a_run_that_failed_costs_its_own_row_alone(tmp_path: Path) -> None:
    variations: dict[str, dict[str, object]] = {"good": {}, "poor": {}, "lost": {}}
    path = write_study(tmp_path, variations=variations)
    shifts = {"good": 0.05, "poor": 0.0, "lost": 0.2}
    for name, shift in shifts.items():
        cases = table(shift)
        for fold, part in enumerate((cases[:10], cases[10:])):
            if (name, fold) != ("lost", 1):
                scored(tmp_path / "out", f"{name}_fold{fold}_seed0", part)
    found = compare(path, tmp_path / "out", trained=True)
    pairs = found.statistics.set_index(["first", "second"])
    assert dict(pairs["n"]) == {
        ("good", "poor"): 20, ("good", "lost"): 10, ("lost", "poor"): 10,
    }  # fmt: skip
    for first, second in pairs.index:
        assert pairs.loc[(first, second), "mean_difference"] == pytest.approx(
            shifts[first] - shifts[second], abs=1e-6
        )
    assert list(found.ranking["variation"]) == ["lost", "good", "poor"]
    assert set(found.ranking["n"]) == {10}
    assert "lost_fold1_seed0" in found.failures
    page = (tmp_path / "out" / "report.html").read_text()
    for said in ("10 to 20 held-out patients in each pair", "1 of 2 folds and seeds"):
        assert said in (tmp_path / "out" / "summary.md").read_text()
        assert said in page


@pytest.mark.parametrize(
    "error", [TrainingError("diverged"), RuntimeError("no kernel"), OSError(28, "full")]
)
def test_whatever_ends_a_run_the_others_are_trained(
    tmp_path: Path,
    tiny_study: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    def fake(run: StudyRun, out: Path, **options: object) -> None:
        if run.variation == "b":
            raise error
        scored(out, run.name, table(0.0, seed=ord(run.variation)))

    monkeypatch.setattr(compare_module, "train_run", fake)
    variations: dict[str, dict[str, object]] = {"a": {}, "b": {}, "c": {}}
    path = write_study(tmp_path, variations=variations, folds=[0])
    found = compare(path, tmp_path / "out", data=tiny_study)
    assert list(found.failures) == ["b_fold0_seed0"]
    assert str(error) in found.text
    assert set(found.ranking["variation"]) == {"a", "c"}
    assert "Not compared, since no run finished: b." in found.text


def test_where_one_variation_is_left_the_page_says_what_became_of_each(
    tmp_path: Path,
) -> None:
    variations: dict[str, dict[str, object]] = {"good": {}, "lost": {}}
    path = write_study(tmp_path, variations=variations, folds=[0])
    scored(tmp_path / "out", "good_fold0_seed0", table(0.05))
    with pytest.raises(DatasetError, match="nothing to compare: 1 variations"):
        compare(path, tmp_path / "out", trained=True)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "good_<wbr>fold0_<wbr>seed0" in page
    assert "has not finished" in page
    assert f"{table(0.05)['dice'].mean():.4f}" not in page  # nothing was compared


def test_a_named_run_without_scores_costs_itself_alone(tmp_path: Path) -> None:
    runs = [("a", 0.0), ("b", 0.1), ("c", 0.2)]
    for name, shift in runs:
        scored(tmp_path, name, table(shift))
    (tmp_path / "runs" / "b" / "validation" / "cases.csv").unlink()
    folders = [(name, str(tmp_path / "runs" / name)) for name, _ in runs]
    found = compare_finished(folders, tmp_path / "out")
    assert set(found.ranking["variation"]) == {"a", "c"}
    assert "the run has not finished" in found.failures["b"]
    assert "- b: " in (tmp_path / "out" / "summary.md").read_text()
    with pytest.raises(MissingFileError, match="the run has not finished"):
        compare_finished(folders[:2], tmp_path / "out")


def test_a_named_fold_without_scores_costs_its_cases_alone(tmp_path: Path) -> None:
    runs = []
    for name, shift in (("a", 0.0), ("b", 0.1), ("c", 0.3)):
        cases = table(shift)
        for fold, part in enumerate((cases[:10], cases[10:])):
            scored(tmp_path / name, f"fold{fold}", part)
            runs.append((name, str(tmp_path / name / "runs" / f"fold{fold}")))
    (tmp_path / "b" / "runs" / "fold1" / "validation" / "cases.csv").unlink()
    found = compare_finished(runs, tmp_path / "out")
    pairs = found.statistics.set_index(["first", "second"])
    assert dict(pairs["n"]) == {("a", "b"): 10, ("a", "c"): 20, ("b", "c"): 10}
    assert pairs.loc[("a", "c"), "mean_difference"] == pytest.approx(-0.3)
    assert list(found.failures) == ["b (fold1)"]
    assert "the ranks rest on 10 of 20 cases, those that all finished" in found.text


@pytest.mark.parametrize("budget", ["3", "soon", ""])
def test_a_demo_of_no_duration_is_refused_before_the_work(
    tmp_path: Path, budget: str
) -> None:
    with pytest.raises(SettingsError, match=r"budget: .*(unit|duration|more)"):
        demo(tmp_path / "demo", budget=budget)
    assert not (tmp_path / "demo").exists()


def test_a_column_that_the_tables_lack_is_named() -> None:
    with pytest.raises(SettingsError, match=r"metric dise: unknown \(nearest: dice\)"):
        compare_runs({"a": table(0.0), "b": table(0.1)}, ["dise"])
