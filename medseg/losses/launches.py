"""How many kernels our own operators launch on a device, told to whoever counts.

A rehearsal on tensors without values sees PyTorch's operations, but not what happens
inside an operator of ours; the operator's fake implementation declares it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec

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
