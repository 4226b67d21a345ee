"""What the pages of ``medseg predict`` cost: processor time with and without them.

    python benchmarks/pages.py MODEL SCANS

Runs both ways in turns, each in a process of its own with a fresh output folder, and
prints a row of JSON with the seconds of every call (user and system time, of all of its
processes) and their medians. ``--no-page`` is the call without pages.
"""

import argparse
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from machine import describe_machine, print_rows


def cpu_seconds(model: str, scans: str, *options: str) -> float:
    """Processor time of a call of ``medseg predict``."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with TemporaryDirectory(prefix="medseg_pages_") as out:
        command = [sys.executable, "-m", "medseg", "predict", model, scans, "-o", out]
        subprocess.run(
            [*command, "--device", "cpu", "--quiet", *options],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    """Measures both ways in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="model, run, or the name of a shipped model")
    parser.add_argument("scans", help="folder of scans")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    model, scans = arguments.model, arguments.scans
    with_pages, without = [], []
    cpu_seconds(model, scans, "--no-page")  # reads files and libraries once
    for _ in range(arguments.rounds):
        with_pages.append(round(cpu_seconds(model, scans), 2))
        without.append(round(cpu_seconds(model, scans, "--no-page"), 2))
    row = {
        "model": Path(model).name,
        "scans": Path(scans).name,
        "with_pages_s": with_pages,
        "without_s": without,
        "median_with_s": statistics.median(with_pages),
        "median_without_s": statistics.median(without),
    }
    print_rows([row], machine=describe_machine())


if __name__ == "__main__":
    main()
