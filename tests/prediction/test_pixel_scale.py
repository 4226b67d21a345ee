"""Scales of pictures and models that do not know each other's."""

import numpy as np
import pytest
import torch

from medseg.errors import InputError
from medseg.geometry import affine_from_spacing
from medseg.inference.predictor import Predictor
from medseg.inference.settings import InferenceSettings
from medseg.model import Model, Provenance
from medseg.networks.build import build_network
from medseg.networks.network import SegmentationNetwork
from medseg.networks.settings import UNetSettings
from medseg.plan import Plan
from medseg.prediction.pixel_scale import at_training_scale, require_scale
from medseg.prediction.segmentation_model import SegmentationModel
from medseg.volume import Volume


def picture(size: tuple[float, float]) -> Volume:
    return Volume(np.zeros((1, 8, 9, 1)), affine_from_spacing((*size, 1.0)))


@pytest.mark.parametrize(
    ("trained", "own", "taken"),
    [
        ((1.0, 1.0), (0.0005, 0.0005), (1.0, 1.0)),  # PNG, then a microscope's TIFF
        ((0.0005, 0.0004), (1.0, 1.0), (0.0005, 0.0004)),  # the other way round
        ((0.0005, 0.0005), (0.001, 0.001), (0.001, 0.001)),  # resampled, as always
        ((1.0, 1.0), (1.0, 1.0), (1.0, 1.0)),
        ((1.0, 1.0), (0.5, 0.5), (0.5, 0.5)),  # slices of a CT
        ((0.7, 0.7), (1.0, 1.0), (1.0, 1.0)),
        ((0.0, 0.0), (1.0, 1.0), (1.0, 1.0)),
    ],
)
def test_only_a_size_that_one_of_both_does_not_know_is_taken(
    small_plan: Plan, trained, own, taken
) -> None:
    flat = {"spatial_dims": 2, "target_spacing": (*trained, 0.0)}
    plan = small_plan.model_copy(update=flat)
    notes: list[str] = []
    found = at_training_scale(picture(own), plan, notes=notes)
    assert found.grid.spacing[:2] == pytest.approx(taken)
    assert bool(notes) == (taken != own)
    solid = plan.model_copy(update={"spatial_dims": 3})
    assert at_training_scale(picture(own), solid, notes=[]).grid.spacing[:2] == own


def test_presence_is_asked_at_the_scale_of_training(small_plan: Plan) -> None:
    """The same pixels with and without a size hold the same structures."""
    flat = {
        "spatial_dims": 2,
        "target_spacing": (1.0, 1.0, 0.0),
        "patch_size": (16, 16),
        "network": UNetSettings(channels=(4, 8), strides=(1, 2), presence_head=True),
    }
    plan = Plan.model_validate({**small_plan.model_dump(), **flat})
    torch.manual_seed(0)
    network = build_network(
        plan.network, spatial_dims=2, in_channels=1, out_channels=plan.num_outputs
    ).eval()
    assert isinstance(network, SegmentationNetwork)
    where = torch.device("cpu")
    model = SegmentationModel(
        Model(network, plan, Provenance(), "0" * 64),
        Predictor(network, plan, where, InferenceSettings()),
        presence_networks=(network,),
    )
    voxels = np.random.default_rng(0).normal(size=(1, 40, 36, 1)).astype(np.float32)
    without, with_size = (
        model.presence(Volume(voxels, affine_from_spacing((size, size, 1.0))))
        for size in (1.0, 0.0005)
    )
    assert with_size == without


@pytest.mark.parametrize(
    ("trained", "own", "fits"),
    [
        (0.0005, 0.0005, True),
        (0.0005, 0.00052, True),
        (0.0005, 0.00025, False),
        (0.0005, 0.001, False),
        (1.0, 0.0005, True),  # pixel by pixel
        (0.0005, 1.0, True),
    ],
)
def test_a_picture_in_tiles_is_of_the_scale_of_training(
    small_plan: Plan, trained, own, fits
) -> None:
    flat = {"spatial_dims": 2, "target_spacing": (trained, trained, 0.0)}
    plan = small_plan.model_copy(update=flat)
    affine = affine_from_spacing((own, own, 1.0))
    if fits:
        require_scale(affine, plan, name="a", notes=[])
    else:
        with pytest.raises(InputError, match=r"a: pixels of .* trained on 0\.5 x 0\.5"):
            require_scale(affine, plan, name="a", notes=[])
