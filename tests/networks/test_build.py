"""Every network: any size in, the same size out; published sizes and counts."""

import subprocess
import sys

import pytest
import torch
from network_zoo import NETWORKS, SMALL, STEM, build, count
from pydantic import ValidationError

from medseg.errors import SettingsError
from medseg.networks.presets import original_unet, residual_unet
from medseg.networks.settings import FCNSettings, UNetSettings


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_any_size_comes_out_as_it_went_in(name: str, dims: int) -> None:
    network = build(NETWORKS[name], dims, inputs=2, outputs=3)
    x = torch.randn(2, 2, *(19, 33, 5)[:dims])
    assert network(x).shape == (2, 3, *x.shape[2:])
    with torch.no_grad():
        assert network.eval()(x[..., :1]).shape == (2, 3, *x.shape[2:-1], 1)


@pytest.mark.parametrize("dims", [2, 3])
def test_anisotropic_kernels_and_strides(dims: int) -> None:
    settings = UNetSettings(
        channels=(4, 8, 8),
        strides=((1, 1, 1)[:dims], (1, 2, 2)[:dims], (3, 2, 1)[:dims]),
        kernel_sizes=((1, 3, 3)[:dims], (3, 3, 1)[:dims], 3),
        upsampling="subpixel",
    )
    network = build(settings, dims)
    assert network.divisor == (3, 4, 2)[:dims]
    assert network(torch.zeros(1, 1, *(7, 9, 4)[:dims])).shape[2:] == (7, 9, 4)[:dims]


@pytest.mark.parametrize("levels", [1, 2, True])
def test_deep_supervision_lists_logits_full_resolution_first(levels: int) -> None:
    settings = UNetSettings(
        channels=(4, 8, 8, 8), strides=(1, 2, 2, 2), deep_supervision=levels
    )
    network = build(settings)
    x = torch.zeros(1, 1, 24, 30)
    sizes = [tuple(logits.shape[2:]) for logits in network(x)]
    assert sizes == [(24, 30), (12, 15), (6, 8)][: 3 if levels is True else levels + 1]
    assert network.eval()(x).shape == (1, 2, 24, 30)


def test_strided_stem_is_supervised_at_its_own_resolution() -> None:
    network = build(UNetSettings(deep_supervision=True, **STEM))
    sizes = [logits.shape[-1] for logits in network(torch.zeros(1, 1, 16, 16))]
    assert sizes == [16, 8, 4]


def test_presence_head_answers_for_the_whole_image() -> None:
    network = build(UNetSettings(presence_head=True, **SMALL), outputs=3)
    logits, presence = network(torch.zeros(2, 1, 16, 16), with_presence=True)
    assert logits.shape == (2, 3, 16, 16)
    assert presence.shape == (2, 3)
    with pytest.raises(ValueError, match="no presence head"):
        build(UNetSettings(**SMALL))(torch.zeros(1, 1, 16, 16), with_presence=True)


def test_original_unet_turns_572_into_388() -> None:
    network = build(original_unet())
    assert network.output_shape((572, 572)) == (388, 388)
    assert network.output_margin == (92, 92)
    assert count(network) == 31_030_658


def test_unpadded_unet_of_three_levels_at_260() -> None:
    network = build(original_unet(stages=4, width=2))
    seen: list[tuple[int, int]] = []
    network.core.decoder.stages[1].crop.register_forward_hook(
        lambda _, inputs, output: seen.append((inputs[0].shape[-1], output.shape[-1]))
    )
    x = torch.zeros(1, 1, 260, 260)
    assert network.forward_centre(x).shape[2:] == (172, 172)
    assert seen == [(124, 92)]


def test_impossible_size_names_the_nearest_good_ones() -> None:
    network = build(original_unet(stages=3, width=2))
    with pytest.raises(SettingsError, match=r"axis 1 .* 259 voxels.*256 or 260"):
        network.forward_centre(torch.zeros(1, 1, 260, 259))


def test_overlap_tiles_are_seamless() -> None:
    """Tiles that bring their surroundings equal the whole image at once."""
    network = build(original_unet(stages=2, width=4)).eval()
    margin = network.output_margin[0]
    x = torch.randn(1, 1, 32 + 2 * margin, 16 + 2 * margin)
    whole = network.forward_centre(x)
    tile = network.forward_centre(x[:, :, 8 : 8 + 16 + 2 * margin])
    torch.testing.assert_close(tile, whole[:, :, 8:24])


def test_mirrored_borders_stand_in_for_surroundings() -> None:
    network = build(original_unet(stages=2, width=4)).eval()
    margin = network.output_margin[0]
    x = torch.randn(1, 1, 32, 32)
    mirrored = torch.nn.functional.pad(x, (margin,) * 4, mode="reflect")
    torch.testing.assert_close(network(x), network.forward_centre(mirrored))


def test_vgg16_fcn_has_the_published_134_million_parameters() -> None:
    with torch.device("meta"):
        vgg16 = FCNSettings(
            variant=8,
            channels=(64, 128, 256, 512, 512),
            head_channels=4096,
            head_kernel=7,
            normalization="none",
        )
        network = build(vgg16, inputs=3, outputs=21)
    encoder = 14_714_688
    classifier = 512 * 4096 * 49 + 4096 + 4096 * 4096 + 4096
    scores = (4096 + 512 + 256 + 3) * 21
    upsamplings = 21 * 21 * (4**2 + 4**2 + 16**2)
    assert count(network) == encoder + classifier + scores + upsamplings == 134_489_759


def test_residual_unet_has_nnunets_number_of_parameters() -> None:
    """Six isotropic stages, four channels, four classes, as nnU-Net plans BraTS.

    The number is what nnU-Net's own ``ResidualEncoderUNet`` (dynamic-network-
    architectures 0.4.4) has for that plan.
    """
    with torch.device("meta"):
        network = build(residual_unet((1, 2, 2, 2, 2, 2)), 3, 4, 4)
    assert count(network) == 102_353_972


def test_pointwise_layer_has_out_times_in_plus_one_parameters() -> None:
    head = build(UNetSettings(**SMALL), outputs=5).core.heads[0]
    assert count(head) == 5 * (8 + 1)


def test_wrong_channels_are_named() -> None:
    with pytest.raises(ValueError, match=r"C = 1, found \(1, 2, 8, 8\)"):
        build(UNetSettings(**SMALL))(torch.zeros(1, 2, 8, 8))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"strides": (1, 2)}, "strides has 2 entries, 3 stages need it"),
        ({"kernel_sizes": (3, 4, 3)}, "odd sizes needed"),
        ({"deep_supervision": 3}, "at most 2 extra outputs"),
        ({"padding": "valid", "attention": True}, "does not go with attention"),
        ({"refinement": "branch"}, "needs a first stride above 1"),
    ],
)
def test_inconsistent_settings_are_named(wrong: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        UNetSettings(**{**SMALL, **wrong})


def test_settings_that_do_not_fit_the_axes_are_named() -> None:
    settings = UNetSettings(channels=(4, 8), strides=(1, (2, 2)))
    with pytest.raises(SettingsError, match="network unet"):
        build(settings, 3)


def test_sizes_of_weights_are_found_without_torchs_compiler() -> None:
    """torch would import it, for over a second, to draw no numbers."""
    program = (
        "import sys, torch\n"
        "from medseg.networks.build import build_network\n"
        "from medseg.networks.settings import UNetSettings\n"
        "settings = UNetSettings(channels=(2, 4), strides=(1, 2))\n"
        "sizes = dict(spatial_dims=3, in_channels=1, out_channels=2)\n"
        "with torch.device('meta'):\n"
        "    build_network(settings, **sizes)\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
