"""The stack that signals are handled on, kept as it was.

OpenVINO's CPU plugin gives the calling thread an alternate signal stack of its own and
unmaps it with the network, sometimes without taking it back: the next signal, such as
Ctrl-C, then ends the process with a segmentation fault.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_DISABLED = 2


class _SignalStack(ctypes.Structure):
    """``stack_t`` on Linux."""

    _fields_ = (
        ("pointer", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("size", ctypes.c_size_t),
    )


@contextmanager
def keep_signal_stack() -> Iterator[None]:
    """Puts this thread's alternate signal stack back at the end of the block."""
    if sys.platform != "linux":
        yield
        return
    library = ctypes.CDLL(None)
    before = _SignalStack()
    library.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        if library.sigaltstack(ctypes.byref(before), None) != 0:
            none = _SignalStack(None, _DISABLED, 0)
            library.sigaltstack(ctypes.byref(none), None)
