"""What is warned of while a scan is worked on, when several are at once."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LOCAL = threading.local()


@contextmanager
def remarks_by_thread() -> Iterator[None]:
    """Inside the `with` block, each thread's warnings go to its own `remarks`.

    To be entered once, by one thread, around everything: the filters of `warnings`
    belong to the whole process. Warnings of libraries are dropped: they may show
    values of headers.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        usual = warnings.showwarning

        def show(
            message: Warning | str, category: type[Warning], *place: Any, **more: Any
        ) -> None:
            found: list[str] | None = getattr(_LOCAL, "found", None)
            if not category.__module__.startswith("medseg"):
                return
            if found is None:
                usual(message, category, *place, **more)
            else:
                found.append(str(message))

        warnings.showwarning = show
        yield


@contextmanager
def remarks() -> Iterator[list[str]]:
    """What is warned of by this thread inside the `with` block."""
    found: list[str] = []
    _LOCAL.found = found
    try:
        yield found
    finally:
        _LOCAL.found = None
