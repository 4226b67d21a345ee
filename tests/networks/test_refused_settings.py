"""What a network cannot be is refused in one line, before anything is made."""

import pytest

from medseg.errors import SettingsError
from medseg.networks.settings import DeepLabSettings, FCNSettings, UNetSettings
from medseg.runs.config import RunConfig
from medseg.runs.resolve import require_used
from medseg.settings import parse_settings

REFUSED = [
    (FCNSettings, {"head_kernel": 4}, "head_kernel 4: an odd size is needed"),
    (FCNSettings, {"head_kernel": 2}, "head_kernel 2: an odd size"),
    (DeepLabSettings, {"rates": [0]}, r"rates.0: must be at least 1"),
    (DeepLabSettings, {"rates": [2, -1]}, r"rates.1: must be at least 1"),
    (DeepLabSettings, {"channels": [8]}, "2 entries or more"),
    (DeepLabSettings, {"channels": [8, 8]}, "output_stride 8 .* at least 3 channels"),
    (
        DeepLabSettings,
        {"channels": [8, 8, 8], "output_stride": 16},
        "output_stride 16 .* at least 4 channels",
    ),
    (DeepLabSettings, {"channels": [8, 0, 8]}, "must be at least 1"),
]


@pytest.mark.parametrize(("kind", "values", "words"), REFUSED)
def test_it_is_refused_in_words(kind: type, values: dict, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        parse_settings(kind, values, source="plan.yaml")
    assert "defect" not in str(caught.value)


@pytest.mark.parametrize("stride", [4, 8, 16])
def test_the_fewest_channels_that_reach_a_stride_are_taken(stride: int) -> None:
    count = {4: 2, 8: 3, 16: 4}[stride]
    DeepLabSettings(channels=(8,) * count, output_stride=stride)


@pytest.mark.parametrize("upsampling", ["interpolate", "subpixel"])
def test_a_kernel_that_nothing_uses_is_refused(upsampling: str) -> None:
    network = {"name": "unet", "upsampling": upsampling, "upsampling_kernel": 4}
    config = RunConfig.model_validate({"plan": {"network": network}})
    with pytest.raises(SettingsError, match="upsampling_kernel 4 belongs"):
        require_used(config)


def test_models_that_were_saved_with_it_are_still_read() -> None:
    UNetSettings(upsampling="interpolate", upsampling_kernel=4)
    require_used(
        RunConfig.model_validate(
            {"plan": {"network": {"name": "unet", "upsampling_kernel": 4}}}
        )
    )
