"""Less memory, the same step: parts of a batch, recomputed activations, compiling."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import CPU, SETTINGS, SMALL, run, state_and_batch

from medseg.device import is_out_of_memory
from medseg.errors import TrainingError
from medseg.networks.build import build_network
from medseg.networks.settings import UNetSettings
from medseg.progress import Silent
from medseg.sampling import PatchSampler, SamplingSettings, gather
from medseg.store import Store
from medseg.training.batches import Batch
from medseg.training.compilation import compile_if_faster, wants_compiling
from medseg.training.precision import forward_loss
from medseg.training.resident import ResidentCases, bytes_needed, choose_cache
from medseg.training.settings import TrainingSettings
from medseg.training.state import TrainingState
from medseg.training.step import (
    OutOfMemoryFallback,
    recompute_activations,
    split_batch,
    training_step,
)
from medseg.training.stopwatch import Profile, Stopwatch, most_expensive
from medseg.training.validation import has_plateaued, shorten


def weights(state: TrainingState) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in state.network.parameters()])


def test_parts_of_a_batch_make_the_same_step(tiny_store: Store) -> None:
    ends = []
    for parts in (1, 2, 5, 9):
        state, batch, loss = state_and_batch(tiny_store)
        value = training_step(
            state, batch, loss, learning_rate=1e-2, gradient_clip=12, accumulate=parts
        )
        ends.append((float(value), weights(state)))
    for value, end in ends[1:]:
        assert value == pytest.approx(ends[0][0], abs=1e-5)
        assert torch.allclose(end, ends[0][1], atol=1e-4)


def test_parts_keep_every_patch_once(tiny_store: Store) -> None:
    _, batch, _ = state_and_batch(tiny_store)
    parts = split_batch(batch, 2)
    assert [len(part.labels) for part in parts] == [2, 3]
    assert torch.equal(torch.cat([part.images for part in parts]), batch.images)
    assert [d for part in parts for d in part.own_draws] == list(batch.draws)


def test_recomputed_activations_give_the_same_gradients(tiny_store: Store) -> None:
    state, batch, loss = state_and_batch(tiny_store)
    twin = copy.deepcopy(state.network)
    recompute_activations(twin)
    for network in (state.network, twin):
        forward_loss(network, batch, loss, precision="float32").backward()
    for mine, other in zip(state.network.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(mine.grad, other.grad, atol=1e-5)


def test_thrift_halves_then_recomputes_then_gives_up() -> None:
    network = build_network(SMALL, spatial_dims=2, in_channels=1, out_channels=2)
    memory_fallback = OutOfMemoryFallback(SETTINGS, network)
    assert "2 parts" in memory_fallback.relieve(network, patches=3)
    assert "3 parts" in memory_fallback.relieve(network, patches=3)
    assert "computed again" in memory_fallback.relieve(network, patches=3)
    with pytest.raises(TrainingError, match="a single patch does not fit"):
        memory_fallback.relieve(network, patches=3)


def test_ends_of_memory_are_told_from_other_errors() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(RuntimeError) as cpu:
        torch.empty(2**60)
    assert is_out_of_memory(cpu.value)
    assert not is_out_of_memory(RuntimeError("shape mismatch"))


def test_a_run_goes_on_in_parts_when_memory_ends(
    tiny_store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:

    from medseg.training import trainer
    from medseg.training.length import StepLength

    def scarce(state: TrainingState, batch: Batch, *args: object, **kw: int) -> object:
        if len(batch.labels) / kw["accumulate"] > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return training_step(state, batch, *args, **kw)

    monkeypatch.setattr(trainer, "training_step", scarce)
    assert run(tiny_store, tmp_path, StepLength(2)).steps == 2


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("padding", ["zero", "edge"])
def test_resident_cases_give_the_patches_of_the_store(
    tiny_store: Store, dims: int, padding: str
) -> None:
    cases = [tiny_store.case(case_id) for case_id in tiny_store.case_ids]
    sampler = PatchSampler(
        cases,
        patch_size=(40, 12, 40)[:dims],
        settings=SamplingSettings(padding=padding),
        seed=3,
    )
    draws = sampler.draw(6)
    expected = gather(cases, draws, spatial_dims=dims, padding=padding)
    resident = ResidentCases(cases, device=CPU, spatial_dims=dims)
    images, labels, shown = resident.gather(draws, padding=padding)
    assert torch.equal(images, expected.images)
    assert torch.equal(labels, expected.labels)
    assert np.array_equal(shown, expected.labels.numpy())


def test_the_cache_on_a_cpu_is_the_files(tiny_store: Store) -> None:
    cases = [tiny_store.case(case_id) for case_id in tiny_store.case_ids]
    assert choose_cache("auto", cases, CPU)[0] == "disk"
    assert choose_cache("ram", cases, CPU)[0] == "ram"
    assert bytes_needed(cases) == sum(c.image.nbytes + c.label.nbytes for c in cases)


def test_a_plateau_is_three_looks_without_a_gain() -> None:
    assert not has_plateaued([0.5, 0.6, 0.7, 0.8])
    assert not has_plateaued([0.8, 0.8, 0.8])
    assert has_plateaued([0.7, 0.8, 0.8005, 0.79, 0.8])


def test_a_run_cut_short_ends_a_tenth_later_without_a_jump() -> None:
    assert shorten(0.4, cut_at=0.0) == 0.4
    assert shorten(0.4, cut_at=0.4) == 0.4
    assert shorten(0.42, cut_at=0.4) == pytest.approx(0.7)
    assert shorten(0.44, cut_at=0.4) == pytest.approx(1.0)


def test_compiling_is_for_long_runs_on_a_gpu() -> None:
    cuda = torch.device("cuda")
    assert wants_compiling(TrainingSettings(budget="15m"), cuda)
    assert wants_compiling(TrainingSettings(budget="5m"), cuda)
    assert not wants_compiling(TrainingSettings(budget="4m"), cuda)
    assert not wants_compiling(TrainingSettings(budget="15m"), CPU)
    assert wants_compiling(TrainingSettings(compile="on"), CPU)


def test_a_compiler_that_fails_is_not_used(
    tiny_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, batch, loss = state_and_batch(tiny_store)
    before = weights(state)

    def fail(network: object) -> object:
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(torch, "compile", fail)
    assert compile_if_faster(state, batch, loss, progress=Silent()) is None
    assert torch.equal(weights(state), before)


def test_a_compiler_that_changes_the_loss_is_not_used(
    tiny_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, batch, loss = state_and_batch(tiny_store)
    other = build_network(
        UNetSettings(channels=(4, 8), strides=(1, 2)),
        spatial_dims=3,
        in_channels=1,
        out_channels=3,
    )
    with torch.no_grad():
        for parameter in other.parameters():
            parameter += 10
    monkeypatch.setattr(torch, "compile", lambda network: other)
    assert compile_if_faster(state, batch, loss, progress=Silent()) is None


def test_a_trace_names_the_most_expensive_operations(tmp_path: Path) -> None:
    assert most_expensive(tmp_path) == {}
    with Profile(tmp_path, wanted=True, on_gpu=False) as profile:
        for _ in range(15):
            torch.ones(64, 64) @ torch.ones(64, 64)
            profile.step()
    shares = most_expensive(tmp_path)
    assert "aten::mm" in shares
    assert sum(shares.values()) <= 1.001
    assert (tmp_path / "profile" / "trace.json").stat().st_size > 1000


def test_a_profile_nobody_wants_writes_nothing(tmp_path: Path) -> None:
    with Profile(tmp_path, wanted=False, on_gpu=False) as profile:
        profile.step()
    assert not (tmp_path / "profile").exists()


def test_a_stopwatch_knows_shares_and_what_is_left() -> None:
    watch = Stopwatch(CPU)
    with watch.measure_device("forward"):
        sum(range(200_000))
    shares = watch.shares()
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["forward"] > 0
    assert 0 <= watch.processor_share() <= 1
