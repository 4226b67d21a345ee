"""What many rooms test on: small studies, untrained models, too small disks.

No test may depend on how busy the machine is or on how it was started: hypothesis gets
a profile without time limits, and signals that the caller ignores (as a shell does for
a command in the background, and ``nohup`` for SIGHUP) act as in a terminal, here and in
the programs that tests start.
"""

import os
import signal
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

if not torch.cuda.is_available():
    # without a GPU, Triton's kernels are interpreted; read when Triton is imported
    os.environ["TRITON_INTERPRET"] = "1"

from hypothesis import HealthCheck, settings
from workflow_models import make_model

from medseg.datasets import load_dataset
from medseg.inference.settings import InferenceSettings
from medseg.plan import ChannelPlan, Plan
from medseg.prediction.predict import predict
from medseg.prediction.records import Prediction
from medseg.preparation import prepare
from medseg.store import Store
from medseg.testing.tiny_study import make_tiny_study

if TYPE_CHECKING:
    from predict_phantoms import Predict  # needs packages that a bare machine lacks

PLAIN = InferenceSettings(engine="torch", precision="float32", overlap=0.5)
"""The reference; measuring engines and windows has tests of its own."""

settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def _signals_as_in_a_terminal() -> Iterator[None]:
    usual = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, usual[number]) for number in usual}
    blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, usual)
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def tiny_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six cases of five patients in the Decathlon layout."""
    return make_tiny_study(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_store(tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The tiny study, prepared."""
    folder = tmp_path_factory.mktemp("store")
    return prepare(load_dataset(tiny_study), folder, num_folds=3, workers=1)


@pytest.fixture
def mount_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a file system in memory: ``size=300k`` is soon full, ``ro`` is sealed."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("no right to mount a small disk here")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", "-l", str(folder)], check=True)


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
    folder = tmp_path_factory.getbasetemp()
    monkeypatch.setenv("XDG_CONFIG_HOME", os.fspath(folder / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(folder / "cache"))


@pytest.fixture
def call() -> "Predict":
    def run(
        model: Path, scans: Path, out: Path, *, loud: bool = False, **options: Any
    ) -> list[Prediction]:
        from medseg.console import Console  # needs more than a bare machine has

        progress = Console(quiet=not loud)
        options.setdefault("settings", PLAIN)
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            return predict(
                model, scans, out, device="cpu", progress=progress, **options
            )

    return run
