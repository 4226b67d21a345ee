"""medseg.monai's sliding windows against MONAI's."""

import inspect
import itertools
import re

import monai.inferers as theirs
import pytest
import torch
from monai.data import MetaTensor
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import medseg.monai as ours
from medseg.monai import window_answers

SHAPES = [  # image, window
    ((13,), (5,)),
    ((12, 9), (5, 4)),
    ((3, 14), (6, 5)),
    ((9, 8, 7), (4, 4, 4)),
    ((9, 3, 7), (4, 8, -1)),
    ((5, 6, 4, 3), (3, 3, 3, 3)),
]


class Counting:
    """A predictor whose answer depends on how often it was called."""

    def __init__(self):
        self.calls = 0
        self.seen = []

    def __call__(self, windows, *coords):
        self.calls += 1
        self.seen += [re.sub(r"np\.int64\((\d+)\)", r"\1", str(coords))]
        return torch.cat([windows.sin() * self.calls, windows.square()], 1)


def images(shape, *, number=2, dtype=torch.float32):
    generator = torch.Generator().manual_seed(5)
    return torch.randn(number, 2, *shape, generator=generator, dtype=dtype)


def both(image, *args, make=Counting, **kwargs):
    mine, other = make(), make()
    found = ours.sliding_window_inference(
        image.clone(), args[0], args[1], mine, **kwargs
    )
    expected = theirs.sliding_window_inference(
        image.clone(), args[0], args[1], other, **kwargs
    )
    return found, expected, mine, other


def assert_same(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        found, expected = list(found.values()), list(expected.values())
    if not isinstance(expected, torch.Tensor):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
        return
    assert found.shape == expected.shape
    exact = 1e-12 if expected.dtype == torch.float64 else 1e-5
    torch.testing.assert_close(found, expected, rtol=exact, atol=exact)


@pytest.mark.parametrize("mode", ["constant", "gaussian"])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6, "each"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("shape", "roi"), SHAPES)
def test_answers_and_calls_are_monais(shape, roi, batch, overlap, mode):
    image = images(shape, dtype=torch.float64 if len(shape) == 2 else torch.float32)
    share = [0.5, 0.0, 0.3, 0.1][: len(shape)] if overlap == "each" else overlap
    found, expected, mine, other = both(image, roi, batch, overlap=share, mode=mode)
    assert_same(found, expected)
    assert mine.calls == other.calls


@pytest.mark.parametrize("padding", ["constant", "reflect", "replicate", "circular"])
def test_padding(padding):
    image = images((6, 5))
    kwargs = {"padding_mode": padding, "cval": -3.0 if padding == "constant" else 0.0}
    found, expected, _, _ = both(image, (8, 4), 2, **kwargs)
    assert_same(found, expected)


@pytest.mark.parametrize("sigma", [0.1, 0.5, [0.1, 0.3, 0.2]])
def test_sigma(sigma):
    found, expected, _, _ = both(
        images((9, 8, 7)), (4, 4, 4), 2, mode="gaussian", sigma_scale=sigma
    )
    assert_same(found, expected)


@pytest.mark.parametrize("axes", [(4, 4), (1, 1, 4, 4)])
def test_weights_of_the_caller(axes):
    weights = torch.rand(axes, generator=torch.Generator().manual_seed(0)) + 0.1
    found, expected, _, _ = both(images((9, 8)), 4, 2, roi_weight_map=weights)
    assert_same(found, expected)


def test_coordinates_and_arguments_reach_the_predictor():
    _, _, mine, other = both(images((9, 8)), 4, 3, with_coord=True)
    assert mine.seen == other.seen

    def predict(windows, factor, *, shift):
        return windows * factor + shift

    args = (images((9, 8)), 4, 3, predict, 0.5, "constant", 0.1, "constant", 0.0)
    rest = (None, None, False, None, None, None, 0, False, 3.0)
    assert_same(
        ours.sliding_window_inference(*args, *rest, shift=1.0),
        theirs.sliding_window_inference(*args, *rest, shift=1.0),
    )


def several(windows):
    return windows + 1, windows[:, :1, ::2, ::2] + 2, windows[..., ::4, ::4] * 3


@pytest.mark.parametrize("shape", [(16, 24), (6, 16)])
@pytest.mark.parametrize(
    "predict",
    [
        several,
        lambda w: list(several(w)),
        lambda w: dict(zip("abc", several(w), strict=True)),
        lambda w: (w,),
        lambda w: {1: w},
    ],
)
@pytest.mark.parametrize("mode", ["constant", "gaussian"])
def test_several_outputs_of_several_sizes(shape, predict, mode):
    found, expected, _, _ = both(
        images(shape), (8, 8), 3, make=lambda: predict, overlap=0.5, mode=mode
    )
    assert_same(found, expected)


def test_a_large_output_after_a_small_one():
    """MONAI blends it with the weights of the small one, and stops."""
    image = images((16, 24))
    found = ours.sliding_window_inference(
        image, 8, 3, lambda w: (w[..., ::2, ::2], w), 0.5, "gaussian"
    )
    torch.testing.assert_close(found[1], image)


@pytest.mark.parametrize("buffer_dim", [-1, 0, 1])
@pytest.mark.parametrize("make", [lambda: several, lambda: lambda w: 2 * w])
def test_buffers(buffer_dim, make):
    if make() is several:
        make = lambda: lambda w: (w + 1, w + 2)  # noqa: E731 MONAI returns the first
    found, expected, _, _ = both(
        images((13, 11)), (4, 5), 2, make=make, buffer_steps=2, buffer_dim=buffer_dim
    )
    assert_same(found, expected)


def test_process_fn_and_condition_are_monais():
    def process(outputs, _, weights):
        return tuple(2 * one for one in outputs), weights + 1

    found, expected, _, _ = both(images((9, 8)), 4, 2, process_fn=process)
    assert_same(found, expected)

    def add(windows, condition):
        return windows + condition

    image = images((9, 8))
    kwargs = {"condition": image.clone()}
    inferer = {"roi_size": 4, "sw_batch_size": 2}
    assert_same(
        ours.SlidingWindowInferer(**inferer)(image, add, **kwargs),
        theirs.SlidingWindowInferer(**inferer)(image, add, **kwargs),
    )


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("mode", ["constant", "gaussian"])
def test_inferer(mode, cache):
    options = {
        "roi_size": (4, 4),
        "sw_batch_size": 3,
        "overlap": 0.5,
        "mode": mode,
        "cache_roi_weight_map": cache,
        "cpu_thresh": 10,
    }
    mine = ours.SlidingWindowInferer(**options)
    other = theirs.SlidingWindowInferer(**options)
    assert_same(mine(images((9, 7)), Counting()), other(images((9, 7)), Counting()))
    assert isinstance(mine, theirs.SlidingWindowInferer)


def test_signatures_are_monais():
    def names(function):
        return [
            (p.name, p.kind, p.default)
            for p in inspect.signature(function).parameters.values()
        ]

    assert names(ours.sliding_window_inference) == names(
        theirs.sliding_window_inference
    )
    assert names(ours.SlidingWindowInferer) == names(theirs.SlidingWindowInferer)
    assert names(ours.SlidingWindowInferer.__call__) == names(
        theirs.SlidingWindowInferer.__call__
    )


@pytest.mark.parametrize(
    ("kwargs", "roi"),
    [
        ({"overlap": 1.0}, 4),
        ({"overlap": -0.1}, 4),
        ({"overlap": (0.1, 0.2, 0.3)}, 4),
        ({"mode": "median"}, 4),
        ({"mode": "gaussian", "sigma_scale": (0.1,) * 3}, 4),
        ({"padding_mode": "mirrored"}, 16),
        ({"buffer_steps": 1, "buffer_dim": 5}, 4),
        ({"buffer_steps": 1, "buffer_dim": 2}, 4),
        ({}, (4, 4, 4)),
        ({}, (4,)),
        ({"roi_weight_map": torch.ones(3, 3)}, 4),
        ({"nonsense": 1}, 4),
        ({"with_coord": True}, 4),
    ],
    ids=str,
)
def test_wrong_arguments_raise_what_monai_raises(kwargs, roi):
    def error(function):
        with pytest.raises(Exception) as caught:  # noqa: PT011 whatever MONAI raises
            function(images((9, 8)), roi, 2, lambda windows: windows, **kwargs)
        return caught.type

    assert error(ours.sliding_window_inference) is error(
        theirs.sliding_window_inference
    )


def test_images_of_integers_are_monais():
    image = images((9, 8)).mul(10).int()
    for module in (ours, theirs):
        with pytest.raises(RuntimeError):
            module.sliding_window_inference(image, 4, 2, lambda w: w)


def test_meta_data_stay():
    image = MetaTensor(images((9, 8)), affine=3 * torch.eye(4))
    found, expected, _, _ = both(image, 4, 2)
    assert isinstance(found, MetaTensor)
    assert torch.equal(found.affine, expected.affine)
    assert_same(found, expected)


def test_gradients_flow():
    def gradient(module):
        image = images((9, 8)).requires_grad_()
        answer = module.sliding_window_inference(
            image, 4, 3, torch.sin, overlap=0.5, mode="gaussian"
        )
        return torch.autograd.grad(answer.square().sum(), image)[0]

    torch.testing.assert_close(gradient(ours), gradient(theirs))


def test_the_image_stays_as_it_is():
    """MONAI multiplies what a predictor of single windows returns where it lies."""
    image = images((9, 8), number=1)
    before = image.clone()
    ours.sliding_window_inference(image, 4, 1, lambda w: w, mode="gaussian")
    assert torch.equal(image, before)


@pytest.mark.parametrize(("shape", "roi"), SHAPES)
def test_sums_on_another_device(shape, roi, monkeypatch):
    monkeypatch.setattr(window_answers, "_same", lambda one, other: False)
    for batch, mode in itertools.product([1, 3], ["constant", "gaussian"]):
        found, expected, _, _ = both(images(shape), roi, batch, overlap=0.5, mode=mode)
        assert_same(found, expected)


class Largest(TorchDispatchMode):
    """The largest tensor that any operation makes."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.numel = max(self.numel, result.numel())
        return result


@pytest.mark.parametrize(("shape", "roi"), SHAPES)
@pytest.mark.parametrize("mode", ["constant", "gaussian"])
def test_label_maps(shape, roi, mode):
    dims = len(shape)
    if dims > 3:
        return
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    torch.manual_seed(0)
    network = conv(2, 5, 3, padding=1).eval()
    options = {"roi_size": roi, "sw_batch_size": 2, "overlap": 0.5, "mode": mode}
    with torch.inference_mode():
        logits = theirs.SlidingWindowInferer(**options)(images(shape), network)
        labels = ours.SlidingWindowInferer(**options).labels(images(shape), network)
    assert labels.shape == (2, 1, *shape)
    assert labels.dtype == torch.uint8
    chosen = logits.gather(1, labels.long())  # near ties may go either way
    torch.testing.assert_close(chosen, logits.amax(1, keepdim=True))


def test_label_maps_hold_no_volume_of_logits():
    image = torch.zeros(1, 1, 200, 8, 8)
    classes, roi = 40, 8

    def network(windows):
        return windows.expand(-1, classes, -1, -1, -1)

    largest = Largest()
    with largest, torch.inference_mode():
        ours.sliding_window_labels(image, roi, 1, network, mode="gaussian")
    assert largest.numel <= (roi + 2) * classes * 8 * 8
    assert largest.numel < image.numel() * classes / 15


def test_label_maps_of_regions():
    image = images((9, 8))
    masks = ours.sliding_window_labels(
        image, 4, 2, lambda w: (w, 0), decide=lambda logits: logits > 0
    )
    assert torch.equal(masks, image > 0)


def test_label_maps_say_what_is_wrong():
    image = images((9, 8))
    with pytest.raises(ValueError, match="1 channels, expected 2 to 256 classes"):
        ours.sliding_window_labels(image, 4, 2, lambda w: w[:, :1])
    with pytest.raises(ValueError, match="label maps need one for one"):
        ours.sliding_window_labels(image, 4, 2, lambda w: w[..., ::2])
    with pytest.raises(ValueError, match="an overlap below 1"):
        ours.sliding_window_labels(image, 4, 2, lambda w: w, overlap=1.0)
