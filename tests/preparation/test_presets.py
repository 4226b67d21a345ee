"""Published recipes, fitted to data of known size."""

from preparation_phantoms import fingerprint

from medseg.labels import LabelScheme
from medseg.networks.settings import UNetSettings
from medseg.plan import Plan
from medseg.preparation import make_plan
from medseg.preparation.presets import apply_preset

SCHEME = LabelScheme(names={"organ": 1})
LARGE = fingerprint([(240, 240, 155)] * 100, [(1.0, 1.0, 1.0)] * 100)


def planned(preset: str, measured=LARGE, dims: int = 3) -> Plan:
    plan = make_plan(measured, SCHEME, spatial_dims=dims)
    return apply_preset(plan, measured, preset)


def test_medium_preset_is_the_published_network_on_isotropic_scans() -> None:
    """Six stages of 32 to 320 channels, (1, 3, 4, 6, 6, 6) blocks, two patches of
    about 128³ voxels: Isensee et al., arXiv:2404.09556."""
    plan = planned("resenc_m")
    network = plan.network
    assert isinstance(network, UNetSettings)
    assert network.channels == (32, 64, 128, 256, 320, 320)
    assert network.convs_per_stage == (1, 3, 4, 6, 6, 6)
    assert network.strides[0] == (1, 1, 1)
    assert network.strides[1:] == ((2, 2, 2),) * 5
    assert (plan.patch_size, plan.batch_size) == ((128, 128, 128), 2)
    assert "resenc_m" in plan.reasons["network"]


def test_larger_presets_see_more_of_the_same_network() -> None:
    medium, large, largest = map(planned, ("resenc_m", "resenc_l", "resenc_xl"))
    assert medium.patch_size < large.patch_size <= largest.patch_size
    assert largest.batch_size > large.batch_size
    assert large.network.block == "residual"


def test_preset_on_slices_has_their_axes_and_widths() -> None:
    thick = fingerprint([(512, 512, 24)] * 20, [(0.7, 0.7, 5.0)] * 20)
    plan = planned("resenc_m", thick, dims=2)
    assert len(plan.patch_size) == 2
    assert max(plan.network.channels) == 512


def test_the_rest_of_the_plan_stays() -> None:
    before = make_plan(LARGE, SCHEME)
    after = apply_preset(before, LARGE, "resenc_m")
    same = {"patch_size", "batch_size", "network", "reasons"}
    assert before.model_dump(exclude=same) == after.model_dump(exclude=same)
