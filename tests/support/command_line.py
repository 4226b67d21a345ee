"""The command line as a program of its own, and a small configuration for it."""

import subprocess
import sys
from pathlib import Path

CONFIG = {
    "fold": 0,
    "prepare": {"num_folds": 3},
    "plan": {
        "patch_size": [16, 16, 16],
        "batch_size": 2,
        "network": {"name": "unet", "channels": [4, 8], "strides": [1, 2]},
    },
    "training": {"steps": 4, "precision": "float32", "checkpoint_every": "0.01s"},
    "metrics": {"num_resamples": 100},
    "tracking": {"enabled": False},
}


def medseg(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "medseg", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)
