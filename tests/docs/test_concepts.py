"""What the concept pages teach, by values fixed beforehand and computed otherwise."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.networks.analysis.checkerboard import coverage_variance
from medseg.networks.analysis.layers import list_layers
from medseg.networks.build import build_network
from medseg.networks.core import convolution_size, transposed_size
from medseg.networks.presets import original_unet

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(
    page
    for page in (DOCS / "concepts").glob("*.md")
    if page.stem not in {"index", "mathematics", "metrics"}
)
IN_TEXT = "plan:\n  patch_size: [64, 64]\n  network: {name: unet, channels: "


@pytest.mark.parametrize(
    ("stages", "size", "left"), [(5, 572, 388), (4, 260, 172), (4, 252, 164)]
)
def test_what_unpadded_networks_leave(stages: int, size: int, left: int) -> None:
    network = build_network(
        original_unet(stages=stages, width=2),
        spatial_dims=2,
        in_channels=1,
        out_channels=2,
    ).eval()
    assert network.output_shape((size, size)) == (left, left)
    with torch.no_grad():
        assert network.forward_centre(torch.zeros(1, 1, size, size)).shape[2:] == (
            left,
            left,
        )


def test_crops_of_260_by_hand() -> None:
    network = build_network(
        original_unet(stages=4, width=2), spatial_dims=2, in_channels=1, out_channels=2
    )
    sizes = [
        layer.shape[1]
        for layer in list_layers(network, (260, 260))
        if layer.kind == "CentreCrop"
    ]
    assert sizes == [50, 92, 176]


def matrix_of(weight: np.ndarray, size: int, *, stride: int, padding: int):
    """A convolution's matrix, written down by its definition."""
    out = (size + 2 * padding - len(weight)) // stride + 1
    matrix = np.zeros((out * out, size * size))
    for a in range(out):
        for b in range(out):
            for u, v in np.ndindex(*weight.shape):
                i, j = a * stride + u - padding, b * stride + v - padding
                if 0 <= i < size and 0 <= j < size:
                    matrix[a * out + b, i * size + j] = weight[u, v]
    return matrix


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "extra"), [(3, 2, 1, 1), (2, 2, 0, 0), (4, 3, 1, 1)]
)
def test_a_transposed_convolution_is_the_transposed_matrix(
    kernel: int, stride: int, padding: int, extra: int
) -> None:
    weight = np.random.default_rng(0).normal(size=(kernel, kernel))
    matrix = matrix_of(weight, 6, stride=stride, padding=padding)
    out = int(len(matrix) ** 0.5)
    y = np.random.default_rng(1).normal(size=(1, 1, out, out))
    found = F.conv_transpose2d(
        torch.tensor(y),
        torch.tensor(weight)[None, None],
        stride=stride,
        padding=padding,
        output_padding=extra,
    )
    assert found.shape[-1] == transposed_size(
        out, kernel, stride=stride, padding=padding, output_padding=extra
    )
    np.testing.assert_allclose(found.numpy().ravel(), matrix.T @ y.ravel(), atol=1e-12)


def test_two_sizes_become_one_and_output_padding_tells_them_apart() -> None:
    assert [convolution_size(n, 3, stride=2, padding=1) for n in (7, 8)] == [4, 4]
    assert [
        transposed_size(4, 3, stride=2, padding=1, output_padding=o) for o in (0, 1)
    ] == [7, 8]


@pytest.mark.parametrize(
    ("kernel", "stride", "variance"),
    [(3, 2, 19 / 81), (5, 2, 51 / 625), (5, 3, 104 / 625), (4, 2, 0), (6, 3, 0)],
)
def test_checkerboards_counted(kernel: int, stride: int, variance: float) -> None:
    """Per axis r(s − r)/k² = 1/9, 1/25, 2/25; two axes: (1 + v)² − 1."""
    assert coverage_variance((kernel,) * 2, (stride,) * 2) == pytest.approx(variance)
    counts = F.conv_transpose2d(
        torch.ones(1, 1, 20, 20), torch.ones(1, 1, kernel, kernel), stride=stride
    )[0, 0, 12:24, 12:24]
    counted = float(counts.var(correction=0) / counts.mean() ** 2)
    assert counted == pytest.approx(variance, abs=1e-6)


def test_a_dense_layer_is_a_convolution() -> None:
    torch.manual_seed(0)
    dense, conv = nn.Linear(3 * 5 * 4, 7).double(), nn.Conv2d(3, 7, (5, 4)).double()
    with torch.no_grad():
        conv.weight.copy_(dense.weight.reshape(7, 3, 5, 4))
        conv.bias.copy_(dense.bias)
        image = torch.randn(1, 3, 9, 11, dtype=torch.float64)
        answers = conv(image)
        assert answers.shape == (1, 7, 5, 8)
        for i, j in np.ndindex(5, 8):
            window = image[..., i : i + 5, j : j + 4].flatten(1)
            torch.testing.assert_close(answers[..., i, j], dense(window))


@pytest.mark.parametrize(
    ("dilations", "seen", "width"),
    [
        ((2, 2, 2), 49, 13),
        ((4, 4, 4), 49, 25),
        ((1, 2, 3), 169, 13),
        ((1, 2, 5), 289, 17),
    ],
)
def test_gridding_counted_by_sums_of_offsets(dilations, seen: int, width: int) -> None:
    steps = {0}
    for dilation in dilations:
        steps = {step + dilation * side for step in steps for side in (-1, 0, 1)}
    assert len(steps) ** 2 == seen
    assert max(steps) - min(steps) + 1 == width


def commands(page: Path) -> list[str]:
    return re.findall(r"^medseg (?:inspect|compare) .*$", page.read_text("utf-8"), re.M)


def test_there_are_ten_pages() -> None:
    assert len(PAGES) >= 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_page_ends_with_a_line_that_works(page: Path, tmp_path: Path) -> None:
    lines = page.read_text("utf-8").rstrip().splitlines()
    assert lines[-1] == "```"
    (command,) = commands(page)
    assert lines[-2] == command
    words = shlex.split(command)[1:]
    assert (IN_TEXT in (DOCS / "concepts/index.md").read_text("utf-8")) is True
    if words[0] == "compare":
        assert (DOCS.parent / "configs" / words[1]).is_file() or list(
            (DOCS.parent / "medseg").rglob(words[1])
        )
        return
    config = tmp_path / "my.yaml"
    config.write_text(
        f"{IN_TEXT}[8, 16, 32], strides: [1, 2, 2], normalization: none}}"
    )
    words[words.index("my.yaml")] = str(config)
    answer = CliRunner().invoke(app, words)
    assert answer.exit_code == 0, answer.output
    assert "receptive field" in answer.output
