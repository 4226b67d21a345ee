"""Everything of the user's own at once: from YAML and the command line, from Python."""

import shutil
from pathlib import Path
from typing import Any

import monai.losses
import monai.networks.nets
import numpy as np
import pytest
import yaml
from test_contracts import npy_study, own

import medseg
from medseg import plugins
from medseg.cli.main import main
from medseg.errors import PluginError, SettingsError
from medseg.io import read_label_map

HERE = Path(__file__).parent
CONFIG: dict[str, Any] = {
    "readers": ["own_reader.py:NumpyReader"],
    "layouts": ["own_layout.py:PatientFolders"],
    "prepare": {"num_folds": 2, "target_spacing": [2.0, 2.0, 2.0]},
    "plan": {
        "patch_size": [8, 8, 8],
        "batch_size": 2,
        "network": {"name": "own_network.py:HalfNet"},
    },
    "training": {
        "steps": 2,
        "precision": "float32",
        "validation_cases": 1,
        "loss": {"name": "own_loss.py:BrierLoss"},
        "sampling": {"strategy": "own_sampler.py:Smallest", "args": {"least": 2}},
        "optimizer": {"name": "torch.optim:RAdam", "args": {"betas": [0.8, 0.99]}},
        "schedule": {"name": "own_metric.py:triangle", "args": {"peak": 0.5}},
        "augmentation": {
            "transforms": [
                {"name": "own_transform.py:shade", "args": {"most": 0.1}},
                {
                    "name": "own_transform.py:RandRolld",
                    "args": {"keys": ["image", "label"]},
                },
                {"name": "monai.transforms:RandGaussianNoise", "args": {"std": 0.1}},
            ]
        },
    },
    "metrics": {
        "num_resamples": 100,
        "extra": [
            {"name": "own_metric.py:volume_ratio"},
            {
                "name": "monai.metrics:SurfaceDiceMetric",
                "args": {"class_thresholds": [2.0]},
                "column": "monai_nsd",
                "worst": 0.0,
            },
        ],
    },
    "tracking": {"enabled": False, "loggers": [{"name": "own_tracker.py:TextTracker"}]},
    "inference": {"engine": "torch", "precision": "float32"},
    "postprocessing": "none",
}


def with_code(folder: Path) -> Path:
    """The configuration beside the user's code."""
    folder.mkdir(exist_ok=True)
    for file in HERE.glob("own_*.py"):
        shutil.copy(file, folder)
    (folder / "own.yaml").write_text(yaml.safe_dump(CONFIG))
    return folder / "own.yaml"


def forget() -> None:
    for name in ("_allowed", "_files", "_given", "_used"):
        getattr(plugins, name).clear()


def call(*arguments: object) -> int:
    """The command line, as in a new process."""
    forget()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["medseg", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0)


def test_from_yaml_by_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = npy_study(tmp_path / "study", num_cases=4)
    config, run = with_code(tmp_path / "code"), tmp_path / "run"
    settings = ["--data", study, "--device", "cpu", "-o", run]
    assert call("train", config, *settings) == 0
    record = yaml.safe_load((run / "plugins.yaml").read_text())
    assert {name: one["name"] for name, one in record.items()} == {
        "readers.0": "own_reader.py:NumpyReader",
        "layouts.0": "own_layout.py:PatientFolders",
        "plan.network": "own_network.py:HalfNet",
        "training.loss": "own_loss.py:BrierLoss",
        "training.sampling": "own_sampler.py:Smallest",
        "training.optimizer": "torch.optim:RAdam",
        "training.schedule": "own_metric.py:triangle",
        "training.augmentation.transforms.0": "own_transform.py:shade",
        "training.augmentation.transforms.1": "own_transform.py:RandRolld",
        "training.augmentation.transforms.2": "monai.transforms:RandGaussianNoise",
        "metrics.extra.0": "own_metric.py:volume_ratio",
        "metrics.extra.1": "monai.metrics:SurfaceDiceMetric",
        "tracking.loggers.0": "own_tracker.py:TextTracker",
    }
    told = (run / "told.txt").read_text()
    assert "tags" in told
    assert told.endswith("finish FINISHED\n")
    header = (run / "validation" / "cases.csv").read_text().splitlines()[0]
    assert "volume_ratio" in header
    assert "monai_nsd" in header
    assert "monai_nsd" in (run / "validation" / "summary.csv").read_text()
    assert "transforms" in (run / "run.log").read_text()

    assert call("train", config, *settings, "--resume", "--steps", "3") == 0
    scan = study / "patient_0" / "scan.npy"
    where = ["--device", "cpu", "-o", tmp_path / "out"]
    assert call("predict", run, scan, *where) == 2
    assert "--plugin PATH/own_network.py" in capsys.readouterr().err
    code = ["--plugin", config.parent / "own_network.py"]
    code += ["--plugin", config.parent / "own_reader.py"]
    assert call("predict", run, scan, *where, *code) == 0
    assert len(list((tmp_path / "out").rglob("*.nii.gz"))) == 1
    exported = ["--to", "onnx", "-o", tmp_path / "onnx"]
    assert call("export", run, *exported, *code[:2]) == 0
    assert call("inspect", run, *code[:2]) == 0
    assert call("doctor", study) == 2
    assert "no data set is recognised" in capsys.readouterr().err
    layout = f"{config.parent / 'own_layout.py'}:PatientFolders"
    assert call("doctor", study, "--plugin", layout, *code[2:]) == 0


def test_from_python_as_objects(tmp_path: Path) -> None:
    study = npy_study(tmp_path / "study", num_cases=4)
    values = {
        key: value for key, value in CONFIG.items() if key not in {"readers", "layouts"}
    }
    values["training"] = {"steps": 2, "precision": "float32", "validation_cases": 1}
    values["metrics"] = {"num_resamples": 100}
    values["tracking"] = {"enabled": False}
    del values["plan"]
    values["plan"] = {"patch_size": [8, 8, 8], "batch_size": 2}
    network = own("own_network", "HalfNet")(3, 1, 2)
    parts: dict[str, Any] = {
        "network": network,
        "loss": monai.losses.TverskyLoss(to_onehot_y=True, softmax=True),
        "sampler": own("own_sampler", "Smallest"),
        "transforms": [own("own_transform", "shade")],
        "metrics": [own("own_metric", "volume_ratio")],
        "schedule": own("own_metric", "triangle"),
        "readers": [own("own_reader", "NumpyReader")()],
        "layouts": [own("own_layout", "PatientFolders")],
    }
    before = {name: value.clone() for name, value in network.state_dict().items()}
    out = tmp_path / "run"
    run = medseg.train(
        study, out=out, config=values, device="cpu", progress=False, **parts
    )
    after = network.state_dict()
    assert all(bool((after[name] == value).all()) for name, value in before.items())
    assert "volume_ratio" in run.scores
    scan = study / "patient_0" / "scan.npy"
    first = medseg.load_model(run).predict(scan)
    again = medseg.train(
        study,
        out=out,
        config={**values, "training": {**values["training"], "steps": 3}},
        device="cpu",
        resume=True,
        progress=False,
        **parts,
    )
    assert again.folder == run.folder
    assert medseg.export(run, tmp_path / "onnx", to="onnx", progress=False).is_dir()
    forget()
    with pytest.raises(PluginError, match="was an object of a Python call"):
        medseg.load_model(run)
    plugins.give(network)
    plugins.use(plugins.give(parts["readers"][0]), kind="readers")
    assert medseg.load_model(run).predict(scan).voxels.shape == first.voxels.shape


def test_monais_parts_by_path_and_as_classes(tmp_path: Path, tiny_study: Path) -> None:
    unet = {
        "name": monai.networks.nets.UNet,
        "args": {"channels": [4, 8], "strides": [2]},
    }
    run = medseg.train(
        tiny_study,
        out=tmp_path / "run",
        config={
            "plan": {"patch_size": [16, 16, 16], "batch_size": 2},
            "training": {"steps": 2, "validation_cases": 1, "precision": "float32"},
            "metrics": {"distances": False},
            "tracking": {"enabled": False},
        },
        network=unet,
        loss="monai.losses:DiceFocalLoss",
        device="cpu",
        progress=False,
    )
    text = (run.folder / "model" / "model.yaml").read_text()
    assert "monai.networks.nets.unet:UNet" in text
    forget()  # MONAI's networks need nobody's word
    label_map = medseg.load_model(run).predict(
        tiny_study / "imagesTr" / "tiny_000.nii.gz"
    )
    written = tmp_path / "a.nii.gz"
    medseg.write_label_map(written, label_map)
    np.testing.assert_array_equal(read_label_map(written).voxels, label_map.voxels)


def test_wrong_parts_are_refused_before_anything_is_written(
    tmp_path: Path, tiny_study: Path
) -> None:
    for part, said in (
        ({"network": "os:system"}, "plug-in os:system: cannot be built"),
        ({"loss": "monai.losses:DiceLos"}, "nearest: DiceLoss"),
        ({"network": "own.py:Net"}, "no such file"),
        ({"loss": "dise"}, "nearest: dice"),
        ({"metrics": [{"name": "m:f", "column": "dice"}]}, "'dice' is taken"),
    ):
        with pytest.raises(SettingsError, match=said):
            medseg.train(
                tiny_study, out=tmp_path / "run", steps=1, progress=False, **part
            )
        assert not (tmp_path / "run" / "model").exists()
