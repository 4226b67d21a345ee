"""How long reading may take and how much memory, by the size of the files.

A file of a few kilobytes that asks for gigabytes, or never ends, is damaged or
malicious; a large scan may take its time. The limits are far above what any healthy
file of its size needs.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SECONDS = 30.0
"""Allowed for any file, however small."""
BYTES_PER_SECOND = 1_000_000
"""Slowest storage and decoder that are waited for."""
MEMORY = 1_500_000_000
"""Bytes allowed for any file, however small."""
MEMORY_PER_BYTE = 3 * 1032
"""Deflate packs 1032 bytes into one at most (zlib's technical notes); three copies."""
FREE_SHARE = 0.9
"""Of the machine's free memory, what one read may take."""


@dataclass(frozen=True)
class Limits:
    """What one read may take.

    Attributes:
        seconds: From the moment at which its process begins.
        memory: Bytes beyond what the process holds already.
    """

    seconds: float
    memory: int


def limits_for(files: Iterable[Path], *, seconds: float | None = None) -> Limits:
    """Limits for reading some files; those that are gone count nothing.

    Args:
        files: What is read.
        seconds: A limit of time that is known to do.
    """
    import psutil

    total = sum(_size_of(path) for path in files)
    free = int(FREE_SHARE * psutil.virtual_memory().available)
    return Limits(
        seconds=SECONDS + total / BYTES_PER_SECOND if seconds is None else seconds,
        memory=min(free, MEMORY + MEMORY_PER_BYTE * total),
    )


def limit_memory(num_bytes: int) -> None:
    """Lets this process take so many bytes more than it holds.

    Linux alone counts and refuses the private memory of a process (RLIMIT_DATA);
    elsewhere nothing happens.
    """
    if sys.platform != "linux":
        return
    import resource

    import psutil

    held = int(psutil.Process().memory_info().data)
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = held + num_bytes
    if most != resource.RLIM_INFINITY:
        wanted = min(wanted, most)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, most))


def without_core_dumps() -> None:
    """Keeps a crash of this process from writing its memory to disk."""
    if sys.platform == "win32":
        return
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):  # gone, or a name that no file can have
        return 0
