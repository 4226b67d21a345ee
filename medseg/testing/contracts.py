"""What plug-ins must do, and checks that their authors can run in their own tests.

    from medseg.testing import check_network
    check_network(MyNetwork, spatial_dims=3)
    check_network("my_network.py:MyNetwork", args={"width": 8})

Each check takes the object, or a name as a configuration has it with ``args``. It
returns what it found out, and raises `AssertionError` or `PluginError` with what was
expected, what was found, and what to do.
"""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from medseg import plugins
from medseg.plugins import block_of, name_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from medseg.datasets.case import Dataset
    from medseg.networks.settings import PluginNetworkSettings
    from medseg.store import StoredCase
    from medseg.volume import Volume


class Network(Protocol):
    """A `torch.nn.Module`, built with the numbers that it takes by MONAI's names.

    These are ``spatial_dims``, ``in_channels`` and ``out_channels`` (or
    ``num_classes`` and others, see `medseg.networks.plugin_network.ALIASES`).
    """

    def __call__(self, x: Tensor) -> Tensor:
        """Logits (N, L, *spatial) of images (N, C, *spatial), without activation.

        While training, a list of logits, full resolution first, is deep supervision.
        Attributes that remember earlier batches belong into buffers.
        """
        ...


class Loss(Protocol):
    """A function or `torch.nn.Module`; its constructor takes the ``args``."""

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """One number, for logits (N, L, *spatial) and labels (N, *spatial), int64.

        Where regions overlap, the target is masks (N, R, *spatial). Voxels to ignore
        are made certain and right before. A loss that takes ``to_onehot_y`` is called
        as MONAI's are, one that takes ``ignore_index`` as torch's.
        """
        ...


class BatchTransform(Protocol):
    """A function of batches on their device; MONAI's transforms are known as such."""

    def __call__(
        self, images: Tensor, labels: Tensor, *, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Images (N, C, *spatial) and labels (N, *spatial), changed, as large.

        All chance comes from the generator, on the CPU, so that runs can be repeated
        and continued; leave the parameter out where nothing is random.
        """
        ...


class Metric(Protocol):
    """A function, or a class whose objects are such; classes of `monai.metrics` too."""

    def __call__(
        self,
        prediction: np.ndarray,
        reference: np.ndarray,
        *,
        spacing: tuple[float, float, float],
    ) -> float:
        """A number of two masks (I, J, K), of which one at least holds something."""
        ...


class Schedule(Protocol):
    """A function, or a class whose objects are such."""

    def __call__(self, done: float) -> float:
        """The factor on the highest learning rate where a share, 0 to 1, is over."""
        ...


def check_network(
    network: Any,
    *,
    args: Mapping[str, Any] | None = None,
    spatial_dims: int = 3,
    in_channels: int = 2,
    out_channels: int = 3,
    patch_size: Sequence[int] | None = None,
) -> PluginNetworkSettings:
    """Checks a network: sizes, gradients, copies, weights that can be saved.

    Args:
        network: The object, or its name.
        args: What it is built with.
        spatial_dims: 2 or 3.
        in_channels: Channels of the image.
        out_channels: Channels of the logits.
        patch_size: That it is trained on; 32 voxels along each axis by default.

    Returns:
        Its settings, with the sizes that it takes.
    """
    import torch

    from medseg.networks.build import build_network
    from medseg.networks.plugin_network import settled
    from medseg.networks.settings import PluginNetworkSettings
    from medseg.settings import parse_settings

    block = _block(network, args)
    sizes = {
        "spatial_dims": spatial_dims,
        "in_channels": in_channels,
        "out_channels": out_channels,
    }
    size = tuple(patch_size or (32,) * spatial_dims)
    settings = parse_settings(PluginNetworkSettings, block)
    plugins.allow_named(settings)
    settings = settled(settings, **sizes, patch_size=size)
    built = build_network(settings, **sizes).train()
    image = torch.randn((2, in_channels, *size))
    answer = built(image)
    outputs = [answer] if isinstance(answer, torch.Tensor) else list(answer)
    total = torch.stack([z.float().square().mean() for z in outputs]).sum()
    torch.autograd.backward(total)
    without = [n for n, p in built.named_parameters() if p.grad is None]
    assert not without, f"no gradient reaches {without[:3]}: leave unused layers out"
    _check_repeatable(built.eval(), image)
    other = build_network(settings, **sizes).eval()
    other.load_state_dict(built.state_dict())
    with torch.no_grad():
        same = torch.allclose(built(image), other(image), atol=1e-5)
    assert same, (
        "weights that are saved and loaded give other logits: what an answer depends "
        "on belongs into parameters or buffers"
    )
    return settings


def _check_repeatable(network: torch.nn.Module, image: Tensor) -> None:
    import torch

    with torch.no_grad():
        first, again = network(image), network(image)
        alone = network(image[:1])
        copied = copy.deepcopy(network)(image)
    assert torch.equal(first, again), "two calls in eval mode differ: no chance there"
    together = torch.allclose(first[:1], alone, atol=1e-4)
    assert together, "in eval mode an image's logits depend on others of its batch"
    assert torch.allclose(first, copied, atol=1e-5), "a deep copy answers otherwise"


def check_loss(
    loss: Any,
    *,
    args: Mapping[str, Any] | None = None,
    num_classes: int = 3,
    regions: tuple[tuple[int, ...], ...] = (),
) -> str:
    """Checks a loss: one finite number with a gradient, lower where it is right.

    Args:
        loss: The object, or its name.
        args: What it is built with.
        num_classes: Classes with the background.
        regions: Overlapping regions, to check it with these.

    Returns:
        What it is given, in words.
    """
    import torch

    from medseg.labels import IGNORE_INDEX
    from medseg.losses.plugin_loss import build_plugin_loss
    from medseg.losses.settings import PluginLossSettings
    from medseg.settings import parse_settings

    settings = parse_settings(PluginLossSettings, _block(loss, args))
    plugins.allow_named(settings)
    built = build_plugin_loss(settings, num_classes=num_classes, regions=regions)
    generator = torch.Generator().manual_seed(0)
    for spatial in ((16, 16), (8, 8, 8)):
        target = torch.randint(num_classes, (2, *spatial), generator=generator)
        masks = [torch.isin(target, torch.tensor(c)) for c in regions] or [
            target == n for n in range(num_classes)
        ]
        right = 8 * torch.stack(masks, dim=1).float() - 4
        noise = torch.randn(right.shape, generator=generator)
        logits = noise.clone().requires_grad_()
        target[:, :2] = IGNORE_INDEX
        loss_value = built(logits, target.to(torch.uint8))
        torch.autograd.backward(loss_value)
        value = float(loss_value.detach())
        assert math.isfinite(value), f"the loss is {value}"
        assert logits.grad is not None, "no gradient reaches the logits"
        assert bool(torch.isfinite(logits.grad).all()), "gradients are not finite"
        assert not bool(logits.grad[:, :, :2].any()), "voxels to ignore have a gradient"
        best = float(built(right, target.to(torch.uint8)))
        assert best < value, (
            f"right logits cost {best:.4g}, noise {value:.4g}: a loss falls "
            "where logits are right; are they activated twice, or not at all?"
        )
    return built.assumed


def check_sampler(
    sampler: Any,
    cases: Sequence[StoredCase],
    *,
    args: Mapping[str, Any] | None = None,
    patch_size: tuple[int, ...] = (8, 8, 8),
) -> None:
    """Checks a sampler: repeatable, continued to the patch, its patches usable.

    Args:
        sampler: A subclass of `medseg.sampling.Chooser`, or its name.
        cases: Prepared cases, as of `medseg.Store`.
        args: What it is built with.
        patch_size: Voxels along (i, j, k), or (i, j).
    """
    from medseg.sampling import PatchSampler, SamplingSettings, gather

    block = _block(sampler, args)
    settings = SamplingSettings(
        strategy=block["name"], args=block.get("args", {}), foreground_share=1.0
    )
    plugins.allow_named(settings)

    def fresh() -> PatchSampler:
        return PatchSampler(cases, patch_size=patch_size, settings=settings, seed=0)

    one, other = fresh(), fresh()
    draws = one.draw(12)
    assert draws == other.draw(12), "the same seed gives other patches: use rng alone"
    batch = gather(cases, draws, spatial_dims=len(patch_size))
    assert batch.images.shape[2:] == patch_size
    one.report_loss(draws[0].case_id, 0.5)
    state = pickle.loads(pickle.dumps(one.state_dict()))
    expected = one.draw(12)
    continued = fresh()
    continued.load_state_dict(state)
    assert continued.draw(12) == expected, (
        "a sampler that is continued draws other patches: return what it learned from "
        "state_dict, and take it over in load_state_dict"
    )


def check_transform(
    transform: Any,
    *,
    args: Mapping[str, Any] | None = None,
    spatial_dims: int = 3,
    num_channels: int = 2,
) -> None:
    """Checks a transform: sizes and label values stay, chance follows from the seed.

    Args:
        transform: A function of batches, one of MONAI's transforms, or a name.
        args: What it is built with.
        spatial_dims: 2 or 3.
        num_channels: Of the images.
    """
    import torch

    from medseg.augmentation.plugin_transforms import Transforms
    from medseg.augmentation.settings import TransformSettings
    from medseg.settings import parse_settings

    settings = parse_settings(TransformSettings, _block(transform, args))
    plugins.allow_named(settings)
    generator = torch.Generator().manual_seed(0)
    size = (3, *(12,) * spatial_dims)
    labels = torch.randint(3, size, generator=generator).to(torch.uint8)
    shape = (size[0], num_channels, *size[1:])
    images = torch.randn(shape, generator=generator)
    kept = images.clone(), labels.clone()
    one, other = (Transforms([settings], workers=n) for n in (1, 3))
    for seed in range(4):
        found = one(images, labels, seed=seed)
        again = other(images, labels, seed=seed)
        assert torch.equal(found[0], again[0]), "the same seed changes images otherwise"
        assert torch.equal(found[1], again[1]), "the same seed changes labels otherwise"
        assert bool(torch.isfinite(found[0]).all()), "intensities are not finite"
        values = set(np.unique(found[1].numpy()).tolist())
        assert values <= {0, 1, 2}, f"label values {values} were not there before"
    assert torch.equal(images, kept[0]), "the images that were given were changed"
    assert torch.equal(labels, kept[1]), "the labels that were given were changed"


def check_reader(reader: Any, path: Path) -> Volume:
    """Checks a reader on a file: the volume has a grid, and comes from any process.

    Args:
        reader: The object, or its name.
        path: A file that it reads.

    Returns:
        What the file holds.
    """
    from medseg.io import is_scan
    from medseg.reading import read_grid, read_volume

    name = name_of(reader)
    plugins.use(name, kind="readers")
    assert is_scan(path), f"{path.name}: its suffixes do not tell this file"
    volume = read_volume(path)
    assert volume.voxels.ndim == 4, f"voxels {volume.voxels.shape}: expected (C,I,J,K)"
    assert np.isfinite(volume.affine).all(), "the affine is not finite"
    grid = read_grid(path)
    assert grid.shape == volume.grid.shape, "the grid is another than the volume's"
    return volume


def check_layout(layout: Any, path: Path) -> Dataset:
    """Checks a layout on a data set: it is recognised, and others' are not.

    Args:
        layout: The object, or its name.
        path: A data set of its kind.

    Returns:
        The data set.
    """
    from tempfile import TemporaryDirectory

    from medseg.datasets import load_dataset

    name = name_of(layout)
    made = plugins.find(name, kind="layouts", is_trusted=True).made()
    assert isinstance(made.signs, str), "signs: expected words for a message"
    assert made.signs, "signs: expected words for a message"
    with TemporaryDirectory() as empty:
        assert not made.matches(Path(empty)), "an empty folder is taken for one"
    plugins.use(name, kind="layouts")
    dataset = load_dataset(path)
    assert dataset.cases, "the data set has no case with a label map"
    missing = [
        file.name
        for case in dataset.cases
        for file in (*case.images, case.label)
        if file is not None and not file.exists()
    ]
    assert not missing, f"files that are not there: {missing[:3]}"
    return dataset


def check_metric(metric: Any, *, args: Mapping[str, Any] | None = None) -> float:
    """Checks a metric; returns what it says of a mask that is shifted by a voxel.

    Args:
        metric: The object, or its name.
        args: What it is built with.
    """
    from medseg.evaluation.plugin_metrics import build_metrics
    from medseg.evaluation.settings import PluginMetricSettings
    from medseg.settings import parse_settings

    settings = parse_settings(PluginMetricSettings, _block(metric, args))
    (built,) = build_metrics([settings])
    spacing = (1.0, 1.0, 2.0)
    reference = np.zeros((12, 12, 12), dtype=bool)
    reference[3:9, 3:9, 3:9] = True
    shifted = np.roll(reference, 1, axis=0)
    found = built.value(shifted, reference, spacing=spacing)
    assert math.isfinite(found), f"of a mask that is nearly right it says {found}"
    again = built.value(shifted, reference, spacing=spacing)
    assert found == again, "a second call says something else: keep no state"
    picture = built.value(shifted[..., 5:6], reference[..., 5:6], spacing=spacing)
    assert math.isfinite(picture), f"of a picture (I, J, 1) it says {picture}"
    return found


def check_schedule(schedule: Any, *, args: Mapping[str, Any] | None = None) -> None:
    """Checks a schedule: a factor of 0 or more all along.

    Args:
        schedule: The object, or its name.
        args: What it is built with.
    """
    from medseg.training.parts import build_schedule
    from medseg.training.settings import ScheduleSettings

    settings = ScheduleSettings(**_block(schedule, args))
    plugins.allow_named(settings)
    built = build_schedule(settings)
    factors = [built(share) for share in np.linspace(0, 1, 101).tolist()]
    assert max(factors) > 0, "the factor is 0 all along: nothing would be learned"


def check_tracker(tracker: Any, folder: Path) -> None:
    """Checks a tracker: it takes all that a run tells.

    Args:
        tracker: A `medseg.training.logger.RunLogger`, or its name.
        folder: Of the run.
    """
    plugin = plugins.find(name_of(tracker), kind="trackers", is_trusted=True)
    about = {"folder": folder, "run_name": folder.name}
    made = plugin.made(**{k: v for k, v in about.items() if plugin.takes(k)})
    file = folder / "table.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("a,b\n1,2\n")
    made.log_params({"training.seed": 0, "loss": "dice", "share": 0.5, "on": True})
    made.log_metrics({"loss": 0.5}, step=1)
    made.log_metrics({"loss": float("nan")}, step=2)
    made.log_artifact(file, folder="tables")
    made.set_tags({"commit": "abc"})
    made.finish("FINISHED")


def _block(part: Any, args: Mapping[str, Any] | None) -> dict[str, Any]:
    block = block_of(part)
    return {**block, "args": dict(args)} if args else block
