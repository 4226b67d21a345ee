"""A configuration that learns tiny cells within seconds."""

from pathlib import Path
from typing import Any


def cell_settings(data: Path, *, steps: int) -> dict[str, Any]:
    """What `RunConfig` validates: a small network on the cells of a manifest."""
    return {
        "data": data,
        "prepare": {"num_folds": 3},
        "plan": {
            "patch_size": [48, 48],
            "batch_size": 4,
            "network": {"name": "unet", "channels": [8, 16], "strides": [1, 2]},
        },
        "training": {"steps": steps, "precision": "float32", "validation_share": 0.01},
        "metrics": {"distances": False},
    }
