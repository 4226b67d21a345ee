"""Several processes train one model: the same steps, the same end, whoever is lost.

The processes are forked, which is quick; `torchrun` itself is tried in
`tests/runs/test_train_processes.py`.
"""

import os
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from small_runs import CPU, SMALL, small_plan
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from medseg.augmentation.settings import AugmentationSettings
from medseg.errors import SettingsError
from medseg.progress import Silent
from medseg.sampling import PatchSampler, SamplingSettings
from medseg.store import Store
from medseg.training import compilation
from medseg.training.batches import BatchSource
from medseg.training.length import StepLength
from medseg.training.logger import NullLogger
from medseg.training.loop import FitResult, RunContext, fit
from medseg.training.process_group import LostProcessError, ProcessGroup, refuse_several
from medseg.training.settings import InitSettings, TrainingSettings

LOST, DIED = 7, 9
PLAIN = TrainingSettings(precision="float32")


class Dying(StepLength):
    """The length of a run whose process is killed before a step."""

    def __init__(self, steps: int, *, before: int | None) -> None:
        super().__init__(steps)
        self.before = before

    def done(self, step: int) -> float:
        if step == self.before:
            os._exit(DIED)
        return super().done(step)


def run(
    store: Store,
    folder: Path,
    processes: ProcessGroup,
    *,
    steps: int = 6,
    die_before: int | None = None,
    resume: bool = False,
    settings: TrainingSettings = PLAIN,
    **changes: object,
) -> FitResult:
    network = SMALL.model_copy(update={"dropout": 0.0, **changes})  # else differs
    plan = small_plan(store, dims=3, network=network)
    plan = plan.model_copy(update={"batch_size": 3})
    train_ids, held_out = store.split(0)
    cases = [store.case(case_id) for case_id in train_ids]
    sampler = PatchSampler(
        cases, patch_size=plan.patch_size, settings=SamplingSettings(), seed=0
    )
    batches = BatchSource(
        cases,
        sampler,
        plan=plan,
        augmentation=AugmentationSettings(),
        seed=0,
        device=CPU,
        processes=processes,
    )
    return fit(
        plan,
        settings,
        batches=batches,
        validation_cases=[store.case(case_id) for case_id in held_out],
        device=CPU,
        length=Dying(steps, before=die_before),
        context=RunContext(folder, "same", NullLogger(), Silent(), processes),
        resume=resume,
    )


def in_two_processes(folder: Path, work: Callable[[ProcessGroup], Any]) -> list[int]:
    """Exit codes of both."""
    folder.mkdir(parents=True, exist_ok=True)
    meeting = f"file://{folder / 'meeting'}"
    children = []
    for number in range(2):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                torch.set_num_threads(1)
                distributed.init_process_group(
                    "gloo", init_method=meeting, rank=number, world_size=2
                )
                work(ProcessGroup(number, 2))
                code = 0
            except LostProcessError:
                code = LOST
            except BaseException:  # noqa: BLE001 - this is a process of its own
                traceback.print_exc()
            finally:
                os._exit(code)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children]


def saved(folder: Path) -> dict[str, Any]:
    path = folder / "checkpoints" / "last.pt"
    values: dict[str, Any] = torch.load(path, weights_only=True)
    return values


def weights(folder: Path, which: str = "network") -> torch.Tensor:
    return torch.cat([value.flatten() for value in saved(folder)[which].values()])


def test_two_processes_take_the_steps_of_one(tiny_store: Store, tmp_path: Path) -> None:
    run(tiny_store, tmp_path / "one", ProcessGroup())
    folder = tmp_path / "two"
    codes = in_two_processes(
        folder, lambda processes: run(tiny_store, folder, processes)
    )
    assert codes == [0, 0]
    for which in ("network", "averaged"):
        one, two = (weights(tmp_path / n, which) for n in ("one", "two"))
        assert torch.allclose(one, two, atol=1e-5)
    one, two = saved(tmp_path / "one"), saved(folder)
    assert two["best_dice"] == pytest.approx(one["best_dice"], abs=1e-3)
    assert two["batches"]["sampler"] == one["batches"]["sampler"]
    assert two["batches"]["ledger"] == one["batches"]["ledger"]  # no patch twice


def test_two_processes_freeze_and_let_go_as_one_does(
    tiny_store: Store, tmp_path: Path
) -> None:
    """Gradients of the encoder are shared from the step on that it learns."""
    init = InitSettings(model="m", freeze_encoder=0.5)
    settings = PLAIN.model_copy(update={"init": init})
    run(tiny_store, tmp_path / "one", ProcessGroup(), settings=settings)
    folder = tmp_path / "two"
    codes = in_two_processes(
        folder, lambda group: run(tiny_store, folder, group, settings=settings)
    )
    assert codes == [0, 0]
    one, two = (weights(tmp_path / n) for n in ("one", "two"))
    assert torch.allclose(one, two, atol=1e-5)


def one_way() -> Any:
    """Notes how the gradients of a run are shared."""
    seen: list[tuple[nn.Module, bool]] = []
    wrap = DistributedDataParallel.__init__

    def noted(self: Any, network: nn.Module, **options: Any) -> None:
        seen.append((network, options["static_graph"]))
        assert options["find_unused_parameters"] != options["static_graph"]
        wrap(self, network, **options)

    return seen, mock.patch.object(DistributedDataParallel, "__init__", noted)


@pytest.mark.parametrize(
    ("presence_head", "parts"), [(False, 1), (False, 2), (True, 1)]
)
def test_what_a_step_leaves_out_is_looked_for_where_it_differs(
    tiny_store: Store, tmp_path: Path, presence_head: bool, parts: int
) -> None:
    settings = PLAIN.model_copy(update={"accumulate": parts})
    options = {"settings": settings, "presence_head": presence_head, "steps": 3}

    def work(processes: ProcessGroup) -> None:
        seen, patched = one_way()
        with patched:
            run(tiny_store, tmp_path / "two", processes, **options)
        assert [same for _, same in seen] == [not presence_head and parts == 1]

    run(tiny_store, tmp_path / "one", ProcessGroup(), **options)
    assert in_two_processes(tmp_path / "two", work) == [0, 0]
    one, two = (weights(tmp_path / n) for n in ("one", "two"))
    assert torch.allclose(one, two, atol=1e-5)


class Traced(nn.Module):
    """Stands for a compiled network."""

    def __init__(self, network: nn.Module, *, delay: float) -> None:
        super().__init__()
        self.network, self.delay = network, delay

    def forward(self, x: torch.Tensor) -> Any:
        time.sleep(self.delay)
        return self.network(x)


@pytest.mark.parametrize("slower_in", [None, 1])
def test_processes_compile_together_or_not_at_all(
    tiny_store: Store, tmp_path: Path, slower_in: int | None
) -> None:
    """A step of one process that is slower compiled keeps the others from it, too."""
    settings = PLAIN.model_copy(update={"compile": "on"})

    def work(processes: ProcessGroup) -> None:
        def compiled(network: nn.Module) -> nn.Module:
            slow = processes.number == slower_in
            return Traced(network, delay=0.5 if slow else 0.0)

        plain = compilation._try

        def timed(state: Any, network: nn.Module, *rest: Any) -> tuple[float, float]:
            value, _ = plain(state, network, *rest)
            quick = isinstance(network, Traced) and not network.delay
            return value, 1.0 if quick else 2.0 + isinstance(network, Traced)

        seen, patched = one_way()
        with (
            patched,
            mock.patch.object(torch, "compile", compiled),
            mock.patch.object(compilation, "_try", timed),
        ):
            run(tiny_store, tmp_path / "two", processes, settings=settings, steps=3)
        kinds = [isinstance(network, Traced) for network, _ in seen]
        assert kinds == [slower_in is None]

    run(tiny_store, tmp_path / "one", ProcessGroup(), steps=3)
    assert in_two_processes(tmp_path / "two", work) == [0, 0]
    one, two = (weights(tmp_path / n) for n in ("one", "two"))
    assert torch.allclose(one, two, atol=1e-5)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_lost_process_leaves_a_checkpoint_that_one_process_resumes(
    tiny_store: Store, tmp_path: Path, victim: int
) -> None:
    folder = tmp_path / "two"

    def work(processes: ProcessGroup) -> None:
        before = 4 if processes.number == victim else None
        run(tiny_store, folder, processes, die_before=before)

    codes = in_two_processes(folder, work)
    assert sorted(codes) == [LOST, DIED]
    assert saved(folder)["step"] == 4
    run(tiny_store, folder, ProcessGroup(), resume=True)
    run(tiny_store, tmp_path / "whole", ProcessGroup())
    assert torch.allclose(weights(folder), weights(tmp_path / "whole"), atol=1e-5)


def test_shares_cover_a_batch_once() -> None:
    shares = [ProcessGroup(number, 3).share(8) for number in range(3)]
    patches = [first + n for first, count in shares for n in range(count)]
    assert patches == list(range(8))


def test_a_batch_of_one_is_not_shared() -> None:
    with pytest.raises(SettingsError, match="a batch of 1 cannot be shared by 2"):
        ProcessGroup(0, 2).share(1)


def test_what_starts_many_runs_is_not_started_by_torchrun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuse_several("medseg compare")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SettingsError, match="medseg compare starts many runs"):
        refuse_several("medseg compare")


def test_an_error_of_one_process_is_no_lost_process() -> None:
    with (
        pytest.raises(RuntimeError, match="shape"),
        replace(ProcessGroup(), size=2).watched(),
    ):
        raise RuntimeError("shape mismatch")
