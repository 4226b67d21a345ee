"""Rules are taken where they help, and only there."""

from pathlib import Path

import numpy as np
import pytest
from predict_phantoms import Predict
from workflow_models import make_model

from medseg.calibration.postprocessing import choose_postprocessing
from medseg.evaluation.pairs import CasePair
from medseg.inference.settings import InferenceSettings
from medseg.io import read_label_map, write_label_map
from medseg.labels import LabelScheme
from medseg.model import load_model, save_model
from medseg.plan import Plan
from medseg.postprocessing import CleaningRule
from medseg.volume import LabelMap

SCHEME = LabelScheme(names={"organ": 1, "lesion": 2})
PLAIN = InferenceSettings(engine="torch", precision="float32", overlap=0.5)


def pairs_of(
    folder: Path, cases: list[tuple[np.ndarray, np.ndarray]], patients: int = 99
) -> list[CasePair]:
    pairs = []
    for number, arrays in enumerate(cases):
        paths = []
        for kind, voxels in zip(("prediction", "reference"), arrays, strict=True):
            paths.append(folder / kind / f"case{number}.nii.gz")
            write_label_map(paths[-1], LabelMap(voxels.astype(np.uint8), np.eye(4)))
        pairs.append(CasePair(f"case{number}", *paths, f"p{number % patients}"))
    return pairs


def case(number: int) -> tuple[np.ndarray, np.ndarray]:
    """An organ, found with a speck elsewhere; lesions, one of them missed."""
    rng = np.random.default_rng(number)
    reference = np.zeros((24, 24, 16), np.uint8)
    reference[4:14, 4:14, 4:12] = 1
    for corner in ((6, 6, 6), (10, 10, 8), (16, 6, 4)):
        reference[tuple(slice(n, n + 2) for n in corner)] = 2
    prediction = reference.copy()
    prediction[16:18, 6:8, 4:6] = 0
    size = 2 + int(rng.integers(0, 3))
    prediction[18 : 18 + size, 18:20, 12:14] = 1
    return prediction, reference


def test_a_speck_calls_for_a_rule_and_lesions_are_left_alone(tmp_path: Path) -> None:
    pairs = pairs_of(tmp_path, [case(number) for number in range(8)])
    (rule,) = choose_postprocessing(pairs, SCHEME)
    assert rule.structure == "organ"
    assert rule.keep_largest or rule.min_volume_mm3 in (10, 30, 100, 300)
    assert "held-out cases it was chosen on" in rule.reason


def test_filled_holes_are_found(tmp_path: Path) -> None:
    cases = []
    for number in range(6):
        reference = np.zeros((16, 16, 16), np.uint8)
        reference[4:12, 4:12, 4:12] = 1
        prediction = reference.copy()
        prediction[7 : 8 + number % 3, 7:9, 7:9] = 0
        cases.append((prediction, reference))
    (rule,) = choose_postprocessing(pairs_of(tmp_path, cases), SCHEME)
    assert (rule.structure, rule.fill_holes) == ("organ", True)


def test_no_gain_no_rule(tmp_path: Path) -> None:
    cases = [(case(number)[1],) * 2 for number in range(6)]
    assert choose_postprocessing(pairs_of(tmp_path, cases), SCHEME) == ()


def test_gains_in_both_directions_are_chance(tmp_path: Path) -> None:
    cases = []
    for number in range(8):
        prediction, reference = case(number)
        if number % 2:
            reference = prediction.copy()  # here the speck is right
        cases.append((prediction, reference))
    rules = choose_postprocessing(pairs_of(tmp_path, cases), SCHEME)
    assert [rule for rule in rules if rule.structure == "organ"] == []


def test_few_patients_tell_nothing(tmp_path: Path) -> None:
    pairs = pairs_of(tmp_path, [case(number) for number in range(8)], patients=4)
    assert choose_postprocessing(pairs, SCHEME) == ()


def test_the_largest_is_not_tried_where_there_are_several(tmp_path: Path) -> None:
    cases = []
    for number in range(6):
        prediction, reference = case(number)
        reference[18:22, 2:6, 2:6] = 1  # a second organ, missed everywhere
        cases.append((prediction, reference))
    rules = choose_postprocessing(pairs_of(tmp_path, cases), SCHEME)
    assert not any(rule.keep_largest for rule in rules)


def test_regions_are_chosen_for_themselves(tmp_path: Path) -> None:
    scheme = LabelScheme(
        names={"organ": 1, "lesion": 2}, regions={"all": ("organ", "lesion")}
    )
    pairs = pairs_of(tmp_path, [case(number) for number in range(8)])
    assert {rule.structure for rule in choose_postprocessing(pairs, scheme)} <= {"all"}


@pytest.fixture
def cleaning_model(small_plan: Plan, tmp_path: Path) -> Path:
    make_model(tmp_path / "cleaning", small_plan, bias=0.5)
    loaded = load_model(tmp_path / "cleaning")
    structure = small_plan.labels.structures[0]
    rule = CleaningRule(structure=structure, min_volume_mm3=1e9)
    save_model(
        tmp_path / "cleaning",
        loaded.network,
        loaded.plan,
        loaded.provenance,
        postprocessing=(rule,),
    )
    return tmp_path / "cleaning"


def test_predict_applies_the_rules_and_says_so(
    cleaning_model: Path, tiny_study: Path, call: Predict, tmp_path: Path
) -> None:
    scan = sorted((tiny_study / "imagesTr").glob("*.nii.gz"))[0]
    (line,) = call(cleaning_model, scan, tmp_path / "out", settings=PLAIN)
    assert any("components" in remark for remark in line.warnings)
    structure = load_model(cleaning_model).plan.labels.structures[0]
    assert line.volumes_ml[structure] == 0
    assert not (read_label_map(tmp_path / "out" / line.outputs[0]).voxels == 1).any()


def test_predict_can_leave_them_out(
    cleaning_model: Path, tiny_study: Path, call: Predict, tmp_path: Path
) -> None:
    from medseg.prediction.segmenter import ScanOptions

    scan = sorted((tiny_study / "imagesTr").glob("*.nii.gz"))[0]
    options = ScanOptions(postprocess=False)
    out = tmp_path / "out"
    (line,) = call(cleaning_model, scan, out, settings=PLAIN, options=options)
    structure = load_model(cleaning_model).plan.labels.structures[0]
    assert line.volumes_ml[structure] > 0
    (again,) = call(cleaning_model, scan, out, settings=PLAIN)
    assert again.status == "done"


def test_rules_are_in_the_folder_and_on_the_card(cleaning_model: Path) -> None:
    assert (
        "components of 1e+09 mm³ and more" in (cleaning_model / "card.md").read_text()
    )
    (rule,) = load_model(cleaning_model).postprocessing
    assert rule.min_volume_mm3 == 1e9
