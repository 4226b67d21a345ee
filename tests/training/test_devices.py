"""What training must know of devices, shown without one."""

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_runs import CPU, SETTINGS, SMALL, small_plan, state_and_batch

from medseg.augmentation.settings import AugmentationSettings
from medseg.device import is_out_of_memory, pick_device
from medseg.errors import SettingsError
from medseg.inference.memory_plan import find_budget
from medseg.progress import Silent
from medseg.sampling import PatchSampler, SamplingSettings
from medseg.store import Store
from medseg.training import batches as batches_module
from medseg.training.batches import BatchSource
from medseg.training.compilation import wants_compiling
from medseg.training.loop import arithmetic
from medseg.training.precision import candidates
from medseg.training.settings import TrainingSettings
from medseg.training.state import fresh_state, loss_scaler
from medseg.training.step import LossGuard, OutOfMemoryFallback
from medseg.training.stopwatch import Stopwatch, Utilisation
from medseg.training.trainer import TrainingSteps

CUDA = torch.device("cuda")


def batches_of(store: Store) -> BatchSource:
    plan = small_plan(store, dims=3, network=SMALL)
    cases = [store.case(case_id) for case_id in store.case_ids]
    sampler = PatchSampler(
        cases, patch_size=plan.patch_size, settings=SamplingSettings(), seed=0
    )
    return BatchSource(
        cases,
        sampler,
        plan=plan,
        augmentation=AugmentationSettings(),
        seed=0,
        device=CPU,
    )


def test_a_resumed_float16_run_scales_its_loss_as_before(tiny_store: Store) -> None:
    plan = small_plan(tiny_store, dims=3, network=SMALL)
    state = fresh_state(plan, SETTINGS, CPU)
    state.precision, state.scaler = "float16", loss_scaler(CPU, "float16")
    state.scaler.scale(torch.ones(()))  # which sets its factor up
    state.scaler.update(2.0**9)
    resumed = fresh_state(plan, SETTINGS, CPU)
    resumed.restore(state.to_values())
    assert resumed.scaler.is_enabled()
    assert resumed.scaler.get_scale() == 2.0**9


def test_checkpoints_of_earlier_versions_are_read(tiny_store: Store) -> None:
    plan = small_plan(tiny_store, dims=3, network=SMALL)
    values = fresh_state(plan, SETTINGS, CPU).to_values()
    del values["device_rng"]
    fresh_state(plan, SETTINGS, CPU).restore(values | {"precision": "float16"})


def test_random_numbers_of_the_device_are_kept(
    tiny_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = small_plan(tiny_store, dims=3, network=SMALL)
    state, kept = fresh_state(plan, SETTINGS, CPU), torch.arange(16).byte()
    taken: list[Any] = []
    monkeypatch.setattr(type(state), "device", torch.device("cuda", 1))
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: kept)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda *a: taken.append(a))
    values = state.to_values()
    assert values["device_rng"] is kept
    state.restore(values)
    assert taken == [(kept, torch.device("cuda", 1))]


def same(one: Any, other: Any) -> bool:
    return repr(one) == repr(other)


def in_a_thread(batches: BatchSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a source make batches ahead as for a GPU, though its tensors are here."""
    monkeypatch.setattr(batches, "device", SimpleNamespace(type="cuda", index=1))
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(batches_module, "send", lambda tensor, device: tensor)


def test_a_run_saved_before_its_first_step_begins_where_it_was(
    tiny_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = batches_of(tiny_store)
    start = batches.sampler_state()
    in_a_thread(batches, monkeypatch)
    with batches:
        batches.peek()
        assert same(batches.sampler_state(), start)
        second = batches.next(), batches.sampler_state()
    resumed = batches_of(tiny_store)
    resumed.load_state_dict(
        {"sampler": second[1], "ledger": batches.sampling_stats.state_dict()}, step=1
    )
    in_a_thread(resumed, monkeypatch)
    with resumed:
        assert same(resumed.sampler_state(), second[1])


def test_a_look_at_the_next_batch_does_not_skip_it(tiny_store: Store) -> None:
    batches = batches_of(tiny_store)
    start = batches.sampler_state()
    batches.peek()
    assert same(batches.sampler_state(), start)
    batches.next()
    assert not same(batches.sampler_state(), start)


def test_the_thread_works_on_the_device_of_its_run(
    tiny_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches, calls = batches_of(tiny_store), []
    in_a_thread(batches, monkeypatch)

    def note(device: Any) -> None:
        calls.append((device.index, threading.current_thread().name))

    monkeypatch.setattr(torch.cuda, "set_device", note)
    with batches:
        batches.next()
    ((index, thread),) = calls
    assert index == 1
    assert thread != threading.current_thread().name


def training_steps(store: Store, batches: BatchSource) -> TrainingSteps:
    state, _, loss = state_and_batch(store)
    return TrainingSteps(
        settings=SETTINGS,
        state=state,
        batches=batches,
        loss=loss,
        guard=LossGuard(every=1),
        memory_fallback=OutOfMemoryFallback(SETTINGS, state.network),
        progress=Silent(),
    )


@pytest.mark.parametrize("threaded", [True, False])
@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("CUDA error: out of memory")]
)
def test_memory_that_ends_over_a_batch_is_fallen_back_from(
    tiny_store: Store,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    threaded: bool,
) -> None:
    expected = [batch.draws for batch in taken(batches_of(tiny_store), 4)]
    batches = batches_of(tiny_store)
    if threaded:
        in_a_thread(batches, monkeypatch)
    read, calls = BatchSource._read, []

    def failing(self: BatchSource, draws: Any) -> Any:
        calls.append(draws)
        if len(calls) == 3:
            raise error
        return read(self, draws)

    monkeypatch.setattr(BatchSource, "_read", failing)
    steps, seen = training_steps(tiny_store, batches), []
    with batches:
        for _ in range(4):
            seen.append(steps._next_batch().draws)
    assert seen == expected  # nothing lost, nothing twice
    assert steps.memory_fallback.parts == 2


def taken(batches: BatchSource, number: int) -> Iterator[Any]:
    return (batches.next() for _ in range(number))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"),
        RuntimeError("level_zero backend failed: UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY"),
    ],
    ids=lambda error: str(error)[:24],
)
def test_errors_that_say_that_memory_ended(error: BaseException) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [ValueError("out of memory"), RuntimeError("shape mismatch"), KeyError("memory")],
)
def test_errors_that_say_something_else(error: BaseException) -> None:
    assert not is_out_of_memory(error)


def test_memory_in_use_is_not_planned_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1000, 4000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 700)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 600)
    assert find_budget(CUDA, ram=1).vram == 900 + 100


@pytest.mark.parametrize(("native", "best"), [(True, "bfloat16"), (False, "float16")])
def test_emulated_bfloat16_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, native: bool, best: str
) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return native or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert candidates(CUDA) == (best,)


def test_a_driver_that_cannot_tell_ends_no_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class NotSupportedError(Exception):
        """As pynvml's, of a part of a GPU."""

    asked = threading.Event()

    def utilization(device: Any) -> int:
        asked.set()
        raise NotSupportedError

    monkeypatch.setattr("medseg.training.stopwatch.SECONDS", 0.0)
    monkeypatch.setattr(torch.cuda, "utilization", utilization)
    with Utilisation(CUDA, Stopwatch()) as watched:
        assert asked.wait(30)
    assert watched.share() is None


def test_deterministic_runs_let_no_clock_choose() -> None:
    def state() -> tuple[bool, bool, bool]:
        return (
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic,
            torch.are_deterministic_algorithms_enabled(),
        )

    before = state()
    with arithmetic(CUDA, deterministic=True):
        assert state() == (False, True, True)
    with arithmetic(CUDA, deterministic=False):
        assert state() == (True, False, before[2])
    assert state() == before
    wanted = TrainingSettings(deterministic=True, steps=10**6)
    assert not wants_compiling(wanted, CUDA)


@pytest.mark.parametrize("name", ["mps", "xpu", "xpu:1"])
def test_devices_of_apple_and_intel_are_taken_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with pytest.raises(SettingsError, match="use --device cpu"):
        pick_device(name)
    used: list[Any] = []
    there = SimpleNamespace(
        is_available=lambda: True, device_count=lambda: 2, set_device=used.append
    )
    monkeypatch.setattr(torch, name.partition(":")[0], there)
    assert str(pick_device(name)) == name
    assert used == ([torch.device(name)] if ":" in name else [])


@pytest.mark.parametrize("name", ["tpu", "meta", "cuda:x"])
def test_other_devices_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="auto, cpu, cuda, cuda:n, mps or xpu"):
        pick_device(name)
