"""The inner loops in C, compiled on this machine when a compiler is there.

The source, ``softmax.c`` beside this file, is translated once per machine (about a
second) with the system's compiler and kept in the user's cache folder. Without a
compiler everything works as well, with PyTorch's operations at about half the speed.
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
ROOM_PER_CLASS = 256
"""Numbers of scratch memory per class, ``WIDTH`` in the source."""

_logger = logging.getLogger(__name__)
_lock = threading.Lock()


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
    kind = "\n".join([SOURCE.read_text(), *FLAGS, compiler, platform.machine(), _cpu()])
    name = f"softmax-{hashlib.sha256(kind.encode()).hexdigest()[:20]}.so"
    folder = _folder()
    if not (folder / name).exists():
        with tempfile.TemporaryDirectory(dir=folder) as workplace:
            built = Path(workplace) / name
            command = [compiler, *FLAGS, str(SOURCE), "-o", str(built)]
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
    sizes = [pointer, whole, whole, whole]
    functions.medseg_soften.argtypes = [*sizes, pointer, pointer, flag, *[pointer] * 8]
    functions.medseg_soften.restype = None
    functions.medseg_gradient.argtypes = [
        *sizes,
        *[pointer] * 5,
        flag,
        pointer,
        whole,
        pointer,
    ]
    functions.medseg_gradient.restype = None
    functions.medseg_binary_focal.argtypes = [*sizes, flag, pointer]
    functions.medseg_binary_focal.restype = None
    return functions
