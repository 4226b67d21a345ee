import numpy as np
import pytest
from preparation_phantoms import fingerprint

from medseg.fingerprint import Fingerprint
from medseg.labels import LabelScheme
from medseg.plan import read_plan, write_plan
from medseg.preparation import make_plan

SCHEME = LabelScheme(names={"organ": 1})


def hippocampus() -> Fingerprint:
    return fingerprint([(35, 50, 36)] * 200, [(1.0, 1.0, 1.0)] * 200)


def anisotropic() -> Fingerprint:
    thick = [(0.7, 0.7, 6.0 + number / 10) for number in range(11)]
    return fingerprint([(256, 256, 24)] * 11, thick)


def test_hippocampus_patch_covers_the_crops() -> None:
    plan = make_plan(hippocampus(), SCHEME)
    assert plan.patch_size == (40, 56, 40)
    assert 5 <= plan.batch_size <= 9
    assert plan.network.strides[0] == (2, 2, 2)
    assert "median of 200 cases is 1 x 1 x 1 mm" in plan.reasons["target_spacing"]


def test_gpu_gets_a_network_at_full_resolution() -> None:
    plan = make_plan(hippocampus(), SCHEME, compute="gpu", memory_bytes=2**33)
    assert plan.network.strides[0] == (1, 1, 1)
    assert plan.network.deep_supervision


def test_coarse_axis_gets_its_tenth_percentile() -> None:
    plan = make_plan(anisotropic(), SCHEME)
    assert plan.target_spacing == pytest.approx((0.7, 0.7, 6.1))
    assert "10th percentile" in plan.reasons["target_spacing"]
    assert plan.network.strides[0] == (2, 2, 1)


def test_more_memory_gives_larger_patches() -> None:
    large = fingerprint([(512, 512, 400)] * 50, [(0.8, 0.8, 0.8)] * 50)
    sizes = [
        np.prod(
            make_plan(large, SCHEME, compute="gpu", memory_bytes=m * 2**30).patch_size
        )
        for m in (4, 8, 16)
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_little_memory_never_gives_less_than_two_patches() -> None:
    plan = make_plan(hippocampus(), SCHEME, memory_bytes=2**27)
    assert plan.batch_size >= 2
    assert np.prod(plan.patch_size) * plan.batch_size * 600 <= 2**27


def test_ct_is_clipped_and_scaled_by_its_foreground() -> None:
    ct = fingerprint([(64, 64, 64)], [(1.0, 1.0, 1.0)], modality="ct")
    channel = make_plan(ct, SCHEME).channels[0]
    assert (channel.normalization, channel.clip) == ("ct", (-100, 200))
    assert (channel.mean, channel.std) == (40, 20)


@pytest.mark.parametrize(("zeros", "masked"), [(0.02, False), (0.6, True)])
def test_zero_background_is_left_out_of_statistics(zeros, masked) -> None:
    mr = fingerprint([(64, 64, 64)], [(1.0, 1.0, 1.0)], zero_fraction=zeros)
    assert make_plan(mr, SCHEME).channels[0].nonzero_only is masked


def test_margin_is_cropped_only_where_no_structure_is_lost() -> None:
    shapes = {"cropped_shape": (32, 32, 32)}
    safe = fingerprint([(64, 64, 64)], [(1.0, 1.0, 1.0)], **shapes)
    assert make_plan(safe, SCHEME).crop_nonzero
    lost = fingerprint(
        [(64, 64, 64)], [(1.0, 1.0, 1.0)], foreground_cropped=3, **shapes
    )
    plan = make_plan(lost, SCHEME)
    assert not plan.crop_nonzero
    assert "3 labelled voxels" in plan.reasons["crop_nonzero"]


def test_pictures_are_planned_in_2d() -> None:
    shots = fingerprint([(300, 200, 1)] * 9, [(1.0, 1.0, 1.0)] * 9, pictures=True)
    plan = make_plan(shots, SCHEME)
    assert (plan.spatial_dims, len(plan.patch_size)) == (2, 2)
    assert plan.channels[0].normalization == "percentile"
    assert not plan.reorient
    assert plan.target_spacing[2] == 0


def test_slices_of_scans_can_be_asked_for() -> None:
    plan = make_plan(hippocampus(), SCHEME, spatial_dims=2)
    assert plan.patch_size == (40, 56)
    assert "asked for" in plan.reasons["spatial_dims"]


def test_patch_and_network_fit_the_spacing_that_was_asked_for() -> None:
    shots = fingerprint([(256, 256, 1)] * 9, [(1.0, 1.0, 1.0)] * 9, pictures=True)
    plan = make_plan(shots, SCHEME, target_spacing=(2.0, 2.0, 0.0))
    assert plan.target_spacing == (2.0, 2.0, 0.0)
    assert plan.patch_size == (128, 128)
    assert plan.reasons["target_spacing"].startswith("asked for; the median")


def test_written_plan_explains_itself_and_reads_back(tmp_path) -> None:
    plan = make_plan(anisotropic(), SCHEME)
    write_plan(tmp_path / "plan.yaml", plan)
    assert read_plan(tmp_path / "plan.yaml") == plan
    text = (tmp_path / "plan.yaml").read_text()
    for key in ("target_spacing", "patch_size", "batch_size", "channels", "network"):
        assert f"# {plan.reasons[key][:40]}" in text


def test_sagittal_slices_are_found() -> None:
    sagittal = fingerprint([(20, 256, 250)] * 5, [(5.0, 0.9, 0.9)] * 5)
    plan = make_plan(sagittal, SCHEME, spatial_dims=2)
    assert plan.slice_axis == "i"
    assert plan.patch_size == (256, 256)
    assert plan.target_spacing == (0.9, 0.9, 0)
    assert plan.left_right_axis is None
    assert make_plan(sagittal, SCHEME).left_right_axis == 0


def test_one_sagittal_slice_is_planned_in_2d() -> None:
    single = fingerprint([(1, 256, 250)] * 5, [(1.0, 0.9, 0.9)] * 5)
    plan = make_plan(single, SCHEME)
    assert (plan.spatial_dims, plan.slice_axis) == (2, "i")


def test_slices_lie_along_k_where_all_axes_are_alike() -> None:
    plan = make_plan(hippocampus(), SCHEME, spatial_dims=2)
    assert (plan.slice_axis, plan.left_right_axis) == ("k", 0)
