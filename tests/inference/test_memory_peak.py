"""The real peak of a process stays under the budget that it was given."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import sys
import numpy as np, torch
sys.path.insert(0, sys.argv[1])
from small_networks import CPU, plan
from medseg.geometry import affine_from_spacing
from medseg.inference.predictor import Predictor
from medseg.inference.settings import InferenceSettings
from medseg.volume import Volume

class Bands(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv = torch.nn.Conv3d(1, classes, 1)
        centre = torch.linspace(-2, 2, classes)
        with torch.no_grad():
            self.conv.weight[:, 0, 0, 0, 0] = 2 * centre
            self.conv.bias[:] = -centre**2

    def forward(self, x):
        return self.conv(x)

torch.set_num_threads(1)
megabytes, classes = int(sys.argv[2]), 40
i, j, k = np.ogrid[:160, :160, :160]
voxels = (60 * np.sin(i / 90) * np.cos(j / 90) * np.sin(k / 70)).astype(np.int16)
volume = Volume(voxels[None], affine_from_spacing((1.0, 1.0, 1.0)))
del i, j, k, voxels
made = plan((1.2, 1.2, 1.2), (64, 64, 64), classes)
asked = InferenceSettings(overlap=0.25, max_ram=megabytes * 2**20)
notes = []
predictor = Predictor(Bands(classes), made, CPU, asked)
labels = predictor.predict(volume, notes=notes)
assert len(np.unique(labels.voxels)) > 10
assert any("strips" in note for note in notes), notes
status = open("/proc/self/status").read().splitlines()
peak = int(next(x for x in status if x.startswith("VmHWM")).split()[1]) / 1024
print(f"{peak:.0f}")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is in other units")
@pytest.mark.parametrize("megabytes", [1050, 1120])
def test_the_peak_stays_under_the_budget(megabytes: int) -> None:
    here = os.path.dirname(__file__)  # noqa: PTH120
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, here, str(megabytes)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout) < megabytes
