"""The inner loops in C, compiled on this machine when a compiler is there.

The source, ``softmax.c`` beside this file, is translated once per machine (about a
second) with the system's compiler and kept in the user's cache folder. Without a
compiler everything works as well, with PyTorch's operations at a third of the speed.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("softmax.c")
FLAGS = (
    "-O3",
    "-march=native",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-signed-zeros",
    "-fassociative-math",
    "-fPIC",
    "-shared",
)
WIDE_FLAG = "-mprefer-vector-width=512"
"""On x86: use the widest registers there are; compilers prefer half of them."""
ROOM_PER_CLASS = 256
"""Numbers of scratch memory per class, ``WIDTH`` in the source."""

NOTHING, CROSS_ENTROPY, FOCAL = range(3)
"""Kinds of terms, as in the source."""

_logger = logging.getLogger(__name__)
_lock = threading.Lock()


class Terms(ctypes.Structure):
    """What a loss sums up, as in the source."""

    _fields_ = (
        ("squared", ctypes.c_int32),
        ("voxel", ctypes.c_int32),
        ("channel", ctypes.c_int32),
        ("gamma", ctypes.c_float),
    )


def library() -> ctypes.CDLL | None:
    """The compiled functions; None where they cannot be had."""
    with _lock:
        return _load()


@cache
def _load() -> ctypes.CDLL | None:
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None or platform.system() not in ("Linux", "Darwin"):
        return None
    try:
        return _declare(ctypes.CDLL(str(_compiled(compiler))))
    except (OSError, subprocess.SubprocessError) as error:
        _logger.info("losses run without compiled code: %s", error)
        return None


def _compiled(compiler: str) -> Path:
    """The shared library, compiled if this machine has not done so before."""
    wide = platform.machine().lower() in ("x86_64", "amd64")
    flags = (*FLAGS, WIDE_FLAG) if wide else FLAGS
    kind = "\n".join([SOURCE.read_text(), *flags, compiler, platform.machine(), _cpu()])
    name = f"softmax-{hashlib.sha256(kind.encode()).hexdigest()[:20]}.so"
    folder = _folder()
    if not (folder / name).exists():
        with tempfile.TemporaryDirectory(dir=folder) as workplace:
            built = Path(workplace) / name
            command = [compiler, *flags, str(SOURCE), "-o", str(built)]
            subprocess.run(command, check=True, capture_output=True, timeout=60)
            built.replace(folder / name)
    return folder / name


def _folder() -> Path:
    """A folder that only this user can write to."""
    folder = Path.home() / ".cache" / "medseg"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="medseg-"))
    if not os.access(folder, os.W_OK):
        return Path(tempfile.mkdtemp(prefix="medseg-"))
    return folder


def _cpu() -> str:
    """What the processor can do, since home folders are shared between machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _declare(functions: ctypes.CDLL) -> ctypes.CDLL:
    """The functions with the types of their arguments."""
    pointer: Any = ctypes.c_void_p
    whole: Any = ctypes.c_int64
    flag: Any = ctypes.c_int
    terms: Any = ctypes.POINTER(Terms)
    chunk = [pointer, whole, whole, whole, pointer, terms]
    functions.medseg_sums.argtypes = [*chunk, *[pointer] * 6]
    functions.medseg_gradient.argtypes = [*chunk, *[pointer] * 5, whole, pointer]
    functions.medseg_channels.argtypes = [*chunk[:4], terms, flag, pointer]
    for function in (
        functions.medseg_sums,
        functions.medseg_gradient,
        functions.medseg_channels,
    ):
        function.restype = None
    return functions
