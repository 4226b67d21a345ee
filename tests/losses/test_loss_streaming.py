"""The two passes over the voxels: gradients, numbers, types, layouts, threads."""

import pytest
import torch
from pydantic import TypeAdapter

from medseg.errors import LabelError, SettingsError
from medseg.losses import LossSettings, build_loss, streaming

NAMES = [
    "ce",
    "topk_ce",
    "focal",
    "dice",
    "jaccard",
    "generalized_dice",
    "tversky",
    "focal_tversky",
    "dice_ce",
    "dice_focal",
    "boundary",
    "cldice",
]
FUSED = [name for name in NAMES if name not in ("topk_ce", "boundary", "cldice")]
EVERY = [*NAMES, "separation"]
NESTED = ((1, 2), (2,))


ENGINES = ["chunks", "whole"]


def build(name, num_classes=3, regions=(), engine="auto", **options):
    settings = TypeAdapter(LossSettings).validate_python({"name": name, **options})
    return build_loss(settings, num_classes=num_classes, regions=regions, engine=engine)


def case(shape=(4, 5, 3), channels=3, dtype=torch.float64, scale=1.0):
    generator = torch.Generator().manual_seed(2)
    logits = scale * torch.randn(2, channels, *shape, generator=generator, dtype=dtype)
    target = torch.randint(0, 3, (2, *shape), generator=generator)
    target[0, :2] = 1
    return logits.requires_grad_(), target


@pytest.mark.parametrize("regions", [(), NESTED])
@pytest.mark.parametrize("name", FUSED)
def test_gradients_are_exact(name, regions):
    logits, target = case((3, 2, 2), channels=len(regions) or 3)
    target[1, 2] = 255
    loss = build(name, regions=regions)
    assert torch.autograd.gradcheck(
        loss, (logits, target), eps=1e-5, atol=1e-10, rtol=1e-6
    )


@pytest.mark.parametrize(
    "options",
    [
        {"squared": True, "class_weights": (1, 2, 3)},
        {"jaccard": True, "batch": True, "empty": "skip"},
        {"include_background": True, "activation": "sigmoid", "gamma": 0.7},
        {"gamma": 0.5, "focal_weight": 3},
    ],
)
def test_gradients_of_options_are_exact(options):
    logits, target = case((3, 2, 2))
    target[1, 2] = 255
    loss = build("dice_focal", **options)
    assert torch.autograd.gradcheck(
        loss, (logits, target), eps=1e-5, atol=1e-10, rtol=1e-6
    )


@pytest.mark.parametrize("name", EVERY)
def test_logits_in_two_and_three_dimensions(name):
    for shape in ((6, 5), (6, 5, 4)):
        logits, target = case(shape)
        loss = build(name)(logits, target)
        loss.backward()
        assert loss.ndim == 0
        assert logits.grad.isfinite().all()


@pytest.mark.parametrize("regions", [(), NESTED])
@pytest.mark.parametrize("name", FUSED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_chunks_and_threads_change_nothing(name, regions, dtype, monkeypatch):
    logits, target = case((9, 8, 7), channels=len(regions) or 3, dtype=dtype)
    target[0, 3] = 255
    loss = build(name, regions=regions)
    whole = loss(logits, target)
    (gradient,) = torch.autograd.grad(whole, logits)
    monkeypatch.setattr(streaming, "CPU_ELEMENTS", 3 * 70)
    parts = loss(logits, target)
    exact = 100 * torch.finfo(dtype).eps
    assert parts.item() == pytest.approx(whole.item(), rel=exact)
    (again,) = torch.autograd.grad(parts, logits)
    assert (again - gradient).abs().max() <= exact * gradient.abs().max()


def test_results_are_repeated_to_the_bit():
    logits, target = case((40, 40, 40), dtype=torch.float32)
    loss = build("dice_focal")
    values = {loss(logits, target).item() for _ in range(5)}
    assert len(values) == 1


def test_workers_leave_the_number_of_threads_alone():
    before = torch.get_num_threads()
    logits, target = case((64, 64, 64), dtype=torch.float32)
    build("dice_ce")(logits, target)
    assert torch.get_num_threads() == before


def test_errors_in_workers_arrive():
    def fail(chunk):
        raise ValueError("from a worker")

    with pytest.raises(ValueError, match="from a worker"):
        streaming.stream(torch.empty(2, 3, 300_000), fail)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("regions", [(), NESTED])
@pytest.mark.parametrize("name", FUSED)
def test_half_precision_loses_only_its_rounding(name, regions, dtype):
    exact, target = case(channels=len(regions) or 3, scale=4)
    coarse = exact.detach().to(dtype).requires_grad_()
    exact = coarse.detach().double().requires_grad_()
    loss = build(name, regions=regions)
    value, expected = loss(coarse, target), loss(exact, target)
    value.backward()
    expected.backward()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    assert coarse.grad.dtype == dtype
    step = 2 * torch.finfo(dtype).eps * exact.grad.abs().max()
    assert (coarse.grad.double() - exact.grad).abs().max() <= step


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("scale", [30.0, 300.0, 30000.0])
@pytest.mark.parametrize("name", ["dice_ce", "dice_focal", "tversky"])
def test_large_logits_stay_finite_and_right(name, scale, engine):
    single, target = case(dtype=torch.float32, scale=scale)
    double = single.detach().double().requires_grad_()
    loss = build(name, engine=engine)
    value, expected = loss(single, target), loss(double, target)
    value.backward()
    expected.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(single.grad.double(), double.grad, atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_shift_of_all_logits_changes_nothing(engine):
    logits, target = case(dtype=torch.float32)
    loss = build("dice_ce", engine=engine)
    assert loss(logits + 80, target).item() == pytest.approx(
        loss(logits, target).item(), rel=1e-5
    )


@pytest.mark.parametrize("regions", [(), NESTED])
@pytest.mark.parametrize("name", NAMES[2:])
def test_ignored_voxels_neither_count_nor_get_a_gradient(name, regions):
    if name in ("boundary", "cldice"):
        pytest.skip("looks at shapes, which change where voxels are left out")
    logits, target = case(channels=len(regions) or 3)
    loss = build(name, regions=regions)
    cropped = loss(logits[:, :, :3], target[:, :3])
    target[:, 3:] = 255
    value = loss(logits, target)
    value.backward()
    assert value.item() == pytest.approx(cropped.item(), rel=1e-10)
    assert (logits.grad[:, :, 3:] == 0).all()
    assert (logits.grad[:, :, :3] != 0).any()


@pytest.mark.parametrize("name", EVERY)
def test_all_ignored_is_finite_without_gradient(name):
    logits, target = case()
    loss = build(name)(logits, torch.full_like(target, 255))
    loss.backward()
    assert loss.isfinite()
    assert (logits.grad == 0).all()


def test_empty_class_scores_one_or_is_skipped():
    """Reference holds class 1 only, perfectly predicted; class 2 is absent."""
    target = torch.ones(1, 4, 4, dtype=torch.long)
    logits = torch.zeros(1, 3, 4, 4)
    logits[:, 1] = 10
    absent = build("dice")(logits, target).item()
    assert absent == pytest.approx(0.5, abs=0.02)
    assert build("dice", empty="skip")(logits, target).item() < 1e-3


def test_channels_last_logits_give_channels_last_gradients():
    logits, target = case((6, 6, 6), dtype=torch.float32)
    last = logits.detach().to(memory_format=torch.channels_last_3d).requires_grad_()
    loss = build("dice_focal")
    loss(logits, target).backward()
    loss(last, target).backward()
    assert last.grad.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.allclose(last.grad, logits.grad, atol=1e-7)


def test_large_gradient_in_huge_pages_is_an_ordinary_tensor():
    logits, target = case((96, 96, 160), dtype=torch.float32)
    build("dice")(logits, target).backward()
    assert logits.grad.shape == logits.shape
    assert logits.grad.is_contiguous()
    gradient = logits.grad.clone()
    build("dice")(logits, target).backward()
    assert torch.allclose(logits.grad, 2 * gradient)


def test_cut_out_logits_are_taken():
    logits, target = case((6, 6, 6))
    inner = logits[:, :, 1:5, 1:5, 1:5]
    loss = build("dice_ce")(inner, target[:, 1:5, 1:5, 1:5])
    same = build("dice_ce")(inner.contiguous(), target[:, 1:5, 1:5, 1:5])
    assert torch.allclose(
        torch.autograd.grad(loss, logits)[0], torch.autograd.grad(same, logits)[0]
    )


@pytest.mark.parametrize("regions", [(), NESTED])
def test_logits_with_swapped_axes_are_taken(regions):
    logits, target = case((3, 4, 5), channels=len(regions) or 3)
    loss = build("dice_ce", regions=regions)
    value = loss(logits.transpose(2, 3), target.transpose(1, 2))
    same = loss(logits, target)
    assert value.item() == pytest.approx(same.item(), rel=1e-12)
    assert torch.allclose(
        torch.autograd.grad(value, logits)[0], torch.autograd.grad(same, logits)[0]
    )


def test_autocast_does_not_reach_the_sums():
    logits, target = case(dtype=torch.float32)
    loss = build("dice_ce")
    plain = loss(logits, target)
    with torch.autocast("cpu", torch.bfloat16):
        assert loss(logits, target).item() == plain.item()


def test_second_derivative_is_refused():
    logits, target = case()
    loss = build("dice")(logits, target)
    with pytest.raises(RuntimeError, match="call backward without create_graph"):
        torch.autograd.grad(loss, logits, create_graph=True)


def test_unknown_label_is_named():
    logits, target = case()
    target[0, 0, 0, 0] = 7
    with pytest.raises(
        LabelError, match=r"target holds \[7\], expected classes 0 to 2"
    ):
        build("dice_ce")(logits, target)


@pytest.mark.parametrize("wrong", [-1, 256])
def test_index_beyond_a_byte_is_refused(wrong):
    logits, target = case()
    target[0, 0, 0, 0] = wrong
    with pytest.raises(LabelError, match="expected classes from 0 and 255"):
        build("dice")(logits, target)


def test_shapes_are_compared():
    logits, target = case()
    with pytest.raises(LabelError, match="without a channel axis"):
        build("dice")(logits, target[:, None])
    with pytest.raises(LabelError, match="logits have 3 channels, the loss was built"):
        build("dice", num_classes=4)(logits, target)
    with pytest.raises(LabelError, match="expected integer label indices"):
        build("dice")(logits, target.double())


def test_settings_that_do_not_fit_are_named():
    with pytest.raises(SettingsError, match="holds 2 numbers, expected 3"):
        build("dice_ce", class_weights=(1, 2))
    with pytest.raises(SettingsError, match="topk_ce compares classes that exclude"):
        build("topk_ce", regions=NESTED)
    with pytest.raises(SettingsError, match=r"region \(3,\) is not a set of classes"):
        build("dice", regions=((3,),))
    with pytest.raises(SettingsError, match="expected the background and at least"):
        build("dice", num_classes=1)


@pytest.mark.gpu
@pytest.mark.parametrize("regions", [(), NESTED])
@pytest.mark.parametrize("name", FUSED)
def test_gpu_gives_the_same_as_cpu(name, regions):
    logits, target = case((12, 11, 10), channels=len(regions) or 3, dtype=torch.float32)
    target[1, 2] = 255
    there = logits.detach().cuda().requires_grad_()
    loss = build(name, regions=regions)
    value, expected = loss(there, target.cuda()), loss(logits, target)
    value.backward()
    expected.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(there.grad.cpu(), logits.grad, rtol=1e-4, atol=1e-7)
