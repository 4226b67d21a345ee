"""Work on many cases in processes: one thread each, gone when the parent is gone."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from pathlib import Path
from typing import TypeVar

from medseg.errors import StoreError
from medseg.reading import REMEMBERED

T = TypeVar("T")
R = TypeVar("R")

WORTH_A_PROCESS = 32 * 2**20
"""Bytes of files that outweigh the second or two that starting a process takes."""


def choose_workers(num_items: int, total_bytes: int) -> int:
    """As many processes as there are cores, as far as there is work for them."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(cores, num_items, total_bytes // WORTH_A_PROCESS))


def map_cases(
    function: Callable[[T], R], items: Sequence[T], *, workers: int = 1
) -> Iterator[tuple[int, R]]:
    """Position and result of each item, in the order in which they are finished.

    Args:
        function: Defined at the top of a module, so that processes can import it.
        items: What to call it with.
        workers: Processes; 1 works in this one.

    Raises:
        StoreError: A process died, most often because memory ran out.
    """
    if min(workers, len(items)) <= 1:
        for number, item in enumerate(items):
            yield number, function(item)
        return
    pool = ProcessPoolExecutor(
        min(workers, len(items)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(REMEMBERED.folder,),
    )
    try:
        futures: dict[Future[R], int] = {
            pool.submit(function, item): number for number, item in enumerate(items)
        }
        for future in as_completed(futures):
            yield futures.pop(future), future.result()
    except BrokenProcessPool as error:
        raise StoreError(
            f"one of {workers} processes died, most often because memory ran out; "
            "finished cases are kept, go on with fewer: --workers 1"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(folder: Path | None) -> None:
    """Leaves Ctrl-C to the parent, and ends when the parent does.

    Args:
        folder: Where files that ended a reader are remembered.
    """
    REMEMBERED.use(folder)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
