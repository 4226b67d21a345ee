"""From DICOM to a trained, tracked model: no name or date outside the DICOM objects."""

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import predict_phantoms as phantoms
import yaml

from medseg.conversion.file_labels import file_label_map
from medseg.io.dicom import find_series, read_series
from medseg.labels import LabelScheme
from medseg.volume import LabelMap

CONFIG = {
    "fold": 0,
    "prepare": {"num_folds": 2},
    "plan": {
        "patch_size": [16, 16, 8],
        "batch_size": 1,
        "network": {"name": "unet", "channels": [4, 8], "strides": [1, 2]},
    },
    "training": {"steps": 2, "precision": "float32"},
    "inference": {"overlap": 0.5, "engine": "torch"},
    "metrics": {"num_resamples": 100},
}


def medseg(*arguments: str | Path, folder: Path) -> str:
    command = [sys.executable, "-W", "ignore", "-m", "medseg", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def plant(tree: Path) -> None:
    """Four patients, each with an image and a segmentation."""
    for number in range(4):
        folder = tree / f"PLANTEDNAME_19480229_{number}"
        tags = phantoms.DICOM_TAGS | {"PatientID": f"PID-77123-{number}"}
        phantoms.planted_series(
            folder, shape=(24, 24, 12), seed=number, study_uid=f"1.2.3.{number}", **tags
        )
        series = find_series(folder).volumes[0]
        volume = read_series(series).volume
        labels = (volume.voxels[0] > 400).astype(np.uint8)
        file_label_map(
            LabelMap(labels, volume.affine),
            series,
            folder / "labels.dcm",
            scheme=LabelScheme(names={"tumour of Zebulon": 1}),
        )


def contents(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def test_nothing_between_dicom_and_the_tracking_store_names_a_patient(
    tmp_path: Path,
) -> None:
    plant(tmp_path / "in")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    made = tmp_path / "made"
    made.mkdir()
    key = tmp_path / "key"
    said = medseg("convert", tmp_path / "in", "-o", "set", "--key", key, folder=made)
    said += medseg(
        *("train", tmp_path / "config.yaml", "--data", "set/manifest.csv"),
        *("-o", "runs/one", "--device", "cpu"),
        folder=made,
    )
    files = [path for path in made.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"manifest.csv", "run.log", "weights.safetensors"} <= names
    assert any(path.suffix == ".db" for path in files)  # MLflow's store
    assert any(path.suffix == ".png" for path in files)
    assert len(phantoms.SECRETS) > 20
    texts = {"terminal": said.encode()}
    for path in files:
        texts[str(path.relative_to(made))] = contents(path)
    for secret in [*phantoms.SECRETS, "1.2.3."]:
        wanted = secret.lower().encode()
        for name, text in texts.items():
            assert secret.lower() not in name.lower(), (secret, name)
            if len(wanted) > 5:  # shorter ones may stand in binary files by chance
                assert wanted not in text.lower(), (secret, name)
