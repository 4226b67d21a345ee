"""medseg.monai's losses against MONAI's: values, gradients, warnings and errors."""

import inspect
import itertools
import random
import re
import warnings
from functools import partial

import monai.losses as theirs
import pytest
import torch
from monai.data import MetaTensor

import medseg.monai as ours
from medseg.losses.terms import ChannelTerm, VoxelTerm
from medseg.losses.voxel_sums import voxel_sums
from medseg.monai import loss_sums
from medseg.monai.loss_sums import Request

CLASSES = 3
NAMES = [
    "DiceLoss",
    "DiceCELoss",
    "DiceFocalLoss",
    "FocalLoss",
    "TverskyLoss",
    "GeneralizedDiceLoss",
]
COMMON = {
    "include_background": [True, False],
    "to_onehot_y": [True, False],
}
ACTIVATION = {
    "act": [
        {"softmax": True},
        {"sigmoid": True},
        {},
        {"other_act": torch.tanh},
    ]
}
SMOOTH = {"smooth": [{}, {"smooth_nr": 0.5, "smooth_dr": 0.25}]}
WEIGHTS = {"weight": [None, 0.7, "each"]}
IGNORE = {"ignore_index": [None, 1, -1, 255]}
REDUCTION = {"reduction": ["mean", "sum", "none"]}
OVERLAP = {**COMMON, **ACTIVATION, **SMOOTH, "batch": [False, True]}
SQUARED = {"squared_pred": [False, True], "jaccard": [False, True]}
OPTIONS = {
    "DiceLoss": {
        **OVERLAP,
        **SQUARED,
        **REDUCTION,
        **WEIGHTS,
        **IGNORE,
        "soft_label": [False, True],
    },
    "DiceCELoss": {
        **OVERLAP,
        **SQUARED,
        "reduction": ["mean", "sum"],
        "weight": [None, "tensor"],
        "lambda_dice": [1.0, 0.3],
        "lambda_ce": [1.0, 0.0],
        "label_smoothing": [0.0, 0.1],
    },
    "DiceFocalLoss": {
        **OVERLAP,
        **SQUARED,
        **REDUCTION,
        "weight": [None, 0.7, "each"],
        "gamma": [2.0, 0.0, 1.5],
        "alpha": [None, 0.3],
        "lambda_dice": [1.0, 0.3],
        "lambda_focal": [1.0, 0.6],
    },
    "FocalLoss": {
        **COMMON,
        **REDUCTION,
        **WEIGHTS,
        **IGNORE,
        "gamma": [2.0, 0.0, 1.5],
        "alpha": [None, 0.3, "each"],
        "use_softmax": [False, True],
    },
    "TverskyLoss": {
        **OVERLAP,
        **REDUCTION,
        **IGNORE,
        "alpha": [0.5, 0.3],
        "beta": [0.5, 0.9],
        "soft_label": [False, True],
    },
    "GeneralizedDiceLoss": {
        **OVERLAP,
        **REDUCTION,
        "w_type": ["square", "simple", "uniform"],
        "soft_label": [False, True],
    },
}
INPUTS = list(itertools.product([2, 3], [1, CLASSES], ["labels", "masks", "soft"]))
"""Spatial axes, channels of the logits, and kinds of target."""


@pytest.fixture(autouse=True)
def _served_though_small(monkeypatch):
    """So small as in these tests, MONAI's formulas would be taken on a CPU."""
    monkeypatch.setattr(loss_sums, "is_faster", lambda request, logits: True)


def all_combinations(name):
    keys = OPTIONS[name]
    for values in itertools.product(*keys.values()):
        yield dict(zip(keys, values, strict=True))


def arguments(options, channels):
    """Keyword arguments of the loss, from what stands for them in the table."""
    chosen = dict(options)
    for name in ("act", "smooth"):
        chosen.update(chosen.pop(name, {}))
    number = channels - (0 if chosen["include_background"] else 1)
    weights = {
        "each": [0.5, 1.0, 2.0][:number],
        "tensor": torch.tensor([0.5, 1.0, 2.0][:channels]),
    }
    for name in ("weight", "alpha"):
        if isinstance(chosen.get(name), str):
            chosen[name] = weights[chosen[name]]
    return chosen


def example(dims, channels, kind, *, ignored=None, dtype=torch.float32):
    generator = torch.Generator().manual_seed(3)
    size = (4, 5, 3)[:dims]
    logits = 3 * torch.randn(2, channels, *size, generator=generator, dtype=dtype)
    labels = torch.randint(0, max(channels, 2), (2, 1, *size), generator=generator)
    if kind == "soft":
        return logits, torch.rand(2, channels, *size, generator=generator)
    if kind == "masks" and channels > 1:
        shape = (len(labels), channels, *size)
        return logits, torch.zeros(shape).scatter_(1, labels, 1)
    if ignored is not None:
        labels.flatten()[::5] = ignored
    return logits, labels


def outcome(module, name, options, logits, target):
    """The value with its gradient, or the error; and the warnings."""
    leaf = logits.clone().requires_grad_()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            value = getattr(module, name)(**options)(leaf, target.clone())
            gradient = torch.autograd.grad(value.sum(), leaf)[0]
        except Exception as error:  # noqa: BLE001 whatever MONAI raises
            return type(error), sorted({str(w.message) for w in caught})
    return (value.detach(), gradient), sorted({str(w.message) for w in caught})


def assert_same(name, options, logits, target, *, tolerance=2e-5):
    found, our_warnings = outcome(ours, name, options, logits, target)
    expected, their_warnings = outcome(theirs, name, options, logits, target)
    about = f"{name}({options}), {tuple(logits.shape)}, {tuple(target.shape)}"
    assert our_warnings == their_warnings, about
    if isinstance(expected, type):
        assert found is expected, about
        return
    assert not isinstance(found, type), f"{about}: {found}"
    for mine, other in zip(found, expected, strict=True):
        assert mine.shape == other.shape, about
        assert mine.dtype == other.dtype, about
        torch.testing.assert_close(
            mine,
            other,
            rtol=tolerance,
            atol=tolerance * max([1e-3, *other.abs().flatten().tolist()]),
            equal_nan=True,
            msg=lambda text: f"{about}: {text}",
        )


def check(name, options, dims, channels, kind):
    logits, target = example(
        dims, channels, kind, ignored=options.get("ignore_index"), dtype=torch.float32
    )
    assert_same(name, arguments(options, channels), logits, target)


@pytest.mark.parametrize("name", NAMES)
def test_values_gradients_and_errors_are_monais(name):
    chosen = random.Random(name).sample(list(all_combinations(name)), 250)
    for number, options in enumerate(chosen):
        check(name, options, *INPUTS[number % len(INPUTS)])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_whole_product_of_arguments(name):
    others = itertools.cycle(INPUTS)
    for options in all_combinations(name):
        kind = "labels" if options["to_onehot_y"] else "masks"
        for dims in (2, 3):
            check(name, options, dims, CLASSES, kind)
        check(name, options, *next(others))


@pytest.mark.parametrize("name", NAMES)
def test_signatures_are_monais(name):
    mine, other = getattr(ours, name), getattr(theirs, name)
    assert issubclass(mine, other)
    assert inspect.signature(mine) == inspect.signature(other)
    assert inspect.signature(mine.forward).parameters.keys() == (
        inspect.signature(other.forward).parameters.keys()
    )


SERVED = [
    ("DiceLoss", {"softmax": True, "to_onehot_y": True}, "labels", 3),
    ("DiceLoss", {"softmax": True}, "masks", 3),
    ("DiceLoss", {"sigmoid": True, "to_onehot_y": True}, "labels", 3),
    ("DiceLoss", {"sigmoid": True}, "masks", 3),
    ("DiceLoss", {"sigmoid": True}, "labels", 1),
    (
        "DiceLoss",
        {
            "softmax": True,
            "to_onehot_y": True,
            "include_background": False,
            "squared_pred": True,
            "jaccard": True,
            "reduction": "none",
            "batch": True,
            "weight": [1.0, 2.0],
            "soft_label": True,
            "ignore_index": 255,
        },
        "labels",
        3,
    ),
    ("DiceCELoss", {"softmax": True, "to_onehot_y": True}, "labels", 3),
    ("DiceCELoss", {"softmax": True}, "masks", 3),
    (
        "DiceCELoss",
        {"softmax": True, "to_onehot_y": True, "weight": torch.tensor([1.0, 2, 3])},
        "labels",
        3,
    ),
    ("DiceCELoss", {"sigmoid": True}, "labels", 1),
    ("DiceFocalLoss", {"softmax": True, "to_onehot_y": True}, "labels", 3),
    ("DiceFocalLoss", {"sigmoid": True}, "masks", 3),
    ("DiceFocalLoss", {"sigmoid": True}, "labels", 1),
    ("FocalLoss", {"to_onehot_y": True}, "labels", 3),
    ("FocalLoss", {"to_onehot_y": True, "ignore_index": 1}, "labels", 3),
    ("FocalLoss", {"use_softmax": True, "to_onehot_y": True}, "labels", 3),
    (
        "FocalLoss",
        {"use_softmax": True, "to_onehot_y": True, "alpha": 0.3},
        "labels",
        3,
    ),
    ("FocalLoss", {}, "masks", 3),
    ("TverskyLoss", {"softmax": True, "to_onehot_y": True, "alpha": 0.3}, "labels", 3),
    ("TverskyLoss", {"sigmoid": True}, "masks", 3),
    ("GeneralizedDiceLoss", {"softmax": True, "to_onehot_y": True}, "labels", 3),
    ("GeneralizedDiceLoss", {"sigmoid": True}, "masks", 3),
]


@pytest.mark.parametrize("engine", ["auto", "whole", "triton"])
@pytest.mark.parametrize(("name", "options", "kind", "channels"), SERVED)
def test_served_combinations_do_not_ask_monai(
    name, options, kind, channels, engine, monkeypatch
):
    """With MONAI's own formulas out of reach, the values are still theirs."""
    dims = 3 if engine == "auto" else 2
    logits, target = example(dims, channels, kind)
    expected, _ = outcome(theirs, name, options, logits, target)
    passes = partial(voxel_sums, engine=engine)
    monkeypatch.setattr(loss_sums, "voxel_sums", passes)
    for loss in NAMES:
        monkeypatch.setattr(getattr(theirs, loss), "forward", None)
    found, _ = outcome(ours, name, options, logits, target)
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=2e-5, atol=1e-6)


IS_FASTER = loss_sums.is_faster
MIXED = ChannelTerm(gamma=2.0)


@pytest.mark.parametrize(
    ("request_", "channels", "size", "faster"),
    [
        (Request(sigmoid=False, to_onehot_y=True), 4, 64, False),
        (Request(sigmoid=False, to_onehot_y=True), 14, 96, True),
        (Request(sigmoid=False, to_onehot_y=True), 2, 192, False),
        (Request(sigmoid=True, to_onehot_y=False), 7, 128, False),
        (Request(sigmoid=False, to_onehot_y=True, voxel=VoxelTerm()), 4, 64, True),
        (Request(sigmoid=False, to_onehot_y=True, voxel=VoxelTerm()), 2, 64, False),
        (Request(sigmoid=False, to_onehot_y=True, voxel=VoxelTerm()), 2, 192, True),
        (Request(sigmoid=True, to_onehot_y=False, channel=MIXED), 3, 64, True),
        (Request(sigmoid=True, to_onehot_y=False, channel=ChannelTerm()), 1, 64, False),
    ],
)
def test_small_losses_of_regions_are_left_to_monai_on_a_cpu(
    request_, channels, size, faster
):
    logits = torch.empty(1).expand(2, channels, size, size, size)
    assert IS_FASTER(request_, logits) is faster
    assert IS_FASTER(request_, logits.to("meta"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "wrong",
    [
        {"reduction": "median"},
        {"softmax": True, "sigmoid": True},
        {"other_act": "tanh"},
        {"sigmoid": True, "other_act": torch.tanh},
        {"weight": [1.0, 2.0, 3.0, 4.0]},
        {"weight": [-1.0, 2.0, 3.0], "softmax": True, "to_onehot_y": True},
        {"weight": -1.0, "sigmoid": True, "to_onehot_y": True},
        {"weight": torch.tensor([1.0, -2.0, 3.0]), "softmax": True},
        {"alpha": [0.1, 0.2], "to_onehot_y": True},
        {"lambda_dice": -1.0},
        {"lambda_ce": -1.0},
        {"lambda_focal": -1.0},
        {"w_type": "cubed"},
        {"label_smoothing": 2.0, "softmax": True, "to_onehot_y": True},
        {"nonsense": 1},
    ],
    ids=lambda wrong: re.sub(r" at 0x[0-9a-f]+", "", str(wrong)),
)
def test_wrong_arguments_raise_what_monai_raises(name, wrong):
    for kind in ("labels", "masks"):
        assert_same(name, wrong, *example(3, CLASSES, kind))


@pytest.mark.parametrize("name", NAMES)
def test_wrong_inputs_raise_what_monai_raises(name):
    softmax = {"use_softmax": True} if name == "FocalLoss" else {"softmax": True}
    logits, labels = example(3, CLASSES, "labels")
    _, masks = example(3, CLASSES, "masks")
    for onehot in (True, False):
        options = {**softmax, "to_onehot_y": onehot}
        for target in (
            labels + 1,  # a class that is not there
            labels - 1,
            labels + 254,
            labels[:, 0],
            labels[..., :2],
            labels[:1],
            masks[:, :2],
            masks[..., :2],
        ):
            assert_same(name, options, logits, target)
        assert_same(name, options, logits.round().long().float(), labels.float())
        assert_same(name, options, logits, labels + 0.5)


@pytest.mark.parametrize("kind", ["labels", "masks", "soft"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "make",
    [
        lambda t: t.double(),
        lambda t: t.to(memory_format=torch.channels_last_3d),
        lambda t: t.transpose(-1, -2),
        lambda t: 40 * t,
        lambda t: t.index_fill(2, torch.tensor([1]), float("nan")),
        lambda t: t[:0],
    ],
    ids=["double", "channels last", "strides", "large", "nan", "empty"],
)
def test_unusual_logits(name, make, kind):
    softmax = {"softmax": True} if name != "FocalLoss" else {"use_softmax": True}
    logits, target = example(3, CLASSES, kind)
    target = target.transpose(-1, -2) if make(logits).shape[-1] == 5 else target
    if len(make(logits)) == 0:
        target = target[:0]
    options = {**softmax, "to_onehot_y": kind == "labels"}
    assert_same(name, options, make(logits), target)


@pytest.mark.parametrize(
    "target_type", [torch.uint8, torch.int16, torch.int64, torch.float32, torch.bool]
)
def test_targets_of_any_type(target_type):
    logits, target = example(3, 2, "labels")
    options = {"softmax": True, "to_onehot_y": True}
    assert_same("DiceLoss", options, logits, target.to(target_type))
    _, masks = example(3, 2, "masks")
    assert_same("DiceLoss", {"sigmoid": True}, logits, masks.to(target_type))


def test_half_precision_is_computed_in_float32():
    logits, target = example(3, CLASSES, "labels")
    options = {"softmax": True, "to_onehot_y": True}
    exact, _ = outcome(theirs, "DiceCELoss", options, logits.half().float(), target)
    found, _ = outcome(ours, "DiceCELoss", options, logits.half(), target)
    assert found[0].dtype == torch.float32
    assert found[1].dtype == torch.float16
    torch.testing.assert_close(found[0], exact[0])
    torch.testing.assert_close(found[1].float(), exact[1], rtol=1e-2, atol=1e-4)


def test_meta_tensors_are_taken():
    logits, target = example(3, CLASSES, "labels")
    options = {"softmax": True, "to_onehot_y": True}
    expected, _ = outcome(theirs, "DiceLoss", options, logits, target)
    leaf = MetaTensor(logits).requires_grad_()
    value = ours.DiceLoss(**options)(leaf, MetaTensor(target))
    gradient = torch.autograd.grad(value, leaf)[0]
    torch.testing.assert_close(torch.Tensor(value), expected[0])
    torch.testing.assert_close(gradient.as_subclass(torch.Tensor), expected[1])


def test_a_target_with_a_gradient_gets_it():
    logits, masks = example(3, CLASSES, "masks")
    target = masks.requires_grad_()
    ours.DiceLoss(softmax=True)(logits, target).backward()
    mine = target.grad.clone()
    target.grad = None
    theirs.DiceLoss(softmax=True)(logits, target).backward()
    torch.testing.assert_close(mine, target.grad)


def test_arguments_changed_later_count():
    logits, target = example(3, CLASSES, "labels")
    loss = ours.TverskyLoss(softmax=True, to_onehot_y=True)
    loss.alpha = 0.9
    expected = theirs.TverskyLoss(softmax=True, to_onehot_y=True, alpha=0.9)
    torch.testing.assert_close(loss(logits, target), expected(logits, target))


def test_states_are_monais():
    options = {"weight": torch.tensor([1.0, 2.0, 3.0])}
    mine, other = ours.DiceCELoss(**options), theirs.DiceCELoss(**options)
    mine.load_state_dict(other.state_dict())
    assert repr(mine) == repr(other)
