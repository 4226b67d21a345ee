"""What reading in processes with limits costs `medseg convert` on healthy scans.

    python benchmarks/guarded_reading.py             a table
    python benchmarks/guarded_reading.py --json      rows of name, ours, peer, ratio

The same folder is converted in fresh processes, in turn with readers and with reads in
the calling process (as inside a reader); the fastest of each counts. Wall time says
what a user waits, processor time (of all processes) what the machine works; both
contain the start of the first reader.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import describe_machine, print_rows
from mutants import slices, write_nifti

SCRIPT = """
import os, sys, time
from pathlib import Path
import psutil
from medseg.conversion.convert import convert
from medseg.reading import guarded, worker
is_direct = sys.argv[1] == "direct"
worker._IS_READER = is_direct
summary = convert(Path(sys.argv[2]), Path(sys.argv[3]), key_path=Path(sys.argv[4]))
assert {line.status for line in summary.conversions} == {"done"}
used = time.process_time()
if not is_direct:
    used += guarded(time.process_time, files=[])
    server = guarded(os.getppid, files=[])  # readers are forked from it
    if server != os.getpid():
        times = psutil.Process(server).cpu_times()
        used += times.user + times.system
print(used)
"""
WORKLOADS = {"5 MR volumes, 256x256x120": "NIfTI", "3 MR series, 256x256x120": "DICOM"}


def plant(folder: Path, kind: str) -> Path:
    """Scans as scanners make them: smooth, with noise."""
    shape = (256, 256, 120)
    rng = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(256), np.arange(256))[:, :, None] + np.arange(120)
    for number in range(5 if kind == "NIfTI" else 3):
        array = (ramp + rng.normal(size=shape) * 15).astype(np.int16)
        if kind == "NIfTI":
            write_nifti(folder / f"scan{number:02d}.nii.gz", array)
            continue
        place = folder / f"series{number}"
        place.mkdir(parents=True)
        for k, one in enumerate(slices(array, f"1.2.826.0.1.3680043.8.498.{number}")):
            one.Rows, one.Columns = shape[1], shape[0]
            one.save_as(place / f"{k:03d}.dcm", enforce_file_format=True)
    return folder


def measure(how: str, scans: Path, work: Path) -> tuple[float, float]:
    """Wall and processor seconds of one call."""
    out = Path(tempfile.mkdtemp(dir=work))
    began = time.perf_counter()
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, how]
    done = subprocess.run(
        [*command, str(scans), str(out), str(work / "key")],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return time.perf_counter() - began, float(done.stdout)


def main() -> None:
    """Measures each workload in turn with and without readers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", help="part of a workload's name")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="medseg_reading_") as place:
        work = Path(place)
        for name, kind in WORKLOADS.items():
            if options.only not in name:
                continue
            scans = plant(work / kind, kind)
            found: dict[str, list[tuple[float, float]]] = {"direct": [], "guarded": []}
            for _ in range(options.repeats):
                for how, times in found.items():
                    times.append(measure(how, scans, work))
            for index, what in enumerate(("wall", "processor")):
                ours = min(times[index] for times in found["guarded"])
                peer = min(times[index] for times in found["direct"])
                rows.append(
                    {
                        "name": f"{name}, {what}",
                        "ours": round(ours, 3),
                        "peer": round(peer, 3),
                        "ratio": round(ours / peer, 3),
                        "unit": "s",
                    }
                )
    if options.json:
        print_rows(rows, machine=describe_machine())
        return
    print(f"{describe_machine()}\n")
    print("| workload | with readers, s | without, s | ratio |\n|---|---|---|---|")
    for row in rows:
        print(f"| {row['name']} | {row['ours']} | {row['peer']} | {row['ratio']} |")


if __name__ == "__main__":
    main()
