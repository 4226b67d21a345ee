"""The rehearsal notices what it is for: each fault here turns it red."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from ceilings import STEP_LAUNCHES
from fake_gpu import FakeGPU, MixedDevicesError
from rehearsed_fit import Rehearsal, small_plan
from torch import Tensor
from training_parts import STEP

from medseg.losses.deep_supervision import DeepSupervisionLoss
from medseg.store import Store
from medseg.training.settings import TrainingSettings

SETTINGS = TrainingSettings(precision="bfloat16", compile="off")


def rehearse_with(
    spoil: Callable[[Tensor], Tensor],
    gpu: FakeGPU,
    store: Store,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A step of training whose loss was changed."""
    good = DeepSupervisionLoss.forward

    def bad(self: DeepSupervisionLoss, logits: Any, target: Tensor) -> Tensor:
        return spoil(good(self, logits, target))

    monkeypatch.setattr(DeepSupervisionLoss, "forward", bad)
    Rehearsal(store, small_plan(store), folder, SETTINGS, steps=1).run(gpu)


def test_a_value_asked_for_in_the_loop(
    gpu: FakeGPU, tiny_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(loss: Tensor) -> Tensor:
        assert loss.item() > 0
        return loss

    rehearse_with(ask, gpu, tiny_store, tmp_path, monkeypatch)
    (wait,) = gpu.seen.waits(*STEP)
    assert wait.startswith("loss forward: 1x the value of a tensor")


def test_a_tensor_of_the_cpu_in_a_loss(
    gpu: FakeGPU, tiny_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MixedDevicesError, match="cpu and cuda:0"):
        rehearse_with(
            lambda loss: loss + torch.zeros(1), gpu, tiny_store, tmp_path, monkeypatch
        )


def test_a_tensor_of_the_cpu_in_a_backward_pass(gpu: FakeGPU) -> None:
    class Stacked(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.sum()

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> Tensor:
            table = torch.stack([gradients[0].expand(3), torch.full((3,), 1.0)])
            return table.sum().expand(3)

    with gpu:
        x = torch.ones(3, device="cuda", requires_grad=True)
        with pytest.raises(MixedDevicesError, match=r"stack|cat"):
            Stacked.apply(x).backward()


def test_launches_above_the_ceiling(
    gpu: FakeGPU, tiny_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(loss: Tensor) -> Tensor:
        for _ in range(500):
            loss = loss + 0
        return loss

    rehearse_with(slow, gpu, tiny_store, tmp_path, monkeypatch)
    seen = gpu.seen.parts["loss forward"]
    assert seen.num_launches > STEP_LAUNCHES["loss forward"]
    assert "500 medseg/" in seen.describe()


WAITS: dict[str, Callable[[Tensor], Any]] = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x.sum()),
    "bool": lambda x: bool((x > 0).all()),
    "tolist": lambda x: x.tolist(),
    "cpu": lambda x: x.cpu(),
    "numpy": lambda x: x.cpu().numpy(),
    "copy to the host": lambda x: torch.zeros(4, 4).copy_(x),
    "mask": lambda x: x[x > 0],
    "mask to write": lambda x: x.__setitem__(x > 0, torch.ones((), device="cuda")),
    "nonzero": lambda x: x.nonzero(),
    "equal": lambda x: torch.equal(x, x),
    "list of rows": lambda x: x[[0, 2]],
    "table of numbers": lambda x: torch.tensor([1.0, 2.0], device="cuda"),
    "table to the device": lambda x: torch.ones(3).to("cuda"),
    "not pinned": lambda x: torch.ones(3).to("cuda", non_blocking=True),
    "one value written": lambda x: x[0].__setitem__(0, 1.0),
    "synchronize": lambda x: torch.cuda.synchronize(),
}


@pytest.mark.parametrize("name", WAITS)
def test_waits(gpu: FakeGPU, name: str) -> None:
    with gpu:
        x = torch.ones(4, 4, device="cuda")
        assert gpu.seen.waits() == []
        WAITS[name](x)
    assert len(gpu.seen.waits()) == 1


FINE: dict[str, Callable[[Tensor], Any]] = {
    "number": lambda x: x * 2 + torch.tensor(3.0),
    "range of rows": lambda x: x[1:3],
    "rows by an index of the device": lambda x: x[torch.arange(2, device="cuda")],
    "pinned": lambda x: torch.ones(3).pin_memory().to("cuda", non_blocking=True),
    "pinned from the start": lambda x: torch.empty(3, pin_memory=True).to(
        "cuda", non_blocking=True
    ),
    "pinned answer": lambda x: x.to("cpu", non_blocking=True),
    "filled": lambda x: x[0:1].__setitem__(0, 1.0),
    "generator": lambda x: x.normal_(generator=torch.Generator("cuda").manual_seed(1)),
}


@pytest.mark.parametrize("name", FINE)
def test_what_a_gpu_takes_without_waiting(gpu: FakeGPU, name: str) -> None:
    with gpu:
        FINE[name](torch.ones(4, 4, device="cuda"))
    assert gpu.seen.waits() == []


MIXED: dict[str, Callable[[Tensor], Any]] = {
    "add": lambda x: x + torch.ones(4, 4),
    "matrix product": lambda x: x @ torch.ones(4, 4),
    "stack of numbers": lambda x: torch.stack([x.sum(), torch.zeros(())]),
    "index_select": lambda x: x.index_select(0, torch.tensor([1])),
    "where": lambda x: torch.where(x > 0, x, torch.zeros(4, 4)),
    "two gpus": lambda x: x + torch.ones(4, 4, device="cuda:1"),
    "generator": lambda x: x.normal_(generator=torch.Generator()),
    "random numbers": lambda x: torch.rand(
        3, device="cuda", generator=torch.Generator()
    ),
}


@pytest.mark.parametrize("name", MIXED)
def test_what_a_gpu_refuses(gpu: FakeGPU, name: str) -> None:
    with gpu, pytest.raises(MixedDevicesError):
        MIXED[name](torch.ones(4, 4, device="cuda"))


@contextmanager
def counted(gpu: FakeGPU) -> Iterator[dict[str, int]]:
    """Launches and bytes of what is done inside `with`."""
    found: dict[str, int] = {}
    with gpu.seen.during("counted"):
        yield found
    part = gpu.seen.parts["counted"]
    found.update(launches=part.num_launches, moved=part.moved)


def test_launches_and_bytes(gpu: FakeGPU) -> None:
    with gpu:
        x = torch.ones(100, 10, device="cuda")
        rows = torch.arange(5, device="cuda")
        with counted(gpu) as seen:
            (x.view(10, 100).T + 1)  # reads 4000 bytes, writes 4000
            x.index_select(0, rows)  # 5 rows of 40 bytes, read and written
            x.mul_(2)  # in place: read, and written where it was read
    assert seen == {"launches": 3, "moved": 8000 + 400 + 4000}
