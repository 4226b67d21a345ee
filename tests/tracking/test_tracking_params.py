"""Settings made flat, short and acceptable."""

import re

import pytest

from medseg.tracking import flatten_params
from medseg.tracking.params import MAX_KEY, MAX_VALUE, clean_name, clean_value


def test_nested_settings_get_dotted_names():
    nested = {"loss": {"name": "dice", "weight": 0.5}, "steps": 3, "ema": False}
    expected = {"loss.name": "dice", "loss.weight": 0.5, "steps": 3, "ema": False}
    assert flatten_params(nested) == expected


def test_lists_and_nothing_become_text():
    values = {"patch": [40, 56, 40], "fold": None, "regions": {}}
    expected = {"p.patch": "[40, 56, 40]", "p.fold": "None", "p.regions": "{}"}
    assert flatten_params(values, prefix="p") == expected


def test_names_keep_what_mlflow_allows():
    assert clean_name("dice/left horn: 1.5-x_y") == "dice/left horn: 1.5-x_y"
    assert clean_name("dice/肝臓") == "dice/肝臓"
    assert re.fullmatch(r"Größe ____[0-9a-f]{4}", clean_name("Größe (%)"))


@pytest.mark.parametrize(
    "names",
    [
        ("dice/肝", "dice/腎"),
        ("dice/grade<3", "dice/grade>3", "dice/grade_3"),
        ("a//b", "a/b", "a_b", "a/b/", "/a/b"),
        ("..", ".", "", "../x"),
        ("x" * 300 + "a", "x" * 300 + "b"),
    ],
)
def test_different_names_stay_different_and_mlflow_takes_them(names):
    from mlflow.utils.validation import _validate_metric_name

    cleaned = [clean_name(name) for name in names]
    for name in cleaned:
        _validate_metric_name(name)
        assert len(name) <= MAX_KEY
    assert len(set(cleaned)) == len(names)


def test_a_cut_shows():
    assert clean_value("x" * (MAX_VALUE + 1)).endswith("x…")
    assert clean_value("x" * MAX_VALUE) == "x" * MAX_VALUE
