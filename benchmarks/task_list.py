"""A task list by ``medseg predict`` against nnU-Net's answers composed by hand.

    python task_list.py WORK > results/task_list.jsonl

WORK is made by `peer_task_list.py` in an environment with nnunetv2. One row: smallest
Dice of a structure and voxels that differ, over the whole scan.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from machine import describe_machine, print_rows
from nnunet_exact import difference

from medseg.io import read_label_map


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    work = parser.parse_args().work.resolve()
    command = [
        *(sys.executable, "-m", "medseg", "predict", str(work / "tasks.yaml")),
        *(str(work / "scan"), "-o", str(work / "out"), "--device", "cpu"),
        *("--no-page", "--overwrite"),
    ]
    subprocess.run(command, check=True, stdout=sys.stderr)
    found = read_label_map(work / "out" / "case.nii.gz").voxels
    wanted = read_label_map(work / "by_hand.nii.gz").voxels
    row = {
        "scan": "thorax CT, every sixth voxel",
        "shape": list(wanted.shape),
        "structures": len(set(wanted[wanted > 0].tolist())),
        **difference(found, wanted),
    }
    print_rows([row], machine=describe_machine())


if __name__ == "__main__":
    main()
