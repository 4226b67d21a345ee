"""Models that need no training, and a call that leaves the user's key alone."""

import os
import warnings
from pathlib import Path
from typing import Any

import pytest
from predict_phantoms import Predict
from workflow_models import make_model

from medseg.console import Console
from medseg.inference.settings import InferenceSettings
from medseg.plan import ChannelPlan, Plan
from medseg.preparation import Store
from medseg.workflows.predict import predict
from medseg.workflows.predictions import Prediction

PLAIN = InferenceSettings(engine="torch", precision="float32", overlap=0.5)
"""The reference; measuring engines and windows has tests of its own."""


@pytest.fixture(scope="session")
def small_plan(tiny_store: Store) -> Plan:
    plan = tiny_store.plan
    network = {"name": "unet", "channels": [4, 8], "strides": [1, 2]}
    values = plan.model_dump() | {"network": network, "patch_size": (16, 16, 16)}
    return Plan.model_validate(values)


@pytest.fixture(scope="session")
def model(small_plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "plain", small_plan)


@pytest.fixture(scope="session")
def bright_model(small_plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that finds its first structure nearly everywhere."""
    folder = tmp_path_factory.mktemp("models") / "bright"
    return make_model(folder, small_plan, bias=0.5)


@pytest.fixture(scope="session")
def ct_model(small_plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    channel = ChannelPlan(name="CT", normalization="ct", clip=(-1000, 1000), std=100)
    plan = small_plan.model_copy(update={"channels": (channel,)})
    return make_model(tmp_path_factory.mktemp("models") / "ct", plan, bias=0.1)


@pytest.fixture(scope="session")
def two_channel_model(
    small_plan: Plan, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    channels = (ChannelPlan(name="t1"), ChannelPlan(name="flair"))
    plan = small_plan.model_copy(update={"channels": channels})
    return make_model(tmp_path_factory.mktemp("models") / "two", plan)


@pytest.fixture(autouse=True)
def _own_key(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.getbasetemp() / "config"
    monkeypatch.setenv("XDG_CONFIG_HOME", os.fspath(folder))


@pytest.fixture
def call() -> Predict:
    def run(
        model: Path, scans: Path, out: Path, *, loud: bool = False, **options: Any
    ) -> list[Prediction]:
        progress = Console(quiet=not loud)
        options.setdefault("settings", PLAIN)
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            return predict(
                model, scans, out, device="cpu", progress=progress, **options
            )

    return run
