"""Settings made flat, short and acceptable."""

from medseg.tracking import flatten_params
from medseg.tracking.params import MAX_VALUE, clean_name, clean_value


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
    assert clean_name("Größe (%)") == "Gr__e ___"


def test_a_cut_shows():
    assert clean_value("x" * (MAX_VALUE + 1)).endswith("x…")
    assert clean_value("x" * MAX_VALUE) == "x" * MAX_VALUE
