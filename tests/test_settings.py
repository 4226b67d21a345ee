"""Settings that are wrong: each key by its path as written, and what to write."""

import re
from pathlib import Path

import pytest

from medseg.datasets.nnunet import scheme_of
from medseg.errors import SettingsError
from medseg.labels import LabelScheme
from medseg.plan import ChannelPlan, Plan
from medseg.runs.config import RunConfig, read_config
from medseg.settings import apply_overrides, parse_settings, read_yaml

SOURCES = sorted((Path(__file__).parent.parent / "medseg").rglob("*.py"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"plan": {"patch_size": [0, 16, 16]}}, "plan.patch_size.0: must be more than"),
        ({"plan": {"patch_size": 16}}, "plan.patch_size: must be a list, found 16"),
        ({"plan": {"batch_size": 0}}, "plan.batch_size: must be at least 1, found 0"),
        ({"plan": {"batch_size": "two"}}, "batch_size: must be a whole number, found"),
        ({"prepare": {"num_folds": 1}}, "prepare.num_folds: must be at least 2, found"),
        ({"prepare": {"target_spacing": [1, -1, 1]}}, "target_spacing.1: must be more"),
        ({"fold": -1}, "fold: must be at least 0, found -1"),
        ({"training": {"loss": {"name": "dise"}}}, "(nearest: dice), found 'dise'"),
        ({"training": {"loss": {"name": "ce", "weigth": 1}}}, "loss.weigth: unknown"),
        ({"training": {"loss": {}}}, "training.loss: must say which by its key 'name'"),
        ({"training": {"seeds": 1}}, "training.seeds: unknown key (nearest: seed)"),
        ({"budget": "15m"}, "budget: unknown key (it is training.budget); known keys"),
        ({"learning_rate": 1}, "unknown key (it is training.optimizer.learning_rate)"),
        ({"training": {"patch_size": [8, 8]}}, "unknown key (it is plan.patch_size)"),
        ({"prepare": {"lossy": 1}}, "prepare.lossy: unknown key; known keys: "),
        ({"training": 7}, "training: must hold keys of its own, found 7"),
        ({"metrics": {"lesions": ["a", 3]}}, "metrics.lesions.1: must be a text"),
        ({"metrics": {"lesions": "al"}}, "metrics.lesions: must be a list or must be"),
        ({"metrics": {"tolerances_mm": {"a": "x"}}}, "tolerances_mm.a: must be a"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_said_in_words(values, message):
    with pytest.raises(SettingsError, match=re.escape(message)) as caught:
        parse_settings(RunConfig, values, source="c.yaml")
    assert "Input should" not in str(caught.value)
    assert "Value error" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("ignore", "message"),
    [
        ([3, 4], "ignore: must be a whole number, found [3, 4]"),
        ("none", "ignore: must be a whole number, found 'none'"),
        (2, "label values occur twice: [1, 2, 0, 2]"),
        (0, "label values occur twice: [1, 2, 0, 0]"),
        (1.5, "ignore: must be a whole number, found 1.5"),
        ({"a": 3}, "ignore: must be a whole number"),
    ],
)
@pytest.mark.parametrize("regions", [False, True])
def test_an_impossible_ignore_label_is_refused_in_words(ignore, message, regions):
    labels = {"background": 0, "a": [1] if regions else 1, "b": 2, "ignore": ignore}
    with pytest.raises(SettingsError, match=re.escape(message)) as caught:
        scheme_of({"labels": labels}, Path("dataset.json"))
    assert str(caught.value).startswith("dataset.json: labels: ")
    assert "pydantic" not in str(caught.value)


def test_a_replaced_value_is_checked_like_a_written_one():
    scheme = LabelScheme(names={"a": 1, "b": 2}, ignore=9)
    assert scheme.replaced(ignore=7) == LabelScheme(names={"a": 1, "b": 2}, ignore=7)
    for changes in ({"ignore": 2}, {"ignore": [1]}, {"ignored": 3}, {"names": {}}):
        with pytest.raises(SettingsError):
            scheme.replaced(**changes)
    plan = Plan(
        name="p",
        spatial_dims=3,
        target_spacing=(1, 1, 1),
        channels=(ChannelPlan(name="CT"),),
        labels=scheme,
        patch_size=(8, 8, 8),
        batch_size=1,
        network={"name": "unet", "channels": [4, 8], "strides": [1, 2]},
    )
    assert plan.replaced(batch_size=3) == Plan(**{**dict(plan), "batch_size": 3})
    for changes in ({"patch_size": (8, 8)}, {"batch_size": 0}, {"channels": ()}):
        with pytest.raises(SettingsError):
            plan.replaced(**changes)


def test_no_setting_is_changed_unchecked():
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert ".model_copy(" not in text, path
        assert "model_construct(" not in text, path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training: {}\nfold: 1\ntraining: {seed: 2}\n", "'training' stands twice"),
        ("training:\n  seed: 1\n  steps: 2\n  seed: 3\n", "'seed' stands twice"),
        ("a: [{b: 1, b: 2}]\n", "'b' stands twice, at lines 1 and 1"),
        ("labels: {1: a, 2: b, 1: c}\n", "'1' stands twice"),
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path, text, message):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(SettingsError, match=message):
        read_yaml(tmp_path / "c.yaml")
    with pytest.raises(SettingsError, match=message):
        read_config(tmp_path / "c.yaml", [])


def test_a_key_that_stands_twice_in_an_override_is_refused():
    with pytest.raises(SettingsError, match="'name' stands twice"):
        apply_overrides({}, ["training.loss={name: ce, name: dice}"])


def test_a_merged_key_may_be_replaced(tmp_path):
    text = "a: &a {x: 1, y: 2}\nb: &b {<<: *a, x: 3}\nc: {<<: *b, y: 4}\n"
    (tmp_path / "c.yaml").write_text(text)
    found = read_yaml(tmp_path / "c.yaml")
    assert (found["b"], found["c"]) == ({"x": 3, "y": 2}, {"x": 3, "y": 4})


@pytest.mark.parametrize("name", ["study", "data.csv", "data.tsv", "dataset.json"])
def test_a_data_set_given_as_configuration_is_told_where_it_goes(tmp_path, name):
    path = tmp_path / name
    path.mkdir() if name == "study" else path.write_text("{}")
    with pytest.raises(SettingsError, match="--data"):
        read_config(path, [])
