"""Prediction under a budget, and what happens when memory ends all the same."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from small_networks import CPU, plan, random_network

from medseg.device import is_out_of_memory
from medseg.errors import PredictionError, SettingsError
from medseg.geometry import affine_from_spacing
from medseg.inference import predictor as predictor_module
from medseg.inference.memory_plan import (
    MemoryBudget,
    find_budget,
    free_ram,
)
from medseg.inference.predictor import Predictor
from medseg.inference.settings import InferenceSettings, in_words, parse_bytes
from medseg.inference.window_spec import WindowSpec
from medseg.volume import Volume

SCAN = Volume(
    np.random.default_rng(0).normal(size=(1, 40, 48, 44)).astype(np.float32),
    affine_from_spacing((1.0, 1.0, 1.0)),
)
WANTED = plan((1.3, 0.9, 1.0), (32, 32, 32), 4)


def predictor(**settings: Any) -> Predictor:
    network = random_network(3, 4)
    return Predictor(network, WANTED, CPU, InferenceSettings(**settings))


@pytest.mark.parametrize(
    ("text", "size"), [("8g", 8 * 2**30), ("500m", 500 * 2**20), ("1.5 GiB", 3 * 2**29)]
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_bytes(text) == size
    assert InferenceSettings.model_validate({"max_ram": text}).max_ram == size
    assert parse_bytes(in_words(size)) == size


def test_a_size_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="expected one such as 8g or 500m"):
        parse_bytes("plenty")


def test_by_default_a_safe_share_of_what_is_free_is_taken() -> None:
    budget = find_budget(CPU)
    assert 0 < budget.ram < free_ram() * 2
    assert budget.vram == 0


def give_room(monkeypatch: pytest.MonkeyPatch, megabytes: float) -> None:
    """Lets predictions believe that the process holds nothing, and export little."""
    monkeypatch.setattr(predictor_module, "resident_bytes", lambda: 0)
    monkeypatch.setattr("medseg.inference.memory_plan.EXPORT_BYTES", 0)
    monkeypatch.setattr(
        predictor_module,
        "find_budget",
        lambda *_, **__: MemoryBudget(int(megabytes * 2**20)),
    )
    monkeypatch.setattr("medseg.inference.memory_plan.CRUDE_BYTES_PER_VOXEL", 32)


def test_strips_give_the_labels_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = predictor(overlap=0.5).predict(SCAN)
    give_room(monkeypatch, 3.0)
    notes: list[str] = []
    strips = predictor(overlap=0.5).predict(SCAN, notes=notes)
    assert "strips, to stay within the memory budget" in notes[0]
    assert np.array_equal(strips.voxels, whole.voxels)


def test_windows_shrink_to_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    give_room(monkeypatch, 1.5)
    notes: list[str] = []
    predictor(overlap=0.5).predict(SCAN, notes=notes)
    assert notes[0].startswith("windows of 16 x 32 x 32, overlap 0.5 instead of")


def test_a_budget_too_small_names_one_that_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    give_room(monkeypatch, 0.1)
    with pytest.raises(PredictionError, match=r"sick: 1m of RAM do not suffice; the s"):
        predictor(overlap=0.5).predict(SCAN, name="sick")


class Limited:
    """A network on a device without memory for large windows."""

    def __init__(self, error: BaseException, *, after: int = 0) -> None:
        self.network = random_network(3, 4)
        self.error = error
        self.calls_left = after
        self.sizes: list[int] = []

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        self.calls_left -= 1
        if self.calls_left < 0 and batch.numel() > 20_000:
            raise self.error
        self.sizes.append(batch.numel())
        logits: torch.Tensor = self.network(batch)
        return logits


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried"),
    MemoryError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("after", [0, 2])
def test_out_of_memory_halves_the_window_and_goes_on(
    error: BaseException, after: int
) -> None:
    limited = Limited(error, after=after)
    notes: list[str] = []
    asked = replace(predictor(overlap=0.5, batch_size=2), forward=limited)
    result = asked.predict(SCAN, notes=notes)
    assert limited.sizes[-1] <= 20_000
    assert any("32 x 32 x 32, overlap 0.5, batches of 1" in note for note in notes)
    assert "went on with windows of 16 x 32 x 32" in notes[-1]
    small = predictor(overlap=0.5, window_size=(16, 32, 32)).predict(SCAN)
    assert (result.voxels == small.voxels).mean() > 0.9


def test_other_errors_and_hopeless_lacks_are_raised() -> None:
    def broken(batch: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        replace(predictor(), forward=broken).predict(SCAN)

    def full(batch: torch.Tensor) -> torch.Tensor:
        raise MemoryError

    with pytest.raises(MemoryError):
        replace(predictor(), forward=full).predict(SCAN)
    assert not is_out_of_memory(ValueError("out of memory"))


def test_windows_are_halved_along_the_longest_axis_on_the_networks_stride() -> None:
    windows = WindowSpec((96, 80, 40), 0.5, divisor=(16, 16, 8))
    sizes = []
    current: WindowSpec | None = windows
    while current is not None:
        sizes.append(current.size)
        current = current.halved()
    assert sizes[:4] == [(96, 80, 40), (48, 80, 40), (48, 48, 40), (32, 48, 40)]
    assert sizes[-1] == (32, 32, 16)
