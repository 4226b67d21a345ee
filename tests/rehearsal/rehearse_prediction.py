"""Prediction of whole scans asks a GPU for nothing that it would refuse."""

import pytest
import torch
from ceilings import ROWS_LAUNCHES, ROWS_WAITS, SCAN_WAITS, WINDOW_LAUNCHES
from fake_gpu import FakeGPU
from rehearsed_fit import small_plan
from rehearsed_prediction import AROUND, NETWORK_ITSELF, Prediction, predict, scan

from medseg.labels import LabelScheme
from medseg.store import Store

THREE = LabelScheme(names={"a": 1, "b": 2})
MANY = LabelScheme(names={f"organ {number}": number for number in range(1, 20)})
NESTED = LabelScheme(names={"a": 1, "b": 2}, regions={"all": ("a", "b"), "b": ("b",)})


def rehearse(
    gpu: FakeGPU,
    store: Store,
    labels: LabelScheme = MANY,
    *,
    spacing: float = 1.25,
    **options: object,
) -> Prediction:
    plan = small_plan(store, labels=labels, patch_size=(32, 32, 32))
    return predict(gpu, plan, scan(spacing=spacing), **options)


@pytest.mark.parametrize("spacing", [1.0, 1.25])
@pytest.mark.parametrize("labels", [THREE, MANY, NESTED], ids=["3", "20", "regions"])
def test_of_a_whole_scan(
    gpu: FakeGPU, tiny_store: Store, labels: LabelScheme, spacing: float
) -> None:
    done = rehearse(gpu, tiny_store, labels, spacing=spacing)
    around = gpu.seen.parts[AROUND]
    assert gpu.seen.waits(NETWORK_ITSELF) == []
    launches = WINDOW_LAUNCHES * done.windows + ROWS_LAUNCHES * done.rows
    assert done.rows <= around.num_launches <= launches, around.describe()
    waits = SCAN_WAITS + ROWS_WAITS * done.rows
    assert around.waits.total() <= waits, gpu.seen.waits(AROUND)


def test_several_small_windows_are_computed_at_once(
    gpu: FakeGPU, tiny_store: Store
) -> None:
    done = rehearse(gpu, tiny_store, overlap=0.75)
    assert done.calls < done.windows / 4


def test_the_scan_is_sent_once(gpu: FakeGPU, tiny_store: Store) -> None:
    plan = small_plan(tiny_store, labels=THREE, patch_size=(32, 32, 32))
    volume = scan(spacing=plan.target_spacing[0], shape=(64, 64, 64))
    done = predict(gpu, plan, volume, overlap=0.75)
    windows = done.windows * 4 * 32**3
    scan_itself, tables = 4 * volume.voxels.size, 4 * 32**3 + 10_000
    assert gpu.seen.parts[AROUND].uploads <= scan_itself + tables < windows / 4


def test_windows_are_sent_without_a_wait_where_the_scan_does_not_fit(
    gpu: FakeGPU, tiny_store: Store
) -> None:
    done = rehearse(gpu, tiny_store, THREE, max_vram=20_000_000)
    assert done.windows > 1
    waits = [wait for wait in gpu.seen.waits(AROUND) if "to the device" in wait]
    assert waits == []


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_of_other_number_formats(
    gpu: FakeGPU, tiny_store: Store, precision: str
) -> None:
    assert rehearse(gpu, tiny_store, THREE, precision=precision).windows


def test_of_flips_and_batches(gpu: FakeGPU, tiny_store: Store) -> None:
    assert rehearse(gpu, tiny_store, flips=True, batch_size=3).windows


def test_of_the_second_gpu(gpu: FakeGPU, tiny_store: Store) -> None:
    assert rehearse(gpu, tiny_store, device=torch.device("cuda:1")).windows


def test_of_sums_that_do_not_fit(gpu: FakeGPU, tiny_store: Store) -> None:
    assert rehearse(gpu, tiny_store, max_vram=20_000_000).windows


def test_of_a_device_without_float64(tiny_store: Store) -> None:
    assert rehearse(FakeGPU(float64=False), tiny_store).windows
