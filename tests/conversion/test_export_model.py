"""Exports read back, compared, and run by the programs they are meant for."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from workflow_models import make_model

from medseg.conversion.export import export
from medseg.conversion.portable import Portable
from medseg.errors import ModelError, OutputError, SettingsError
from medseg.geometry import affine_from_spacing
from medseg.inference.engines.onnx_engine import onnx_session
from medseg.inference.predictor import Predictor
from medseg.inference.settings import InferenceSettings
from medseg.io import read_label_map, write_volume
from medseg.labels import LabelScheme
from medseg.model import load_model
from medseg.networks.presets import original_unet
from medseg.plan import ChannelPlan, Plan
from medseg.preparation.preprocessing import preprocess
from medseg.volume import Volume

CPU = torch.device("cpu")


def need(*libraries: str) -> None:
    for library in libraries:
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed")


def plan_of(small_plan: Plan, **changes: object) -> Plan:
    return Plan.model_validate(small_plan.model_dump() | changes)


def example(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    return np.load(folder / "example_image.npy"), np.load(folder / "example_logits.npy")


def test_onnx_runs_elsewhere_at_other_sizes(model: Path, tmp_path: Path) -> None:
    need("onnx", "onnxruntime")
    checked = export(model, tmp_path / "out", to="onnx")
    assert "read back by ONNX Runtime" in checked
    session = onnx_session((tmp_path / "out/network.onnx").read_bytes(), device=CPU)
    image, logits = example(tmp_path / "out")
    np.testing.assert_allclose(session(image), logits, atol=1e-4)
    larger = np.zeros((2, 1, 24, 16, 32), np.float32)
    with torch.no_grad():
        expected = load_model(model).network(torch.from_numpy(larger)).numpy()
    np.testing.assert_allclose(session(larger), expected, atol=1e-4)


def test_torchscript_runs_elsewhere(model: Path, tmp_path: Path) -> None:
    export(model, tmp_path / "out", to="torchscript")
    loaded = torch.jit.load(tmp_path / "out" / "network.ts")
    image, logits = example(tmp_path / "out")
    with torch.no_grad():
        found = loaded(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(found, logits, atol=1e-5)


def test_a_network_of_one_size_keeps_it(small_plan: Plan, tmp_path: Path) -> None:
    need("onnx", "onnxruntime")
    network = original_unet(stages=2, width=4).model_dump()
    model = make_model(tmp_path / "model", plan_of(small_plan, network=network))
    export(model, tmp_path / "out", to="onnx")
    assert "fixed: 16 x 16 x 16" in (tmp_path / "out" / "README.md").read_text()
    assert example(tmp_path / "out")[0].shape == (1, 1, 16, 16, 16)


def test_the_page_tells_what_a_receiver_must_do(model: Path, tmp_path: Path) -> None:
    need("onnx")
    export(model, tmp_path / "out", to="onnx")
    text = (tmp_path / "out" / "README.md").read_text()
    for part in (
        "closest to RAS+",
        "subtract the mean and divide by the deviation",
        "Resample linearly to",
        "not a medical device",
        "multiples of 2 x 2 x 2",
        "| 2 | kernel | 2 |",
    ):
        assert part in text
    assert "mirror" not in text
    assert Plan.model_validate(load_model(model).plan.model_dump())
    assert (tmp_path / "out" / "plan.yaml").is_file()


def test_the_page_tells_of_mirror_images(small_plan: Plan, tmp_path: Path) -> None:
    plan = plan_of(small_plan, mirror_axes=(0, 2))
    model = make_model(tmp_path / "model", plan, flips=True)
    export(model, tmp_path / "out", to="torchscript")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "averaged over flips along\nI, K and" in text


def test_what_computes_something_else_does_not_appear(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Portable.logits
    monkeypatch.setattr(Portable, "logits", lambda s, image: 1.1 * original(s, image))
    with pytest.raises(ModelError, match="read back, its logits differ"):
        export(model, tmp_path / "out", to="torchscript")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_replaced(model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="is there already"):
        export(model, tmp_path, to="torchscript")


def test_an_unknown_format_is_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="onnx, torchscript, monai-bundle"):
        export(model, tmp_path / "out", to="tensorrt")


def test_several_models_are_exported_one_by_one(
    model: Path, bright_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="holds 2 models"):
        export(Path(f"{model},{bright_model}"), tmp_path / "out", to="torchscript")


CHANNELS = {
    "zscore": (ChannelPlan(name="T1"),),
    "zscore of the non-zero": (ChannelPlan(name="T1", nonzero_only=True),),
    "ct": (
        ChannelPlan(name="CT", normalization="ct", clip=(-100, 200), mean=50, std=60),
    ),
    "percentile": (ChannelPlan(name="grey", normalization="percentile"),),
    "fixed": (
        ChannelPlan(name="R", normalization="fixed", clip=(0, 255), std=255),
        ChannelPlan(name="grey", normalization="minmax"),
    ),
    "mixed": (
        ChannelPlan(name="CT", normalization="ct", clip=(-100, 200), mean=50, std=60),
        ChannelPlan(name="PET", normalization="zscore", nonzero_only=True),
        ChannelPlan(name="grey", normalization="percentile"),
        ChannelPlan(name="raw", normalization="none"),
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CHANNELS)
def test_monai_prepares_a_scan_as_we_do(
    name: str, small_plan: Plan, tmp_path: Path
) -> None:
    from monai.bundle import ConfigParser

    channels = [channel.model_dump() for channel in CHANNELS[name]]
    changes = {"channels": channels, "crop_nonzero": True, "slice_axis": "i"}
    plan = plan_of(small_plan, **changes)
    model = make_model(tmp_path / "model", plan)
    export(model, tmp_path / "out", to="monai-bundle")
    j, k, i = plan.target_spacing  # the network sees axes in this order
    volume = scan(len(channels), spacing=(i, j, k))
    files = []
    for number, voxels in enumerate(volume.voxels):
        files.append(tmp_path / f"{number}.nii.gz")
        write_volume(files[-1], Volume(voxels[None], volume.affine))
    parser = ConfigParser()
    parser.read_config(str(tmp_path / "out" / "configs" / "inference.json"))
    prepare = parser.get_parsed_content("preprocessing")
    found = prepare({"image": files})["image"].numpy()
    np.testing.assert_allclose(found, preprocess(volume, plan).image, atol=2e-3)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("regions", [False, True])
def test_monai_runs_the_bundle_to_the_same_label_map(
    regions: bool, small_plan: Plan, tmp_path: Path
) -> None:
    need("ignite")
    from monai.bundle import ConfigParser

    names = {"one": 3, "two": 7}
    overlapping = {"both": ("one", "two"), "inner": ("two",)} if regions else {}
    scheme = LabelScheme(names=names, regions=overlapping).model_dump()
    model = make_model(tmp_path / "model", plan_of(small_plan, labels=scheme))
    export(model, tmp_path / "out", to="monai-bundle")
    scans, out = tmp_path / "scans", tmp_path / "segmented"
    scans.mkdir()
    volume = scan(1, spacing=small_plan.target_spacing, shape=(15, 14, 13))
    write_volume(scans / "case.nii.gz", volume)
    parser = ConfigParser()
    parser.read_meta(str(tmp_path / "out" / "configs" / "metadata.json"))
    parser.read_config(str(tmp_path / "out" / "configs" / "inference.json"))
    parser["bundle_root"] = str(tmp_path / "out")
    parser["dataset_dir"], parser["output_dir"] = str(scans), str(out)
    parser["device"] = "$torch.device('cpu')"
    parser.get_parsed_content("run")
    found = read_label_map(out / "case.nii.gz")
    loaded = load_model(model)
    settings = InferenceSettings(overlap=0.5)
    ours = Predictor(loaded.network, loaded.plan, CPU, settings).predict(volume)
    assert set(np.unique(ours.voxels)) > {0}
    assert float((found.voxels == ours.voxels).mean()) > 0.998


def test_metadata_names_channels_and_outputs(model: Path, tmp_path: Path) -> None:
    export(model, tmp_path / "out", to="monai-bundle")
    text = (tmp_path / "out" / "configs" / "metadata.json").read_text()
    formats = json.loads(text)["network_data_format"]
    assert formats["inputs"]["image"]["num_channels"] == 1
    assert formats["outputs"]["pred"]["channel_def"]["0"] == "background"


def scan(
    channels: int,
    *,
    spacing: tuple[float, float, float],
    shape: tuple[int, int, int] = (22, 20, 18),
) -> Volume:
    """Noise with structure, in another orientation, with a margin of zeros."""
    rng = np.random.default_rng(0)
    voxels = rng.normal(60, 40, (channels, *shape)).astype(np.float32)
    voxels[:, 5:12, 5:12, 5:12] += 150
    voxels[:, :2] = 0
    voxels[:, :, -3:] = 0
    affine = affine_from_spacing(spacing)
    affine[0, 0] *= -1  # left instead of right
    return Volume(voxels, affine)
