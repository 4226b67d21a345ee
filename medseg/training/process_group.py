"""The processes that train one model together; a run of one process is one of them."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn

from medseg.errors import MedsegError, SettingsError, TrainingError

PATIENCE = timedelta(days=1)
"""How long processes wait for each other, as while one of them prepares the data. One
that ended is noticed at once, by its closed connection."""


class LostProcessError(TrainingError):
    """Another process of the run ended."""


@dataclass(frozen=True)
class ProcessGroup:
    """This process among those that train together.

    Batches are global: every process makes the same draws and reads its own share.
    What the processes must agree on goes over the CPU (gloo), so that nothing waits
    for a GPU; gradients go over NCCL where there are GPUs.
    """

    number: int = 0
    """Counted from 0, which leads."""
    size: int = 1
    """Number of processes."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes, tracks and shows progress."""
        return self.number == 0

    def share(self, total: int) -> tuple[int, int]:
        """First and number of the patches of a batch that are this process's.

        Raises:
            SettingsError: There are fewer patches than processes.
        """
        if total < self.size:
            raise SettingsError(
                f"a batch of {total} cannot be shared by {self.size} processes; set "
                f"plan.batch_size={self.size} or more, or start fewer processes"
            )
        bounds = [total * n // self.size for n in (self.number, self.number + 1)]
        return bounds[0], bounds[1] - bounds[0]

    def highest(self, values: tuple[float, ...]) -> tuple[float, ...]:
        """The highest of each value over all processes.

        Raises:
            LostProcessError: Another process ended.
        """
        if self.size == 1:
            return values
        numbers = torch.tensor(values, dtype=torch.float64)
        with self.watched():
            distributed.all_reduce(numbers, op=distributed.ReduceOp.MAX)
        return tuple(numbers.tolist())

    def gather(self, item: Any) -> list[Any]:
        """The items of all processes, in their order.

        Raises:
            LostProcessError: Another process ended.
        """
        if self.size == 1:
            return [item]
        items: list[Any] = [None] * self.size
        with self.watched():
            distributed.all_gather_object(items, item)
        return items

    def total(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all processes, on its device."""
        if self.size > 1:
            with self.watched():
                distributed.all_reduce(value)
        return value

    def parallel(
        self, network: nn.Module, device: torch.device, *, same_graph: bool = False
    ) -> nn.Module:
        """The network with gradients averaged over all processes.

        Args:
            network: As it is in this process.
            device: Of this process.
            same_graph: Each step goes the same way through the network, so that what
                it leaves out need not be looked for in every step.
        """
        if self.size == 1:
            return network
        from torch.nn.parallel import DistributedDataParallel

        # kernels of one voxel have strides of no meaning, which torch remarks upon
        warnings.filterwarnings("ignore", message="Grad strides do not match")
        with self.watched():
            return DistributedDataParallel(
                network,
                device_ids=[device] if device.type == "cuda" else None,
                find_unused_parameters=not same_graph,
                static_graph=same_graph,
                gradient_as_bucket_view=True,
            )

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Says in one line that another process ended.

        Raises:
            LostProcessError: It did.
        """
        try:
            yield
        except MedsegError:
            raise
        except RuntimeError as error:
            if self.size == 1 or not _is_lost(error):
                raise
            raise LostProcessError(
                f"process {self.number} of {self.size}: another process of this run "
                "ended; continue from the last checkpoint with --resume, with as many "
                "processes as you like"
            ) from error


def _is_lost(error: RuntimeError) -> bool:
    """Whether an error comes from the connection to other processes."""
    if isinstance(error, distributed.DistError):
        return True
    words = ("gloo", "nccl", "connection closed", "reset by peer", "broken pipe")
    return any(word in str(error).lower() for word in words)


def is_launched() -> bool:
    """Whether ``torchrun`` started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def refuse_several(what: str) -> None:
    """Stops what starts many runs by itself, where ``torchrun`` started several of it.

    Raises:
        SettingsError: There are several processes.
    """
    if is_launched():
        raise SettingsError(
            f"{what} starts many runs and cannot be started by torchrun; leave it out, "
            "or spread the runs: medseg compare --slurm-script or --ray"
        )


def is_main() -> bool:
    """Whether this process is alone or the first of several."""
    return not is_launched() or os.environ.get("RANK", "0") == "0"


@contextmanager
def join_processes(device: torch.device) -> Iterator[ProcessGroup]:
    """This process among those that ``torchrun`` started with it, if it did.

    Args:
        device: Of this process; its type decides how gradients travel.
    """
    if not is_launched():
        yield ProcessGroup()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield ProcessGroup(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
