"""VGG16 weights from a local file, in torchvision's layout."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from network_zoo import build
from safetensors.torch import save_file
from torch import nn

from medseg.errors import MissingFileError, ModelError, UnreadableFileError
from medseg.networks.pretrained import adapt_filters, load_pretrained, load_vgg16
from medseg.networks.settings import FCNSettings, UNetSettings

WIDTHS = (4, 4, 8, 8, 8)
COUNTS = (2, 2, 3, 3, 3)
HEAD = 16


def torchvision_vgg(
    widths: Sequence[int] = WIDTHS, *, batch_norm: bool = False
) -> nn.Module:
    """VGG16 as torchvision lays it out, at a small width."""
    layers: list[nn.Module] = []
    channels = 3
    for width, count in zip(widths, COUNTS, strict=True):
        for _ in range(count):
            layers.append(nn.Conv2d(channels, width, 3, padding=1))
            layers += [nn.BatchNorm2d(width)] if batch_norm else []
            layers.append(nn.ReLU())
            channels = width
        layers.append(nn.MaxPool2d(2, 2))
    net = nn.Module()
    net.features = nn.Sequential(*layers)
    net.classifier = nn.Sequential(
        nn.Linear(channels * 9, HEAD),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(HEAD, HEAD),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(HEAD, 10),
    )
    return net.eval()


def settings(path: Path | None = None, **changes: object) -> FCNSettings:
    values = {"channels": WIDTHS, "head_channels": HEAD, "normalization": "none"}
    return FCNSettings(**{**values, "encoder_weights": path, **changes})


def write(folder: Path, net: nn.Module, *, safe: bool = False) -> Path:
    path = folder / ("vgg16.safetensors" if safe else "vgg16.pth")
    if safe:
        save_file(net.state_dict(), path)
    else:
        torch.save(net.state_dict(), path)
    return path


@pytest.mark.parametrize("safe", [False, True])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_encoder_gives_vggs_features(
    tmp_path: Path, batch_norm: bool, safe: bool
) -> None:
    net = torchvision_vgg(batch_norm=batch_norm)
    if batch_norm:
        net.features[1].running_mean.fill_(0.3)
    path = write(tmp_path, net, safe=safe)
    chosen = settings(path, normalization="batch" if batch_norm else "none")
    ours = build(chosen, inputs=3).eval()
    assert load_pretrained(ours, chosen)
    x = torch.randn(1, 3, 64, 64)
    features = x
    for block in ours.core.blocks:
        features = block(features)
    torch.testing.assert_close(features, net.features(x))


def test_classifier_becomes_convolutions(tmp_path: Path) -> None:
    net = torchvision_vgg()
    ours = build(settings(), inputs=3).eval()
    load_vgg16(ours, write(tmp_path, net))
    pooled = torch.randn(1, WIDTHS[-1], 3, 3)
    expected = net.classifier[:5](pooled.flatten(1))
    torch.testing.assert_close(ours.core.head(pooled)[0, :, 1, 1], expected[0])


def test_grey_images_respond_as_their_colour_copies(tmp_path: Path) -> None:
    weight = torch.randn(4, 3, 3, 3)
    grey = torch.randn(1, 1, 8, 8)
    one = adapt_filters(weight, in_channels=1, spatial_dims=2)
    torch.testing.assert_close(
        nn.functional.conv2d(grey, one),
        nn.functional.conv2d(grey.repeat(1, 3, 1, 1), weight),
    )
    five = adapt_filters(weight, in_channels=5, spatial_dims=2)
    torch.testing.assert_close(
        nn.functional.conv2d(grey.repeat(1, 5, 1, 1), five),
        nn.functional.conv2d(grey.repeat(1, 3, 1, 1), weight),
    )


def test_volume_constant_along_k_responds_as_its_slice() -> None:
    weight, flat = torch.randn(4, 3, 3, 3), torch.randn(1, 3, 8, 8)
    deep = adapt_filters(weight, in_channels=3, spatial_dims=3)
    response = nn.functional.conv3d(flat.unsqueeze(-1).repeat(1, 1, 1, 1, 3), deep)
    torch.testing.assert_close(response[..., 0], nn.functional.conv2d(flat, weight))


def test_three_dimensional_network_loads_it_too(tmp_path: Path) -> None:
    path = write(tmp_path, torchvision_vgg())
    network = build(settings(path), 3, inputs=2)
    before = network.core.blocks[0][0].conv.weight.clone()
    load_vgg16(network, path)
    assert not torch.equal(before, network.core.blocks[0][0].conv.weight)


def test_settings_without_weights_load_nothing() -> None:
    chosen = settings()
    assert not load_pretrained(build(chosen), chosen)
    unet = UNetSettings(channels=(4, 8), strides=(1, 2))
    assert not load_pretrained(build(unet), unet)


def test_wrong_files_are_named(tmp_path: Path) -> None:
    network = build(settings(), inputs=3)
    with pytest.raises(MissingFileError, match="no such file"):
        load_vgg16(network, tmp_path / "absent.pth")
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(UnreadableFileError, match="not a file of plain weights"):
        load_vgg16(network, tmp_path / "text.pth")
    (tmp_path / "text.safetensors").write_text("not weights")
    with pytest.raises(UnreadableFileError, match="not a safetensors file"):
        load_vgg16(network, tmp_path / "text.safetensors")


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    wide = write(tmp_path, torchvision_vgg((8, 8, 8, 8, 8)))
    network = build(settings(), inputs=3)
    with pytest.raises(ModelError, match=r"features.0 has filters of shape \(8, 3"):
        load_vgg16(network, wide)
    normed = write(tmp_path, torchvision_vgg(batch_norm=True))
    with pytest.raises(ModelError, match="set normalization: batch"):
        load_vgg16(network, normed)
    short = build(settings(convs_per_block=(1, 1, 1, 1, 1)), inputs=3)
    with pytest.raises(ModelError, match="expected 5 convolutions"):
        load_vgg16(short, normed)
    unet = build(UNetSettings(channels=(4, 8), strides=(1, 2)))
    with pytest.raises(ModelError, match="fit an FCN only"):
        load_vgg16(unet, wide)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"head_kernel": 3}, "took 13 convolutions, classifier.0, classifier.3"),
        ({"head_kernel": 5}, "left out classifier.0 (head_kernel is 5, the file's 3)"),
        ({"head_channels": 8}, "classifier.0 (head_channels is 8, the file's 16)"),
    ],
)
def test_loading_says_what_was_taken_and_what_was_not(
    tmp_path: Path, changes: dict, words: str
) -> None:
    path = write(tmp_path, torchvision_vgg())
    wanted = settings(path, **changes)
    said = load_pretrained(build(wanted, inputs=3), wanted)
    assert words in said
    assert said.startswith(f"{path}: took 13 convolutions")


def test_a_file_without_a_classifier_is_told(tmp_path: Path) -> None:
    net = torchvision_vgg()
    del net.classifier
    path = write(tmp_path, net)
    wanted = settings(path)
    said = load_pretrained(build(wanted, inputs=3), wanted)
    assert "left out classifier.0 (not in the file), classifier.3" in said
