"""The machine that a benchmark ran on, and the rows it prints."""

import json
import os
import platform
from pathlib import Path
from typing import Any


def describe_machine(device: str = "cpu") -> str:
    """Processor, cores that may be used, load, Python and PyTorch; or the GPU."""
    import torch

    parts = [f"{_processor()}, {_cores()} cores", f"load {os.getloadavg()[0]:.1f}"]
    if device.startswith("cuda"):
        parts.insert(0, torch.cuda.get_device_name(device))
    parts.append(f"Python {platform.python_version()}, torch {torch.__version__}")
    return "; ".join(parts)


def print_rows(rows: list[dict[str, Any]], *, machine: str) -> None:
    """One JSON object per line, each with the machine."""
    for row in rows:
        print(json.dumps({**row, "machine": machine}), flush=True)


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((x.partition(": ")[2] for x in lines if x.startswith("model name")), "")
