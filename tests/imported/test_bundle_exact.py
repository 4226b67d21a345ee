"""Bundles against MONAI's own parser, transforms and inferer, in this process."""

import json
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monai_bundles import (
    AFTER,
    BEFORE,
    INVERT,
    SIMPLE,
    UNET,
    WINDOWS,
    config_of,
    monai_label_map,
    write_bundle,
    write_scan,
)

from medseg.conversion.import_model import import_model
from medseg.errors import ModelError
from medseg.prediction.segmentation_model import SegmentationModel

LOAD, FIRST, ORIENT, SPACE, RANGE, TYPE = BEFORE
SAVE = {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"}
ARGMAX = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}


@dataclass(frozen=True)
class Kind:
    """A bundle that does something of its own."""

    config: dict[str, Any]
    outputs: Sequence[str] = ("background", "left", "right")
    axes: str = "LPS"
    channels: int = 1


KINDS = {
    "windows, spacing, CT range": Kind(config_of()),
    "overlapping masks of two channels": Kind(
        config_of(
            {
                "_target_": "monai.networks.nets.SegResNet",
                "spatial_dims": 3,
                "init_filters": 8,
                "in_channels": 2,
                "out_channels": 3,
                "blocks_down": [1, 1],
                "blocks_up": [1],
                "dropout_prob": 0.2,
            },
            before=[
                {"_target_": "LoadImaged", "keys": "image"},
                {
                    "_target_": "NormalizeIntensityd",
                    "keys": "image",
                    "nonzero": True,
                    "channel_wise": True,
                },
            ],
            after=[
                {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
                INVERT,
                {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
                {**SAVE, "output_dtype": "uint8"},
            ],
        ),
        outputs=("tumour core", "whole tumour", "enhancing"),
        channels=2,
    ),
    "cropped foreground, percentiles, largest component": Kind(
        config_of(
            {
                "_target_": "DynUNet",
                "spatial_dims": 3,
                "in_channels": 1,
                "out_channels": 3,
                "kernel_size": [3, 3, 3],
                "strides": [1, 2, 2],
                "upsample_kernel_size": [2, 2],
                "filters": [4, 8, 8],
                "norm_name": ["instance", {"affine": True}],
                "deep_supervision": False,
            },
            before=[
                LOAD,
                FIRST,
                {
                    "_target_": "CropForegroundd",
                    "keys": "image",
                    "source_key": "image",
                    "select_fn": "$lambda x: x > 30",
                    "allow_smaller": True,
                },
                {**ORIENT, "axcodes": "PLI"},
                {
                    "_target_": "ScaleIntensityRangePercentilesd",
                    "keys": ["image"],
                    "lower": 2,
                    "upper": 98,
                    "b_min": -1,
                    "b_max": 1,
                    "clip": True,
                },
                {"_target_": "EnsureTyped", "keys": "image", "dtype": "$torch.float32"},
            ],
            after=[
                ARGMAX,
                {
                    "_target_": "KeepLargestConnectedComponentd",
                    "keys": "pred",
                    "applied_labels": [1, 2],
                },
                {**INVERT, "nearest_interp": True},
                SAVE,
            ],
        ),
        axes="RAS",
    ),
    "transformer of windows": Kind(
        config_of(
            {
                "_target_": "UNETR",
                "in_channels": 1,
                "out_channels": 3,
                "img_size": [16, 16, 16],
                "feature_size": 4,
                "hidden_size": 24,
                "mlp_dim": 48,
                "num_heads": 2,
            },
            inferer={**WINDOWS, "mode": "gaussian", "padding_mode": "replicate"},
        ),
        axes="RAI",
    ),
    "slices": Kind(
        config_of(
            {**UNET, "spatial_dims": 2},
            before=[
                LOAD,
                FIRST,
                {"_target_": "ScaleIntensityd", "keys": "image"},
                TYPE,
            ],
            inferer={
                "_target_": "SliceInferer",
                "roi_size": [16, 16],
                "spatial_dim": 2,
            },
        ),
    ),
    "whole scans, padded, one-hot": Kind(
        config_of(
            {
                "_target_": "SegResNetDS",
                "init_filters": 8,
                "in_channels": 1,
                "out_channels": 3,
                "blocks_down": [1, 1],
                "dsdepth": 2,
            },
            before=[
                {**LOAD, "ensure_channel_first": True},
                SPACE,
                {"_target_": "DivisiblePadd", "keys": "image", "k": 4},
                {"_target_": "NormalizeIntensityd", "keys": "image"},
            ],
            inferer=SIMPLE,
            after=[INVERT, {**ARGMAX, "to_onehot": 3}, SAVE],
        ),
    ),
    "saved onto the scan's grid": Kind(
        config_of(after=[ARGMAX, {**SAVE, "resample": True}]), axes="ARI"
    ),
    "one channel, resized": Kind(
        config_of(
            {**UNET, "out_channels": 1},
            before=[
                LOAD,
                FIRST,
                {
                    "_target_": "Resized",
                    "keys": "image",
                    "spatial_size": [16, 20, 24],
                    "mode": "trilinear",
                },
                RANGE,
            ],
            inferer=SIMPLE,
            after=[
                {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
                INVERT,
                {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
                SAVE,
            ],
        ),
        outputs=("lesion",),
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_label_maps_are_those_of_monai(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    write_bundle(
        tmp_path / "bundle",
        kind.config,
        outputs=kind.outputs,
        inputs=[f"c{n}" for n in range(kind.channels)],
        nested=kind.channels > 1,
    )
    files = [tmp_path / f"scan_{n}.nii.gz" for n in range(kind.channels)]
    for number, file in enumerate(files):
        write_scan(file, axes=kind.axes, seed=number)
    given = files if len(files) > 1 else files[0]
    wanted = monai_label_map(tmp_path / "bundle", given, tmp_path / "monai")
    import_model(tmp_path / "bundle", tmp_path / "model")
    model = SegmentationModel.load(tmp_path / "model", device="cpu")
    found = model.predict(given).voxels
    recipe = model.saved.exact
    assert recipe is not None
    assert recipe.kind == "monai"
    if recipe.answer == "masks":
        wanted = wanted.reshape(*found.shape, -1).astype(int)
        wanted = sum(wanted[..., n] << n for n in range(wanted.shape[-1]))
        assert len(model.labels.regions) == len(kind.outputs)
    elif recipe.answer == "onehot":
        wanted = wanted.argmax(-1)
    assert found.shape == wanted.shape
    assert len(np.unique(wanted)) > 1
    np.testing.assert_array_equal(found, wanted)


def test_pictures(tmp_path: Path) -> None:
    from PIL import Image

    config = config_of(
        {**UNET, "spatial_dims": 2, "in_channels": 3, "out_channels": 2},
        before=[
            LOAD,
            {**FIRST, "channel_dim": -1},
            {"_target_": "ScaleIntensityd", "keys": ["image"]},
        ],
        inferer={**WINDOWS, "roi_size": [16, 16]},
        after=[ARGMAX, {**SAVE, "output_ext": ".png"}],
    )
    write_bundle(
        tmp_path / "bundle",
        config,
        outputs=("background", "cell"),
        inputs=("red", "green", "blue"),
    )
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (30, 41, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    wanted = monai_label_map(tmp_path / "bundle", tmp_path / "a.png", tmp_path / "out")
    model = SegmentationModel.load(tmp_path / "bundle", device="cpu")
    found = model.predict(tmp_path / "a.png").voxels
    np.testing.assert_array_equal(found[..., 0], wanted.reshape(found.shape[:2]))


def test_zip_names_and_card(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "spleen"
    write_bundle(folder, config_of(), outputs=("background", "spleen", "vein"))
    (folder / "LICENSE").write_text("\n  Apache License\n")
    file = Path(shutil.make_archive(str(tmp_path / "b"), "zip", tmp_path / "in"))
    import_model(file, tmp_path / "model")
    model = SegmentationModel.load(tmp_path / "model", device="cpu")
    assert model.labels.names == {"spleen": 1, "vein": 2}
    assert model.channels == ("CT",)
    card = (tmp_path / "model" / "card.md").read_text()
    assert "MONAI bundle 0.1.0" in card
    assert "Copyright (c) nobody" in card
    with zipfile.ZipFile(file) as archive:
        assert any("inference.json" in name for name in archive.namelist())


def test_values_that_are_given_take_the_place_of_expressions(tmp_path: Path) -> None:
    size = "$[1.5, 1.5, 1.5] if @highres else [3.0, 3.0, 3.0]"
    config = config_of(
        before=[*BEFORE[:3], {**SPACE, "pixdim": "@pixdim"}, *BEFORE[4:]],
        after=[
            *AFTER[:3],
            {"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: x * 2"},
            AFTER[3],
        ],
        highres=True,
        pixdim=size,
    )
    write_bundle(tmp_path / "bundle", config)
    with pytest.raises(ModelError, match=r"Lambdad.*--set postprocessing::transforms"):
        import_model(
            tmp_path / "bundle", tmp_path / "m", overrides=["pixdim=[2, 2, 2]"]
        )
    with pytest.raises(ModelError, match=r"pixdim.*--set pixdim=VALUE"):
        import_model(tmp_path / "bundle", tmp_path / "m")
    import_model(
        tmp_path / "bundle",
        tmp_path / "m",
        overrides=["pixdim=[2, 2, 2]", "postprocessing#transforms#3=null"],
    )
    model = SegmentationModel.load(tmp_path / "m", device="cpu")
    write_scan(tmp_path / "scan.nii.gz")
    found = model.predict(tmp_path / "scan.nii.gz").voxels
    write_bundle(tmp_path / "plain", config_of())
    wanted = monai_label_map(
        tmp_path / "plain", tmp_path / "scan.nii.gz", tmp_path / "out"
    )
    np.testing.assert_array_equal(found, wanted)


def test_yaml_and_values_of_other_places(tmp_path: Path) -> None:
    import yaml

    config = config_of(
        network={**UNET, "out_channels": "@classes"},
        inferer={**WINDOWS, "roi_size": "@view::roi", "overlap": "$@view#overlap"},
        classes=3,
        view={"roi": "$(16, 16, 16)", "overlap": 0.5},
        name_of="$'mo' + 'del'",
        handlers=[],
        checkpointloader={
            "_target_": "CheckpointLoader",
            "load_path": "$@bundle_root + '/models/' + @name_of + '.pt'",
            "load_dict": {"model": "@network"},
        },
    )
    folder = tmp_path / "bundle"
    write_bundle(folder, {**config, "network_def": UNET})
    (folder / "configs" / "inference.json").unlink()
    (folder / "configs" / "inference.yaml").write_text(yaml.safe_dump(config))
    model = SegmentationModel.load(folder, device="cpu")
    recipe = model.saved.exact
    assert recipe is not None
    assert recipe.inferer.roi_size == (16, 16, 16)  # type: ignore[union-attr]
    assert recipe.inferer.overlap == 0.5  # type: ignore[union-attr]


def test_a_model_folder_holds_only_what_is_known(tmp_path: Path) -> None:
    """A model.yaml of unknown origin builds nothing that is not in the list."""
    import yaml

    write_bundle(tmp_path / "bundle", config_of())
    import_model(tmp_path / "bundle", tmp_path / "model")
    file = tmp_path / "model" / "model.yaml"
    values = yaml.safe_load(file.read_text())
    for step, words in (
        ({"name": "Lambdad", "args": {"keys": "image", "func": "x"}}, "Lambdad"),
        ({"name": "Orientationd", "args": {"keys": "image", "labels": "x"}}, "labels"),
        (
            {"name": "CropForegroundd", "args": {"select_fn": "__import__('os')"}},
            "select_fn",
        ),
    ):
        changed = json.loads(json.dumps(values))
        changed["exact"]["before"].append(step)
        file.write_text(yaml.safe_dump(changed))
        with pytest.raises(Exception, match=words):
            SegmentationModel.load(tmp_path / "model", device="cpu")
