"""Model folders whose description was changed: refused in words at once, or used."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from network_zoo import NETWORKS

from medseg.errors import MedsegError, SettingsError
from medseg.inference.predictor import Predictor
from medseg.model import Provenance, load_model, save_model
from medseg.networks.build import build_network
from medseg.networks.settings import UNetSettings
from medseg.plan import Plan
from medseg.settings import parse_settings
from medseg.store import Store
from medseg.volume import Volume

NUMBERS = (-1, 0, 10**30, float("nan"))
ODD: tuple[Any, ...] = (*NUMBERS, "x", [], None)


@pytest.fixture(scope="module")
def described(tiny_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    network = UNetSettings(channels=(4, 8), strides=(1, 2))
    plan = tiny_store.plan.replaced(network=network, patch_size=(16, 16, 16))
    built = build_network(
        network, spatial_dims=3, in_channels=1, out_channels=plan.num_outputs
    )
    save_model(folder, built, plan, Provenance(dataset="tiny"))
    return folder


def places(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in nested lists and mappings."""
    if path:
        yield path
    items = values.items() if isinstance(values, dict) else ()
    for key, value in items or (enumerate(values) if isinstance(values, list) else ()):
        yield from places(value, (*path, key))


def changed(values: Any, path: tuple[Any, ...], value: Any) -> Any:
    copy = yaml.safe_load(yaml.safe_dump(values))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return copy


def outcome(folder: Path, values: Any) -> str:
    """What becomes of loading and of predicting a small scan."""
    description = folder / "model.yaml"
    before = description.read_text()
    description.write_text(yaml.safe_dump(values))
    try:
        model = load_model(folder)
        scan = Volume(np.zeros((1, 12, 12, 12), np.float32), np.eye(4))
        Predictor(model.network, model.plan, torch.device("cpu")).predict(scan)
    except MedsegError as error:
        return str(error)
    finally:
        description.write_text(before)
    return "used"


SLOW = [pytest.param(part, marks=pytest.mark.slow) for part in ("plan", "rest")]


@pytest.mark.parametrize("part", ["network", "labels", *SLOW])
def test_no_value_ends_in_a_defect(described: Path, part: str) -> None:
    values = yaml.safe_load((described / "model.yaml").read_text())
    for path in places(values):
        where = path[1] if path[0] == "plan" and len(path) > 1 else path[0]
        group = where if where in {"network", "labels"} else path[0]
        if part != (group if group in {"plan", "network", "labels"} else "rest"):
            continue
        if path[:2] == ("plan", "reasons"):
            continue
        for value in ODD:
            outcome(described, changed(values, path, value))  # raises no other error


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("plan", "network", "convs_per_stage"), 1_000_000),
        (("plan", "network", "decoder_convs"), 10**9),
        (("plan", "network", "channels"), [4, 10**9]),
        (("plan", "network", "strides"), [1, -2]),
        (("plan", "network", "kernel_sizes"), 999_999),
        (("plan", "target_spacing"), [1.0, float("nan"), 1.0]),
        (("plan", "target_spacing"), [1.0, 0.0, 1.0]),
        (("plan", "target_spacing"), [1.0, 1.0, float("inf")]),
        (("plan", "patch_size"), [60_000, 60_000, 60_000]),
        (("plan", "batch_size"), 10**12),
    ],
)
def test_values_out_of_bounds_are_named(
    described: Path, path: tuple[str, ...], value: Any
) -> None:
    values = yaml.safe_load((described / "model.yaml").read_text())
    assert path[-1].split("_")[0] in outcome(described, changed(values, path, value))


def test_another_network_is_refused_before_memory_is_taken(
    described: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = yaml.safe_load((described / "model.yaml").read_text())
    large = changed(values, ("plan", "network", "channels"), [8192, 8192])
    devices: list[str] = []

    def build(*arguments: Any, **named: Any) -> torch.nn.Module:
        devices.append(torch.get_default_device().type)
        return build_network(*arguments, **named)

    monkeypatch.setattr("medseg.model.build_network", build)
    assert "weights do not fit model.yaml" in outcome(described, large)
    assert devices == ["meta"]


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"swinunetr"}))
def test_shapes_are_known_without_memory(name: str) -> None:
    arguments = {"spatial_dims": 3, "in_channels": 2, "out_channels": 3}
    with torch.device("meta"):
        planned = build_network(NETWORKS[name], **arguments).state_dict()
    real = build_network(NETWORKS[name], **arguments).state_dict()
    assert {k: v.shape for k, v in planned.items()} == {
        k: v.shape for k, v in real.items()
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_of_settings_are_finite(tiny_store: Store, value: float) -> None:
    values = tiny_store.plan.model_dump(mode="json")
    values["channels"][0]["mean"] = value
    with pytest.raises(SettingsError, match="mean"):
        parse_settings(Plan, values)


def test_what_was_measured_may_be_nan() -> None:
    record = parse_settings(Provenance, {"validation_dice": {"a": float("nan")}})
    assert np.isnan(record.validation_dice["a"])
