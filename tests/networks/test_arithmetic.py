"""Sizes, coverage and identities, against the real layers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from medseg.networks.core import (
    convolution_size,
    effective_kernel,
    nearest_sizes,
    transposed_size,
)

SMALL = st.integers(1, 4)


@given(
    size=st.integers(1, 24), kernel=SMALL, stride=SMALL, padding=SMALL, dilation=SMALL
)
@settings(max_examples=60)
def test_convolution_size_is_the_layers(
    size: int, kernel: int, stride: int, padding: int, dilation: int
) -> None:
    layer = nn.Conv1d(1, 1, kernel, stride, padding, dilation)
    if effective_kernel(kernel, dilation) > size + 2 * padding:
        with pytest.raises(ValueError, match="does not fit"):
            convolution_size(
                size, kernel, stride=stride, padding=padding, dilation=dilation
            )
        return
    assert layer(torch.zeros(1, 1, size)).shape[-1] == convolution_size(
        size, kernel, stride=stride, padding=padding, dilation=dilation
    )


@given(
    size=st.integers(2, 12), kernel=st.integers(1, 6), stride=SMALL,
    padding=st.integers(0, 2), output_padding=st.integers(0, 3), dilation=SMALL,
)  # fmt: skip
@settings(max_examples=60)
def test_transposed_size_is_the_layers(
    size: int,
    kernel: int,
    stride: int,
    padding: int,
    output_padding: int,
    dilation: int,
) -> None:
    expected = transposed_size(
        size,
        kernel,
        stride=stride,
        padding=padding,
        output_padding=output_padding,
        dilation=dilation,
    )
    if output_padding >= max(stride, dilation) or expected < 1:
        return
    layer = nn.ConvTranspose1d(
        1, 1, kernel, stride, padding, output_padding, dilation=dilation
    )
    assert layer(torch.zeros(1, 1, size)).shape[-1] == expected


def test_dilated_kernel_has_the_extent_of_a_larger_one() -> None:
    assert [effective_kernel(3, d) for d in (1, 2, 6, 12)] == [3, 5, 13, 25]
    impulse = torch.zeros(1, 1, 31)
    impulse[..., 15] = 1
    layer = nn.Conv1d(1, 1, 3, dilation=6, padding=6, bias=False)
    hit = layer(impulse).flatten().nonzero()
    assert int(hit[-1] - hit[0]) + 1 == effective_kernel(3, 6)


@pytest.mark.parametrize("dims", [2, 3])
def test_average_pooling_is_a_strided_convolution(dims: int) -> None:
    conv = {2: nn.functional.conv2d, 3: nn.functional.conv3d}[dims]
    pool = {2: nn.functional.avg_pool2d, 3: nn.functional.avg_pool3d}[dims]
    x = torch.randn(2, 1, *(6, 9, 12)[:dims])
    weight = torch.full((1, 1, *(3,) * dims), 1 / 3**dims)
    torch.testing.assert_close(pool(x, 3), conv(x, weight, stride=3))


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(3, 1, 1), (4, 2, 1), (2, 2, 0)]
)
def test_transposed_convolution_is_the_transposed_matrix(
    kernel: int, stride: int, padding: int
) -> None:
    weight = torch.randn(1, 1, kernel, kernel)
    eye = torch.eye(36).reshape(36, 1, 6, 6)
    rows = nn.functional.conv2d(eye, weight, stride=stride, padding=padding)
    matrix = rows.flatten(1).T
    y = torch.randn(1, 1, *rows.shape[2:])
    back = nn.functional.conv_transpose2d(y, weight, stride=stride, padding=padding)
    torch.testing.assert_close(back.flatten(), matrix.T @ y.flatten())


def test_nearest_sizes() -> None:
    assert nearest_sizes(13, lambda n: n % 8 == 0) == (8, 16)
    assert nearest_sizes(3, lambda n: n % 8 == 0) == (None, 8)
