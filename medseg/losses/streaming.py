"""Runs work over chunks of voxels that stay in a core's cache, and where results go.

A chunk holds all classes of a run of voxels of one sample. On a CPU the chunks are
shared out among threads that each compute alone: splitting every small operation over
all cores instead, as PyTorch does by itself, waits at a barrier dozens of times per
chunk, which costs tenfold as soon as anything else runs on one of the cores. Results
come back in the order of the chunks, so sums do not depend on the threads.

A rehearsal on tensors without values sees PyTorch's operations, but not what happens
inside an operator of ours; the operator's fake implementation declares it.
"""

import mmap
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import TypeVar

import torch
from torch import Tensor

ResultT = TypeVar("ResultT")

CPU_ELEMENTS = 1 << 18
"""Logits in a chunk on the CPU: a megabyte, so that chunk, scratch and result stay in
or near the second cache of a core, and starting an operation costs little beside it."""
HUGE_BYTES = 32 << 20
"""Below this the C library keeps freed memory, so that its pages are there already."""


@dataclass(frozen=True)
class Chunk:
    """A run of voxels of one sample, or all voxels of all samples."""

    samples: slice
    """Which samples."""
    voxels: slice
    """Which of their voxels, counted through the spatial axes."""


def stream(
    flat: Tensor, work: Callable[[Chunk], ResultT], *, whole: bool = False
) -> list[ResultT]:
    """What `work` returns for each chunk of logits (N, L, V), in order.

    Args:
        flat: Only its shape and device matter.
        work: Called once per chunk, from several threads on a CPU; autograd is off.
        whole: One chunk of everything, as always elsewhere than on a CPU.
    """
    if whole or flat.device.type != "cpu":
        with torch.no_grad():
            return [work(Chunk(slice(None), slice(None)))]
    shape = tuple(flat.shape)
    chunks = split(shape, length=max(64, CPU_ELEMENTS // shape[1]))
    num_threads = min(torch.get_num_threads(), len(chunks))
    if num_threads == 1:
        with torch.no_grad():
            return [work(chunk) for chunk in chunks]
    shares = [chunks[k::num_threads] for k in range(num_threads)]
    results: list[ResultT | None] = [None] * len(chunks)
    pool = _pools.of(torch.get_num_threads())
    for k, share in enumerate(pool.map(lambda part: _run(work, part), shares)):
        results[k::num_threads] = share
    return results  # type: ignore[return-value]


def split(shape: tuple[int, ...], *, length: int) -> list[Chunk]:
    """The chunks of logits of shape (N, L, V), so many voxels each."""
    num_samples, _, num_voxels = shape
    return [
        Chunk(slice(n, n + 1), slice(start, min(start + length, num_voxels)))
        for n in range(num_samples)
        for start in range(0, num_voxels, length)
    ]


def empty_gradient(logits: Tensor) -> Tensor:
    """An uninitialised tensor with the shape, strides and type of dense logits.

    A large one lies in huge pages where Linux has them: 100 MB touch 25,000 ordinary
    pages, which takes the kernel about as long as the loss takes to compute; huge
    pages are 50. Each call maps memory of its own, returned with the tensor.
    """
    size = logits.numel() * logits.element_size()
    if (
        logits.device.type != "cpu"
        or sys.platform != "linux"
        or size < HUGE_BYTES
        or not hasattr(mmap, "MADV_HUGEPAGE")
    ):
        return torch.empty_like(logits)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        memory.madvise(mmap.MADV_HUGEPAGE)
    except OSError:  # a kernel without huge pages: ordinary ones then
        return torch.empty_like(logits)
    flat = torch.frombuffer(memory, dtype=logits.dtype)
    return flat.as_strided(
        logits.shape, torch.empty_like(logits, device="meta").stride()
    )


def _run(work: Callable[[Chunk], ResultT], chunks: list[Chunk]) -> list[ResultT]:
    with torch.no_grad():
        return [work(chunk) for chunk in chunks]


class _Pools:
    """Threads that compute alone, started when first needed and kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._size = 0

    def of(self, size: int) -> ThreadPoolExecutor:
        """A pool of so many threads."""
        with self._lock:
            if self._pool is None or self._size != size:
                if self._pool is not None:
                    self._pool.shutdown(wait=False)
                self._pool, self._size = _start(size), size
            return self._pool

    def forget(self) -> None:
        """Leaves the threads behind, as a forked process must."""
        self._lock, self._pool = threading.Lock(), None


def _start(size: int) -> ThreadPoolExecutor:
    """Starts threads that each run operations on one core.

    `torch.set_num_threads` holds for the calling thread, and as the default of
    threads that come later; that default is put back.
    """
    everyone = threading.Barrier(size + 1)

    def compute_alone() -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()
        everyone.wait()

    pool = ThreadPoolExecutor(size, thread_name_prefix="medseg-losses")
    started = [pool.submit(compute_alone) for _ in range(size)]
    everyone.wait()
    for future in started:
        future.result()
    torch.set_num_threads(size)
    return pool


_pools = _Pools()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.forget)


Listener = Callable[[str, int], None]

_listeners: list[Listener] = []


def declare_launches(operator: str, number: int) -> None:
    """Tells the listeners that an operator would launch so many kernels."""
    for listener in _listeners:
        listener(operator, number)


@contextmanager
def counted_launches(listener: Listener) -> Iterator[None]:
    """Calls the listener with an operator's name and its launches, while it lasts."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@cache
def has_triton() -> bool:
    """Whether Triton is installed, as it is with PyTorch for CUDA on Linux."""
    return find_spec("triton") is not None
