"""Calls of the `medseg` command that are watched: time, memory, how they end."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

LIMIT_SECONDS, LIMIT_MB = 900.0, 12_000.0
"""A call is ended there, so that a benchmark ends as well."""
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Ended:
    """How a call ended."""

    code: int
    """Exit code; negative for a signal."""
    seconds: float
    peak_mb: float
    """Resident memory of the call and its children, together, at its highest."""
    text: str
    """What it printed."""


def start(*arguments: object, log: Path) -> "subprocess.Popen[bytes]":
    """A call in a session of its own, which prints into a file."""
    command = [sys.executable, "-W", "ignore", "-m", "medseg"]
    with log.open("wb") as stream:
        return subprocess.Popen(
            [*command, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )


def watch(*arguments: object, log: Path) -> Ended:
    """Runs a call to its end, or to the limits."""
    began, peak = time.monotonic(), 0.0
    process = start(*arguments, log=log)
    while process.poll() is None:
        peak = max(peak, family_mb(process.pid))
        if time.monotonic() - began > LIMIT_SECONDS or peak > LIMIT_MB:
            end(process, signal.SIGKILL)
        time.sleep(_POLL_SECONDS)
    text = log.read_text(errors="backslashreplace")
    return Ended(process.returncode, time.monotonic() - began, peak, text)


def end(process: "subprocess.Popen[bytes]", how: signal.Signals) -> int:
    """Sends a signal to a call and its children; waits where it is the last one."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, how)
    if how is signal.SIGKILL:
        process.wait()
    return process.pid


def family_mb(session: int) -> float:
    """Resident memory of all processes of a session; pages they share count once."""
    total = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            if int(fields[3]) != session:
                continue
            numbers = (entry / "statm").read_text().split()
            shared = 0 if total == 0 else int(numbers[2])
            total += (int(numbers[1]) - shared) * os.sysconf("SC_PAGE_SIZE")
    return total / 1e6
