"""Prediction of whole scans asks a GPU for nothing that it would refuse."""

import numpy as np
import pytest
import torch
from ceilings import WINDOW_LAUNCHES, WINDOW_WAITS
from fake_gpu import FakeGPU
from rehearsed_fit import NETWORK, small_plan

from medseg.inference.engines.torch_engine import torch_engine
from medseg.inference.predictor import Predictor
from medseg.inference.settings import InferenceSettings
from medseg.labels import LabelScheme
from medseg.networks.build import build_network
from medseg.store import Store
from medseg.volume import Volume

CUDA = torch.device("cuda")
THREE = LabelScheme(names={"a": 1, "b": 2})
MANY = LabelScheme(names={f"organ {number}": number for number in range(1, 20)})
NESTED = LabelScheme(names={"a": 1, "b": 2}, regions={"all": ("a", "b"), "b": ("b",)})


@pytest.fixture
def gpu() -> FakeGPU:
    """To whom no window seems to hold a single value."""
    return FakeGPU(truth=False)


def scan(*, spacing: float) -> Volume:
    voxels = np.random.default_rng(0).normal(size=(1, 40, 34, 32)).astype(np.float32)
    return Volume(voxels, np.diag([spacing, spacing, spacing, 1.0]))


def predict(
    gpu: FakeGPU,
    store: Store,
    labels: LabelScheme,
    *,
    spacing: float,
    device: torch.device = CUDA,
    precision: str = "bfloat16",
    **settings: object,
) -> int:
    """Predicts a scan; the number of windows that the network was asked for."""
    plan = small_plan(store, labels=labels, patch_size=(32, 32, 32))
    windows = 0
    with gpu:
        network = build_network(
            NETWORK, spatial_dims=3, in_channels=1, out_channels=plan.num_outputs
        )
        network = network.eval().to(device)
        engine = torch_engine(network, device=device, precision=precision)

        def counted(batch: torch.Tensor) -> torch.Tensor:
            nonlocal windows
            windows += len(batch)
            with gpu.seen.during("network"):
                return engine(batch)

        predictor = Predictor(
            network, plan, device, InferenceSettings(**settings), forward=counted
        )
        volume = scan(spacing=spacing)
        with gpu.seen.during("around the network"):
            label_map = predictor.predict(volume)
    assert label_map.voxels.shape == volume.voxels.shape[1:]
    return windows


@pytest.mark.parametrize("spacing", [1.0, 1.25])
@pytest.mark.parametrize("labels", [THREE, MANY, NESTED], ids=["3", "20", "regions"])
def test_of_a_whole_scan(
    gpu: FakeGPU, tiny_store: Store, labels: LabelScheme, spacing: float
) -> None:
    windows = predict(gpu, tiny_store, labels, spacing=spacing)
    around = gpu.seen.parts["around the network"]
    assert gpu.seen.waits("network") == []
    assert around.num_launches <= WINDOW_LAUNCHES * windows, around.describe()
    assert around.waits.total() <= WINDOW_WAITS * windows, gpu.seen.waits()


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_of_other_number_formats(
    gpu: FakeGPU, tiny_store: Store, precision: str
) -> None:
    assert predict(gpu, tiny_store, THREE, spacing=1.0, precision=precision)


def test_of_flips_and_batches(gpu: FakeGPU, tiny_store: Store) -> None:
    assert predict(gpu, tiny_store, MANY, spacing=1.25, flips=True, batch_size=3)


def test_of_the_second_gpu(gpu: FakeGPU, tiny_store: Store) -> None:
    second = torch.device("cuda:1")
    assert predict(gpu, tiny_store, MANY, spacing=1.25, device=second)


def test_of_sums_that_do_not_fit(gpu: FakeGPU, tiny_store: Store) -> None:
    vram = 20_000_000
    assert predict(gpu, tiny_store, MANY, spacing=1.25, max_vram=vram)


def test_of_a_device_without_float64(tiny_store: Store) -> None:
    gpu = FakeGPU(truth=False, float64=False)
    assert predict(gpu, tiny_store, MANY, spacing=1.25)
