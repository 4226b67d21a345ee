"""Compiles and loads ``device_guard.cpp``, which gives autograd a CUDA device."""

import ctypes
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import torch

SOURCE = Path(__file__).with_name("device_guard.cpp")
TORCH = Path(torch.__file__).parent


def find_compiler() -> str | None:
    """A C++ compiler of this machine."""
    return next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)


def load_device_guard(folder: Path) -> None:
    """Loads the guard for the rest of the process, before its first backward pass.

    Args:
        folder: Keeps the compiled library for the next time.
    """
    kind = f"{SOURCE.read_text()} {torch.__version__}"
    name = f"guard-{hashlib.sha256(kind.encode()).hexdigest()[:16]}.so"
    library = folder / name
    if not library.exists():
        _compile(library)
    ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


def _compile(library: Path) -> None:
    compiler = find_compiler()
    assert compiler is not None
    built = library.with_suffix(f".{os.getpid()}")
    abi = int(torch.compiled_with_cxx11_abi())
    command = [compiler, "-std=c++20", "-O0", "-fPIC", "-shared", str(SOURCE)]
    command += [f"-I{TORCH / 'include'}", f"-D_GLIBCXX_USE_CXX11_ABI={abi}"]
    command += [f"-L{TORCH / 'lib'}", "-lc10", "-ltorch_cpu"]
    command += [f"-Wl,-rpath,{TORCH / 'lib'}", "-o", str(built)]
    subprocess.run(command, check=True, capture_output=True)
    built.replace(library)
