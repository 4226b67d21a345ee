"""What a bundle may not do, and that nothing of it is executed."""

import copy
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from monai_bundles import config_of, write_bundle

from medseg.errors import MedsegError
from medseg.imported.bundle import read_bundle

TOUCH = "$__import__('pathlib').Path('CANARY').touch()"
"""Leaves a file where it is evaluated."""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "bundle"
    write_bundle(folder, config_of())
    return folder


def at(config: dict[str, Any], place: str, value: Any) -> None:
    *parents, last = place.split("::")
    node: Any = config
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node[part]
    if isinstance(node, list):
        node[int(last)] = value
    else:
        node[last] = value


def copied(good: Path, folder: Path, config: dict[str, Any]) -> Path:
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True)
    os.link(good / "models" / "model.pt", folder / "models" / "model.pt")
    metadata = (good / "configs" / "metadata.json").read_text()
    (folder / "configs" / "metadata.json").write_text(metadata)
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    return folder


REFUSED: dict[str, tuple[str, Any, str]] = {
    "expression for an argument": (
        "preprocessing::transforms::3::pixdim",
        TOUCH,
        "pixdim is the expression",
    ),
    "expression behind a reference": (
        "image_key",
        TOUCH,
        "image_key is the expression",
    ),
    "expression for a step": (
        "preprocessing::transforms::2",
        TOUCH,
        "transforms::2 is the expression",
    ),
    "expression for all steps": ("postprocessing", TOUCH, "is the expression"),
    "expression for the network": ("network", TOUCH, "network is the expression"),
    "expression for the inferer": ("inferer", TOUCH, "inferer is the expression"),
    "expression for the evaluator": ("evaluator", TOUCH, "evaluator is the expression"),
    "call behind a method": (
        "network",
        "$@network_def.to(__import__('os').system('touch CANARY'))",
        "is the expression",
    ),
    "class of the standard library": (
        "preprocessing::transforms::2::_target_",
        "os.system",
        "os.system",
    ),
    "class of the bundle's scripts": (
        "network_def::_target_",
        "scripts.network.Net",
        "scripts.network.Net",
    ),
    "class that looks like MONAI's": (
        "network_def::_target_",
        "monai_networks.nets.UNet",
        "monai_networks",
    ),
    "network that is not taken": (
        "network_def::_target_",
        "monai.networks.nets.ViT",
        "no network that is taken",
    ),
    "argument that is an object": (
        "network_def::channels",
        {"_target_": "subprocess.run", "args": ["touch", "CANARY"]},
        "the object 'subprocess.run'",
    ),
    "argument that is not known": ("network_def::chanels", [4], "nearest: channels"),
    "step that is not known": (
        "preprocessing::transforms::2",
        {"_target_": "Lambdad", "keys": "image", "func": TOUCH},
        "Lambdad",
    ),
    "function that is no comparison": (
        "preprocessing::transforms::2",
        {
            "_target_": "CropForegroundd",
            "keys": "image",
            "source_key": "image",
            "select_fn": "$lambda x: x > __import__('os').system('touch CANARY')",
        },
        "select_fn is the function",
    ),
    "activation by function": (
        "postprocessing::transforms::0",
        {"_target_": "Activationsd", "keys": "pred", "other": TOUCH},
        "other is the expression",
    ),
    "inverse of something else": (
        "postprocessing::transforms::1::transform",
        "@inferer",
        "inverts something else",
    ),
    "network of another part of MONAI": (
        "network_def::_target_",
        "monai.apps.deepgrow.UNet",
        "no network that is taken",
    ),
    "mode of building": (
        "preprocessing::transforms::3::_mode_",
        "callable",
        "the key '_mode_'",
    ),
    "debugger": ("network_def::_mode_", "debug", "the key '_mode_'"),
    "disabled step": (
        "preprocessing::transforms::3::_disabled_",
        "$@highres",
        "the key '_disabled_'",
    ),
    "requirement": ("network_def::_requires_", TOUCH, "the key '_requires_'"),
    "macro": ("image_key", "%/etc/passwd::0", "the macro"),
    "reference to nothing": ("image_key", "@nothing", "names nothing"),
    "reference in a circle": ("image_key", "@image_key", "circle"),
    "evaluator of its own": ("evaluator::_target_", "scripts.Eval", "scripts.Eval"),
    "update of its own": ("evaluator::iteration_update", TOUCH, "iteration_update"),
    "handler of its own": (
        "handlers::1",
        {"_target_": "scripts.handlers.Post"},
        "a handler that may change",
    ),
    "handler that works on answers": (
        "handlers::1",
        {"_target_": "PostProcessing", "transform": "@postprocessing"},
        "a handler that may change",
    ),
    "data set of its own": ("dataset::_target_", "scripts.Data", "scripts.Data"),
    "items besides the image": (
        "preprocessing::transforms::0::keys",
        ["image", "label"],
        "reads label besides the image",
    ),
    "item that nothing reads": (
        "preprocessing::transforms::2::keys",
        ["image", "label"],
        "'label'",
    ),
    "numbers instead of labels": ("postprocessing::transforms::2", None, "AsDiscreted"),
    "weights above the bundle": (
        "handlers::0::load_path",
        "$@bundle_root + '/../../model.pt'",
        "outside of the bundle",
    ),
    "weights at the root": ("handlers::0::load_path", "/etc/passwd", "outside of the"),
    "weights that are TorchScript": (
        "network_def",
        "$torch.jit.load(@bundle_root + '/models/model.ts')",
        "TorchScript is a program",
    ),
    "window of other axes": ("inferer::roi_size", [16, 16], "network with 3 axes"),
    "inferer of its own": ("inferer::_target_", "scripts.Inferer", "scripts.Inferer"),
    "overlap out of range": ("inferer::overlap", 1.5, "overlap"),
    "reader of its own": (
        "preprocessing::transforms::0::reader",
        "scripts.Reader",
        "scripts.Reader",
    ),
    "number beyond use": ("network_def::channels", [10**9, 2], "more than"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(
    name: str, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, value, words = REFUSED[name]
    config = copy.deepcopy(config_of())
    at(config, place, value)
    folder = copied(good, tmp_path / "b", config)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MedsegError) as caught:
        read_bundle(folder)
    assert words in str(caught.value)
    assert not list(tmp_path.rglob("CANARY"))


@pytest.mark.parametrize(
    "place", ["imports", "datalist", "device", "output_dir", "initialize", "run"]
)
def test_what_is_not_needed_is_not_evaluated(
    place: str, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = copy.deepcopy(config_of())
    at(config, place, [TOUCH] if place in {"imports", "initialize", "run"} else TOUCH)
    monkeypatch.chdir(tmp_path)
    read_bundle(copied(good, tmp_path / "b", config))
    assert not list(tmp_path.rglob("CANARY"))


class _Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("old_format", [False, True])
def test_pickled_payload(old_format: bool, good: Path, tmp_path: Path) -> None:
    folder = copied(good, tmp_path / "b", config_of())
    file = folder / "models" / "model.pt"
    file.unlink()
    content = {"model": _Payload(tmp_path / "CANARY")}
    if old_format:
        file.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, file)
    with pytest.raises(MedsegError, match=r"mkdir.*nothing of it was executed"):
        read_bundle(folder)
    assert not (tmp_path / "CANARY").exists()


def test_torchscript_under_another_name(good: Path, tmp_path: Path) -> None:
    folder = copied(good, tmp_path / "b", config_of())
    file = folder / "models" / "model.pt"
    file.unlink()
    with zipfile.ZipFile(file, "w") as archive:  # as torch.jit.save lays it out
        archive.writestr("model/constants.pkl", b"")
        archive.writestr("model/code/__torch__.py", "")
    with pytest.raises(MedsegError, match="is TorchScript"):
        read_bundle(folder)
    file.rename(folder / "models" / "model.ts")
    with pytest.raises(MedsegError, match=r"model\.ts is TorchScript"):
        read_bundle(folder)


@pytest.mark.parametrize(
    "name", ["../evil.py", "/evil.py", "b/../../evil.py", "..\\evil.py", "C:/evil.py"]
)
def test_zip_that_leads_out(name: str, good: Path, tmp_path: Path) -> None:
    file = tmp_path / "b.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for part in sorted(good.rglob("*.*")):
            archive.write(part, Path("b") / part.relative_to(good))
        archive.writestr(name, "x")
    with pytest.raises(MedsegError, match="leads out of the archive"):
        read_bundle(file)
    assert not list(tmp_path.rglob("evil.py"))


def test_weights_that_are_a_link_out(good: Path, tmp_path: Path) -> None:
    folder = copied(good, tmp_path / "b", config_of())
    file = folder / "models" / "model.pt"
    file.unlink()
    file.symlink_to(good / "models" / "model.pt")
    with pytest.raises(MedsegError, match="link out of the bundle"):
        read_bundle(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [("[]", "expected a mapping"), ("{", "cannot be read"), ("[" * 5000, "read")],
)
def test_files_that_are_no_configuration(
    text: str, words: str, good: Path, tmp_path: Path
) -> None:
    folder = copied(good, tmp_path / "b", config_of())
    (folder / "configs" / "inference.json").write_text(text)
    with pytest.raises(MedsegError, match=words):
        read_bundle(folder)


def test_weights_of_another_network(good: Path, tmp_path: Path) -> None:
    config = config_of()
    config["network_def"] = {**config["network_def"], "channels": [4, 16]}
    with pytest.raises(MedsegError, match=r"has the shape .* wants"):
        read_bundle(copied(good, tmp_path / "b", config))


def test_weights_that_diverged(good: Path, tmp_path: Path) -> None:
    folder = copied(good, tmp_path / "b", config_of())
    file = folder / "models" / "model.pt"
    state = torch.load(file, weights_only=True)
    file.unlink()
    next(iter(state.values())).fill_(float("nan"))
    torch.save(state, file)
    with pytest.raises(MedsegError, match="NaN or infinity"):
        read_bundle(folder)
