"""Plans that are taken over from a trained model; what does not fit is named."""

import numpy as np
import pytest

from medseg.errors import SettingsError
from medseg.fingerprint import Fingerprint
from medseg.labels import LabelScheme
from medseg.networks.settings import UNetSettings
from medseg.plan import ChannelPlan, Plan
from medseg.preparation.inheritance import Inheritance


def plan(*channels: str, dims: int = 3, **changes: object) -> Plan:
    values = {
        "name": "data",
        "spatial_dims": dims,
        "target_spacing": (1.0, 1.0, 1.0) if dims == 3 else (1.0, 1.0, 0.0),
        "channels": [ChannelPlan(name=name) for name in channels or ("T1",)],
        "labels": LabelScheme(names={"organ": 1, "tumour": 2}),
        "patch_size": (16,) * dims,
        "batch_size": 2,
        "network": UNetSettings(channels=(4, 8), strides=(1, 2)),
        **changes,
    }
    return Plan.model_validate(values)


class Measured:
    """What of a fingerprint counts here."""

    def __init__(self, slices: int = 20, *, cropped: int = 0) -> None:
        self.shapes = np.array([[30, 30, slices]] * 3)
        self.pictures = False
        case = type("Case", (), {"foreground_cropped": cropped})
        self.cases = (case,)


def measured(slices: int = 20, *, cropped: int = 0) -> Fingerprint:
    found: object = Measured(slices, cropped=cropped)
    assert isinstance(found, Measured)
    return found  # type: ignore[return-value]


def test_what_prepares_and_trains_is_the_models_and_labels_are_the_data_sets() -> None:
    ct = ChannelPlan(name="CT", normalization="ct", clip=(-9.0, 99.0), mean=40, std=20)
    parent = plan(
        channels=[ct], target_spacing=(2.0, 2.0, 3.0), patch_size=(32, 32, 16)
    )
    own = plan("ct", labels=LabelScheme(names={"cyst": 7}), crop_nonzero=True)
    found = Inheritance(parent, "runs/a").plan(own, measured())
    assert found.target_spacing == (2.0, 2.0, 3.0)
    assert found.patch_size == (32, 32, 16)
    assert found.channels == (ct.replaced(name="ct"),)
    assert found.labels.names == {"cyst": 7}
    assert not found.crop_nonzero
    assert "runs/a" in found.reasons["patch_size"]


def test_a_margin_with_labels_is_not_cut_away_for_the_models_sake() -> None:
    inherited = Inheritance(plan(crop_nonzero=True), "m")
    assert inherited.plan(plan(), measured()).crop_nonzero
    assert not inherited.plan(plan(), measured(cropped=5)).crop_nonzero


@pytest.mark.parametrize(
    ("ours", "theirs", "given", "expected"),
    [
        (("FLAIR", "T1"), ("T1", "FLAIR"), {}, (1, 0)),
        (("t1",), ("T1",), {}, (0,)),
        (("0",), ("MRI",), {}, (0,)),  # no name known to both: by position
        (("T1", "T2"), ("T1",), {}, (0, None)),  # a new one
        (("a", "T1"), ("T1", "b"), {"a": "b"}, (1, 0)),
    ],
)
def test_channels_are_matched_by_name(
    ours: tuple[str, ...],
    theirs: tuple[str, ...],
    given: dict[str, str],
    expected: tuple[int | None, ...],
) -> None:
    inherited = Inheritance(plan(*theirs), "m", channels=given)
    assert inherited.sources_of_channels(ours) == expected


def test_a_channel_that_the_model_needs_is_named_unless_it_can_do_without() -> None:
    parent = plan("T1", "FLAIR")
    with pytest.raises(SettingsError, match=r"data set has T1, T2: FLAIR missing"):
        Inheritance(parent, "m").sources_of_channels(("T1", "T2"))
    with pytest.raises(
        SettingsError, match=r"init\.channels: T9 is none of those of m"
    ):
        Inheritance(parent, "m", channels={"T1": "T9"}).sources_of_channels(("T1",))
    spare = parent.replaced(optional_channels=("FLAIR",))
    assert Inheritance(spare, "m").sources_of_channels(("T1",)) == (0,)


def test_structures_are_matched_by_name_and_classes_are_no_regions() -> None:
    parent = plan()
    own = plan(labels=LabelScheme(names={"Tumour": 5, "cyst": 6}))
    assert Inheritance(parent, "m").sources_of_outputs(own) == (0, 2, None)
    named = Inheritance(parent, "m", structures={"cyst": "organ"})
    assert named.sources_of_outputs(own) == (0, 2, 1)
    regions = LabelScheme(
        names={"organ": 1, "tumour": 2}, regions={"tumour": ("tumour",)}
    )
    assert Inheritance(parent, "m").sources_of_outputs(plan(labels=regions)) == (None,)


def test_the_number_of_axes_must_be_the_same() -> None:
    with pytest.raises(SettingsError, match="a network in 3D, and the data set is sl"):
        Inheritance(plan(), "m").plan(plan(), measured(1))
    with pytest.raises(SettingsError, match="a network in 2D, and the data set is pl"):
        Inheritance(plan(dims=2), "m").on_prepared(plan(), measured())


def test_what_prepared_data_has_otherwise_is_said() -> None:
    parent = plan(
        channels=[ChannelPlan(name="T1", normalization="percentile")],
        target_spacing=(2.0, 2.0, 2.0),
    )
    found = Inheritance(parent, "m").differences(plan())
    assert found == [
        "target_spacing 1 x 1 x 1 instead of 2 x 2 x 2",
        "another normalization of channel T1",
    ]
    assert Inheritance(parent, "m").differences(parent) == []


def test_single_objects_are_learned_as_the_model_learned_them() -> None:
    cells = LabelScheme(names={"cell": 1}, instances=True)
    parent = plan(dims=2, labels=cells, instance_target="depth")
    own = plan(dims=2, labels=cells, instance_target="border")
    inherited = Inheritance(parent, "m")
    assert inherited.plan(own, measured()).instance_target == "depth"
    with pytest.raises(SettingsError, match="learned depth of single objects"):
        inherited.on_prepared(own, measured())
    assert inherited.plan(plan(dims=2), measured()).instance_target == "none"


def test_other_models_prepare_other_data() -> None:
    keys = {
        Inheritance(parent, "m", channels=given).key
        for parent in (plan(), plan(target_spacing=(1.0, 1.0, 2.0)))
        for given in ({}, {"a": "T1"})
    }
    assert len(keys) == 4
    trained_otherwise = plan(patch_size=(8, 8, 8))
    assert Inheritance(trained_otherwise, "m").key == Inheritance(plan(), "m").key
