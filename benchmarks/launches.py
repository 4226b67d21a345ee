"""Launches and bytes of a training step on a GPU, by part, counted without one.

    python benchmarks/launches.py [--json]

A step of training is rehearsed on fake CUDA tensors (tests/rehearsal): each operation
that computes counts as one launch, and reads its inputs and writes its outputs once.
Needs a C++ compiler.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from unittest import mock

from medseg.datasets import load_dataset
from medseg.labels import LabelScheme
from medseg.networks.settings import UNetSettings
from medseg.preparation import prepare
from medseg.store import Store
from medseg.testing.tiny_study import make_tiny_study
from medseg.training.settings import TrainingSettings
from medseg.training.trainer import TrainingSteps

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "rehearsal"))

from device_guard import load_device_guard
from fake_gpu import FakeGPU
from rehearsed_fit import Rehearsal, small_plan
from training_parts import STEP

UNET = UNetSettings(
    channels=(32, 64, 128, 256, 320, 320),
    strides=(1, 2, 2, 2, 2, 2),
    deep_supervision=True,
)
RESENC = UNET.model_copy(
    update={
        "block": "residual",
        "convs_per_stage": (1, 3, 4, 6, 6, 6),
        "decoder_convs": 1,
    }
)
SMALL = UNetSettings(
    channels=(32, 64, 128, 256), strides=(1, 2, 2, 2), deep_supervision=True
)
ORGANS = LabelScheme(names={f"structure {n}": n for n in range(1, 118)})
PLANS = {
    "hippocampus": {"network": SMALL, "patch_size": (40, 56, 40)},
    "U-Net, 128³, 5 outputs": {"network": UNET, "patch_size": (128,) * 3},
    "ResEnc, 128³": {"network": RESENC, "patch_size": (128,) * 3},
    "U-Net, 128³, 118 classes": {
        "network": UNET,
        "patch_size": (128,) * 3,
        "labels": ORGANS,
    },
}


def count(store: Store, changes: dict[str, object]) -> list[dict[str, object]]:
    """A row for each part of the second step, when the optimiser has its state."""
    gpu, take = FakeGPU(), TrainingSteps.take

    def from_the_second_on(self: TrainingSteps, done: float) -> None:
        if self.state.step == 1:
            gpu.seen.parts.clear()
        take(self, done)

    settings = TrainingSettings(precision="bfloat16", compile="off")
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(TrainingSteps, "take", from_the_second_on),
    ):
        plan = small_plan(store, **changes)
        Rehearsal(store, plan, Path(folder), settings, steps=2, validations=False).run(
            gpu
        )
    return [
        {
            "part": part,
            "launches": gpu.seen.parts[part].num_launches,
            "gigabytes": round(gpu.seen.parts[part].moved / 1e9, 3),
        }
        for part in STEP
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON line per row")
    arguments = parser.parse_args()
    load_device_guard(Path(tempfile.gettempdir()))  # before anything runs backward
    with tempfile.TemporaryDirectory() as folder:
        study = make_tiny_study(Path(folder, "study"), shape=(64, 64, 64))
        store = prepare(
            load_dataset(study), Path(folder, "store"), num_folds=3, workers=1
        )
        for name, changes in PLANS.items():
            for row in count(store, changes):
                row = {"benchmark": "launches", "plan": name, **row}
                words = " ".join(map(str, row.values()))
                print(json.dumps(row) if arguments.json else words, flush=True)


if __name__ == "__main__":
    main()
