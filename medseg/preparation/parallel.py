"""Work on many cases in processes: one thread each, gone when the parent is gone."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

from medseg.errors import StoreError

T = TypeVar("T")
R = TypeVar("R")

FEW = 8
"""Fewer items than this are not worth starting processes for."""


def default_workers(num_items: int) -> int:
    """As many processes as this process may use cores, none for few items."""
    if num_items < FEW:
        return 1
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(cores, num_items)


def map_cases(
    function: Callable[[T], R], items: Sequence[T], *, workers: int | None = None
) -> Iterator[tuple[int, R]]:
    """Position and result of each item, in the order in which they are finished.

    Args:
        function: Defined at the top of a module, so that processes can import it.
        items: What to call it with.
        workers: Processes; 1 works in this one, None chooses.

    Raises:
        StoreError: A process died, most often because memory ran out.
    """
    count = default_workers(len(items)) if workers is None else workers
    if count <= 1:
        for number, item in enumerate(items):
            yield number, function(item)
        return
    pool = ProcessPoolExecutor(
        min(count, max(len(items), 1)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
    )
    try:
        futures: dict[Future[R], int] = {
            pool.submit(function, item): number for number, item in enumerate(items)
        }
        for future in as_completed(futures):
            yield futures.pop(future), future.result()
    except BrokenProcessPool as error:
        raise StoreError(
            f"one of {count} processes died, most often because memory ran out; "
            "finished cases are kept, go on with fewer: --workers 1"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """Leaves Ctrl-C to the parent, and ends when the parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
