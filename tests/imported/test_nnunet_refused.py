"""What no model of nnU-Net needs executes nothing and is refused by name."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunet_folders import Example

from medseg.errors import MissingFileError, ModelError
from medseg.imported.checkpoint import read_checkpoint
from medseg.imported.nnunet import read_nnunet
from medseg.imported.nnunet_folder import is_nnunet

CHECKPOINT = "fold_0/checkpoint_final.pth"


class Payload:
    """Pickles as a call of anything."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def names_of(error: pytest.ExceptionInfo[ModelError]) -> str:
    return str(error.value)


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (lambda mark: Payload(os.system, f"touch {mark}"), "system"),
        (lambda mark: Payload(eval, f"open({str(mark)!r}, 'w')"), "eval"),
        (lambda mark: Payload(exec, f"open({str(mark)!r}, 'w')"), "exec"),
        (lambda mark: Payload(os.mkdir, str(mark)), "mkdir"),
        (lambda mark: Payload(getattr, "text", "upper"), "getattr"),
        (lambda mark: Payload(np.save, str(mark), np.float32(1)), "save"),
    ],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_payloads_in_a_checkpoint(
    tmp_path: Path, payload: Any, name: str, legacy: bool
) -> None:
    mark = tmp_path / "executed"
    content = {"network_weights": {}, "trainer_name": payload(mark)}
    path = tmp_path / "checkpoint_final.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ModelError, match="refused") as error:
        read_checkpoint(path)
    assert name in names_of(error)
    assert "nothing of it was executed" in names_of(error)
    assert not mark.exists()


def test_plain_pickle_with_a_payload(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    path = tmp_path / "checkpoint_final.pth"
    path.write_bytes(pickle.dumps(Payload(os.system, f"touch {mark}")))
    with pytest.raises(ModelError):
        read_checkpoint(path)
    assert not mark.exists()


def test_numbers_of_numpy_1_and_2_are_read(tmp_path: Path) -> None:
    example = Example()
    folder = example.write(tmp_path)
    buffer = io.BytesIO()
    torch.save(example.checkpoint(example.networks[0]), buffer)
    data = buffer.getvalue()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        pickled = next(n for n in archive.namelist() if n.endswith("data.pkl"))
        text = archive.read(pickled)
        assert b"numpy._core.multiarray" in text
        older = text.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
        assert older != text
        with zipfile.ZipFile(folder / CHECKPOINT, "w") as changed:
            for entry in archive.namelist():
                content = older if entry == pickled else archive.read(entry)
                changed.writestr(entry, content)
    found = read_checkpoint(folder / CHECKPOINT)
    assert found.trainer == "nnUNetTrainer"
    assert found.mirror_axes == (0, 1, 2)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("nonlin", "os.system"),
        ("nonlin", "torch.nn.modules.activation.os.system"),
        ("conv_op", "subprocess.Popen"),
        ("norm_op", "builtins.eval"),
        ("dropout_op", "medseg.cli.main.main"),
        ("nonlin", "torch.nn.Sequential"),
    ],
)
def test_class_paths_in_plans(tmp_path: Path, key: str, value: str) -> None:
    changed = Example().architecture()
    changed["arch_kwargs"][key] = value
    Example(changes={"architecture": changed}).write(tmp_path)
    with pytest.raises(ModelError, match=f"{key} is '{value}'") as error:
        read_nnunet(tmp_path)
    assert "refused" in names_of(error)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("os.system", "os.system"),
        ("dynamic_network_architectures.architectures.primus.Primus", "Primus"),
        ("my_package.PlainConvUNet", "my_package"),
    ],
)
def test_other_networks(tmp_path: Path, name: str, message: str) -> None:
    changed = Example().architecture() | {"network_class_name": name}
    Example(changes={"architecture": changed}).write(tmp_path)
    with pytest.raises(ModelError, match=message):
        read_nnunet(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"arch_kwargs": {"callback": "os.system"}},
        {"_kw_requires_import": ["conv_op", "kernel_sizes"]},
        {"arch_kwargs": {"nonlin_kwargs": {"negative_slope": 0.2}}},
        {"arch_kwargs": {"norm_op_kwargs": {"eps": 1e-3, "affine": True}}},
        {"arch_kwargs": {"nonlin_first": True}},
        {"arch_kwargs": {"strides": [[2, 2, 2], [2, 2, 2], [1, 2, 2]]}},
        {"arch_kwargs": {"features_per_stage": [4, 6, 10**9]}},
        {"arch_kwargs": {"n_stages": 10**9}},
        {"arch_kwargs": {"features_per_stage": [4, 6, "8"]}},
    ],
)
def test_arguments_that_change_the_network(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    architecture = Example().architecture()
    for key, value in changes.items():
        if isinstance(value, dict):
            architecture[key].update(value)
        else:
            architecture[key] = value
    Example(changes={"architecture": architecture}).write(tmp_path)
    with pytest.raises((ModelError, ValueError), match=r"plans\.json"):
        read_nnunet(tmp_path)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("image_reader_writer", "MyReader"),
        ("label_manager", "os.system"),
    ],
)
def test_classes_of_plans(tmp_path: Path, part: str, value: str) -> None:
    Example(plans={part: value}).write(tmp_path)
    with pytest.raises(ModelError, match=f"{part} is '{value}'"):
        read_nnunet(tmp_path)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("preprocessor_name", "MyPreprocessor"),
        ("normalization_schemes", ["MyNormalization"]),
        ("resampling_fn_data", "os.system"),
        ("resampling_fn_probabilities", "my_resampling"),
    ],
)
def test_classes_of_a_configuration(tmp_path: Path, part: str, value: Any) -> None:
    Example(changes={part: value}).write(tmp_path)
    name = value[0] if isinstance(value, list) else value
    with pytest.raises(ModelError, match=f"{part} is '{name}'"):
        read_nnunet(tmp_path)


@pytest.mark.parametrize(
    "trainer", ["nnUNet_Primus_M_Trainer", "MyTrainer", "nnUNetTrainerMine"]
)
def test_trainers_of_other_networks(tmp_path: Path, trainer: str) -> None:
    Example(trainer=trainer).write(tmp_path)
    with pytest.raises(ModelError, match=f"trained by {trainer}"):
        read_nnunet(tmp_path)
    assert read_nnunet(tmp_path, as_planned=True).models[0].exact is not None


@pytest.mark.parametrize(
    "trainer",
    [
        "nnUNetTrainer",
        "nnUNetTrainerNoMirroring",
        "nnUNetTrainer_4000epochs_NoMirroring",
        "nnUNetTrainer_DASegOrd0_NoMirroring",
        "nnUNetTrainer_onlyMirror01_1500ep",
        "nnUNetTrainerDA5ord0",
        "nnUNetTrainerAdam3en4",
        "nnUNetTrainerDiceCELoss_noSmooth",
    ],
)
def test_trainers_of_the_planned_network(tmp_path: Path, trainer: str) -> None:
    Example(trainer=trainer).write(tmp_path)
    exact = read_nnunet(tmp_path).models[0].exact
    assert exact is not None
    assert exact.trainer == trainer


@pytest.mark.parametrize(
    "name", ["../outside.json", "/tmp/outside.json", "a/../../plans.json", "C:\\x.json"]
)
def test_names_that_lead_out_of_a_zip(tmp_path: Path, name: str) -> None:
    path = tmp_path / "in" / "model.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, "{}")
    with pytest.raises(ModelError, match="leads out of the archive"):
        read_nnunet(path)
    assert not list(tmp_path.glob("*.json"))


def test_links_in_a_zip(tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    entry = zipfile.ZipInfo("plans.json")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(ModelError, match="leads out of the archive"):
        read_nnunet(path)


def test_models_of_version_1(tmp_path: Path) -> None:
    (tmp_path / "plans.pkl").write_bytes(b"")
    assert is_nnunet(tmp_path)
    with pytest.raises(ModelError, match="nnUNetv2_convert_old_nnUNet_dataset"):
        read_nnunet(tmp_path)


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    example = Example()
    example.write(tmp_path)
    checkpoint = example.checkpoint(example.networks[0])
    weights = checkpoint["network_weights"]
    name = "encoder.stages.0.0.convs.0.conv.weight"
    double = name.replace(".conv.", ".all_modules.0.")

    def refused(changed: dict[str, Any], message: str) -> None:
        torch.save({**checkpoint, "network_weights": changed}, tmp_path / CHECKPOINT)
        with pytest.raises(ModelError, match=message):
            read_nnunet(tmp_path)

    refused({k: v for k, v in weights.items() if k != name}, "same tensor")
    fewer = {k: v for k, v in weights.items() if k.startswith("encoder")}
    refused(fewer, "is missing")
    refused({**weights, double: weights[double] + 1}, "same tensor")
    refused({**weights, "attention.weight": torch.zeros(1)}, "unknown weights")
    wrong = torch.full_like(weights[name], float("nan"))
    refused({**weights, name: wrong, double: wrong}, "same tensor|NaN")
    refused({}, "no network_weights")


@pytest.mark.parametrize("content", ["[]", "{", '{"configurations": 3}', "nul"])
def test_damaged_json(tmp_path: Path, content: str) -> None:
    Example().write(tmp_path)
    (tmp_path / "plans.json").write_text(content)
    with pytest.raises(ModelError, match=r"plans\.json"):
        read_nnunet(tmp_path)


@pytest.mark.parametrize(
    "labels",
    [
        {"organ": 1},
        {"background": 1, "organ": 2},
        {"background": 0, "organ": "1"},
        {"background": 0, "organ": [[1]]},
        {"background": 0, "organ": 1, "ignore": 7},
        {"background": 0, "whole": [1, 2], "part": 2},
    ],
)
def test_labels_that_nnunet_does_not_take(
    tmp_path: Path, labels: dict[str, Any]
) -> None:
    Example(num_outputs=2, labels=labels).write(tmp_path)
    with pytest.raises(ModelError, match=r"labels|regions_class_order"):
        read_nnunet(tmp_path)


def test_circles_of_configurations(tmp_path: Path) -> None:
    Example(changes={"inherits_from": "3d_fullres"}).write(tmp_path)
    with pytest.raises(ModelError, match="inherits from itself"):
        read_nnunet(tmp_path)


def test_training_that_did_not_end(tmp_path: Path) -> None:
    Example().write(tmp_path)
    (tmp_path / CHECKPOINT).rename(tmp_path / "fold_0" / "checkpoint_best.pth")
    with pytest.raises(MissingFileError, match="checkpoint_final"):
        read_nnunet(tmp_path)


def test_several_models_below_a_folder(tmp_path: Path) -> None:
    for name in ("2d", "3d_fullres"):
        Example().write(tmp_path / f"nnUNetTrainer__nnUNetPlans__{name}")
    with pytest.raises(ModelError, match="--configuration"):
        read_nnunet(tmp_path)
    assert read_nnunet(tmp_path, configuration="3d_fullres").folds == ("0",)


def test_postprocessing_of_unknown_kind(tmp_path: Path) -> None:
    Example().write(tmp_path)
    place = tmp_path / "crossval_results_folds_0"
    place.mkdir()
    (place / "postprocessing.pkl").write_bytes(b"never read")
    rules = {"postprocessing_fns": ["os.system"], "postprocessing_kwargs": [{}]}
    (place / "postprocessing.json").write_text(json.dumps(rules))
    with pytest.raises(ModelError, match=r"os\.system"):
        read_nnunet(tmp_path)
