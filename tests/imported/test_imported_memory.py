"""Bounds of memory for imported models: held, or refused with a reason."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from monai_bundles import config_of, write_bundle
from nnunet_folders import Example
from predict_phantoms import scan_like

from medseg.errors import PredictionError, SettingsError
from medseg.geometry import affine_from_spacing
from medseg.inference.settings import InferenceSettings, parse_bytes
from medseg.prediction.load import load_segmentation
from medseg.prediction.predict import predict
from medseg.prediction.segmentation_model import SegmentationModel
from medseg.volume import Volume

TRAINER = "nnUNetTrainer__nnUNetPlans__3d_fullres"
ENOUGH = r"the smallest that does is ([\d.]+[mg])"


def bounded(text: str, **more: object) -> InferenceSettings:
    return InferenceSettings.model_validate({"max_ram": text, **more})


@pytest.fixture
def volume() -> Volume:
    voxels = np.random.default_rng(1).normal(50, 20, size=(1, 17, 14, 9))
    return Volume(voxels.astype(np.float32), affine_from_spacing((1.0, 1.2, 1.5)))


def test_nnunet_says_how_much_is_enough_and_keeps_to_it(
    tmp_path: Path, volume: Volume
) -> None:
    source = Example(mirror=None).write(tmp_path / "source")
    small = SegmentationModel.load(source, device="cpu", settings=bounded("1m"))
    with pytest.raises(PredictionError, match=ENOUGH) as caught:
        small.segment(volume, name="case")
    assert str(caught.value).startswith("case: 1m of RAM do not suffice")
    found = re.search(ENOUGH, str(caught.value))
    assert found is not None
    # what pytest itself comes to hold meanwhile is not the scan's
    enough = bounded(str(parse_bytes(found[1]) + 2**28))
    notes: list[str] = []
    model = SegmentationModel.load(source, device="cpu", settings=enough)
    label_map = model.segment(volume, notes=notes)
    assert notes == []
    plain = SegmentationModel.load(source, device="cpu").segment(volume)
    np.testing.assert_array_equal(label_map.voxels, plain.voxels)


def test_a_scan_that_needs_more_stops_no_other(tmp_path: Path) -> None:
    source = Example(mirror=None).write(tmp_path / "source")
    scans = tmp_path / "scans"
    scan_like(scans / "one.nii.gz")
    (line,) = predict(
        source, scans, tmp_path / "out", device="cpu", settings=bounded("10m")
    )
    assert line.status == "failed"
    assert "do not suffice" in line.reason
    assert "--max-ram" in line.reason


@pytest.mark.parametrize("key", ["max_ram", "max_vram"])
def test_bundles_refuse_a_bound_by_name(key: str, tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", config_of())
    tasks = tmp_path / "tasks.yaml"
    tasks.write_text(yaml.safe_dump({"models": [{"model": "bundle"}]}))
    settings = InferenceSettings.model_validate({key: "8g"})
    for path in (tmp_path / "bundle", tasks):
        with pytest.raises(SettingsError, match="MONAI bundle, whose transforms hold"):
            load_segmentation(path, device="cpu", settings=settings)


def test_nnunet_refuses_a_bound_of_the_gpu(tmp_path: Path) -> None:
    source = Example(mirror=None).write(tmp_path / "source")
    settings = InferenceSettings.model_validate({"max_vram": "4g"})
    with pytest.raises(SettingsError, match="12 x 12 x 8 voxels"):
        SegmentationModel.load(source, device="cpu", settings=settings)


MEASURED = """
import json, resource, sys
from pathlib import Path
import numpy as np
from medseg.errors import PredictionError
from medseg.geometry import affine_from_spacing
from medseg.inference.settings import InferenceSettings
from medseg.prediction.segmentation_model import SegmentationModel
from medseg.volume import Volume

folder, allowed, torch_resampling = sys.argv[1:]
voxels = np.random.default_rng(1).normal(50, 20, size=(1, 160, 150, 40))
volume = Volume(voxels.astype(np.float32), affine_from_spacing((1.0, 1.0, 1.4)))
settings = InferenceSettings.model_validate({"max_ram": allowed})
model = SegmentationModel.load(Path(folder), device="cpu", settings=settings)
try:
    model.segment(volume)
except PredictionError as error:
    print(json.dumps({"refused": str(error)}))
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peak": peak}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts kilobytes as Linux does")
@pytest.mark.parametrize("function", ["resample_data_or_seg_to_shape", "torch"])
def test_what_is_said_to_be_enough_is(function: str, tmp_path: Path) -> None:
    labels = {f"part{n}" if n else "background": n for n in range(60)}
    changes = {}
    if function == "torch":
        changes = {
            "resampling_fn_probabilities": "resample_torch_fornnunet",
            "resampling_fn_probabilities_kwargs": {
                "is_seg": False,
                "force_separate_z": None,
                "memefficient_seg_resampling": False,
            },
        }
    example = Example(labels=labels, mirror=None, patch=(8, 64, 64), changes=changes)
    folder = example.write(tmp_path / TRAINER)

    def run(allowed: int) -> dict[str, object]:
        command = [sys.executable, "-c", MEASURED, str(folder), str(allowed), function]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
        return answer

    found = re.search(ENOUGH, str(run(10**6)["refused"]))
    assert found is not None
    while "refused" in (answer := run(parse_bytes(found[1]))):
        found = re.search(ENOUGH, str(answer["refused"]))  # refused at a later step
        assert found is not None
    assert isinstance(answer["peak"], int)
    assert answer["peak"] <= parse_bytes(found[1])
