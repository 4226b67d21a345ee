"""A picture in tiles gives the objects that it gives at once, and bounded memory."""

import numpy as np
import pytest
import tifffile
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from medseg.errors import InputError
from medseg.geometry import affine_from_spacing
from medseg.inference.predictor import Predictor
from medseg.inference.slide import SlideRun
from medseg.instances.decoding_settings import DecodingSettings
from medseg.io import read_label_map, read_volume
from medseg.io.large_picture import LargePicture
from medseg.labels import LabelScheme
from medseg.networks.settings import UNetSettings
from medseg.plan import ChannelPlan, Plan


class Pointwise(nn.Module):
    """Brighter is deeper; sees a single pixel, so that windows make no difference."""

    divisor = (1, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        bright = image[:, :1]
        return torch.cat([0.55 - bright, bright * 0, bright - 0.55], dim=1) * 20


def plan(channels: int = 1, **changes: object) -> Plan:
    names = ("red", "green", "blue") if channels == 3 else ("grey",)
    scheme = {"names": {"cell": 1}, "instances": True, **changes}
    return Plan(
        name="cells",
        spatial_dims=2,
        reorient=False,
        target_spacing=(1.0, 1.0, 0.0),
        channels=tuple(ChannelPlan(name=n, normalization="stain") for n in names),
        labels=LabelScheme.model_validate(scheme),
        instance_target="border",
        patch_size=(32, 32),
        batch_size=1,
        network=UNetSettings(channels=(4, 4), strides=(1, 2)),
    )


def predictor(of: Plan) -> Predictor:
    decoding = DecodingSettings(min_voxels=9, seed=0.6)
    return Predictor(Pointwise(), of, torch.device("cpu"), decoding=decoding)


def blobs(rows: int, columns: int) -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=(rows, columns))
    smooth = np.maximum(gaussian_filter(noise, 4.0), 0)
    return (smooth / smooth.max() * 50_000).astype(np.uint16)


def are_same(one: np.ndarray, other: np.ndarray) -> bool:
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    return len(pairs[0]) == len(np.unique(pairs[0])) == len(np.unique(pairs[1]))


@pytest.mark.parametrize("way", [{"tile": (64, 64)}, {"rowsperstrip": 5}], ids=str)
def test_tiles_give_the_objects_of_the_whole(tmp_path, way):
    tifffile.imwrite(tmp_path / "in.tif", blobs(230, 310), compression="zlib", **way)
    model = predictor(plan())
    whole = model.predict(read_volume(tmp_path / "in.tif")).voxels
    with LargePicture(tmp_path / "in.tif") as picture:
        run = SlideRun(model, picture, side=64, halo=96)
        with run.segmented(tmp_path) as found:
            scale = affine_from_spacing((0.0005, 0.0004, 0.0005))
            pixels = found.write(tmp_path / "out.tif", scale)
    written = read_label_map(tmp_path / "out.tif")
    assert np.allclose(written.affine, scale)
    stitched = written.voxels
    assert whole.max() > 20
    assert are_same(stitched, whole)
    assert found.count == whole.max()
    assert pixels == np.count_nonzero(whole)
    assert not list(tmp_path.glob(".*"))


def test_the_background_may_have_another_value(tmp_path):
    tifffile.imwrite(tmp_path / "in.tif", blobs(90, 90), tile=(32, 32))
    model = predictor(plan(names={"cell": 1}, background=3, ignore=5))
    with (
        LargePicture(tmp_path / "in.tif") as picture,
        SlideRun(model, picture, side=40, halo=40).segmented(tmp_path) as objects,
    ):
        objects.write(tmp_path / "out.tif")
    found = read_label_map(tmp_path / "out.tif").voxels
    assert set(np.unique(found)[:5]) == {1, 2, 3, 4, 6}
    assert found[blobs(90, 90).T == 0].max() == 3


def test_every_tile_is_shown_with_its_objects(tmp_path):
    tifffile.imwrite(tmp_path / "in.tif", blobs(70, 90), tile=(32, 32))
    seen = []
    with LargePicture(tmp_path / "in.tif") as picture:
        run = SlideRun(predictor(plan()), picture, side=50, halo=10)
        with run.segmented(tmp_path) as objects:
            objects.show(lambda v, labels, tile: seen.append((v.shape, labels.shape)))
    assert seen[0] == ((1, 60, 60), (60, 60))
    assert len(seen) == 4


def test_pixels_that_are_no_numbers_are_refused(tmp_path):
    pixels = blobs(70, 90).astype(np.float32)
    pixels[40, 50] = np.nan
    tifffile.imwrite(tmp_path / "in.tif", pixels, tile=(32, 32))
    with LargePicture(tmp_path / "in.tif") as picture:
        run = SlideRun(predictor(plan()), picture, side=50, halo=10)
        with (
            pytest.raises(InputError, match=r"in\.tif: 1 of"),
            run.segmented(tmp_path),
        ):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["in.tif"]
