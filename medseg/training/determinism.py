"""How a GPU computes: as fast as it can, or so that runs repeat to the bit."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def arithmetic(device: torch.device, *, deterministic: bool) -> Iterator[None]:
    """Chooses algorithms for the length of a run, and gives the choice back.

    Args:
        device: Where the run is trained; a CPU repeats its results by itself.
        deterministic: Take algorithms that give the same bits each time, where a GPU
            has them, and let no clock choose among others; torch warns of an
            operation that has none.
    """
    if device.type != "cuda":
        yield
        return
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    enforced = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn.benchmark, cudnn.deterministic = not deterministic, deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # NVIDIA's own rule
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before
        torch.use_deterministic_algorithms(enforced, warn_only=warned)
