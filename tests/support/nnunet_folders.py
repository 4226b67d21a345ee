"""Folders as nnU-Net v2 writes them, and what its predictor would make of a scan.

Written with nnU-Net's names of weights and scikit-image's ``resize``, and sharing
nothing with `medseg.imported` and `medseg.inference.nnunet`: plain, slow, for networks
of three stages and scans of a few thousand voxels.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import binary_fill_holes, gaussian_filter
from skimage.transform import resize
from torch import Tensor, nn

FEATURES = (4, 6, 8)


class Block(nn.Module):
    """Convolution, normalisation, leaky ReLU, and each a second time."""

    def __init__(
        self, inside: int, outside: int, kernel: Sequence[int], stride: Sequence[int]
    ) -> None:
        super().__init__()
        dims = len(kernel)
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
        norm = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}[dims]
        margin = [(side - 1) // 2 for side in kernel]
        self.conv = conv(inside, outside, tuple(kernel), tuple(stride), margin)
        self.norm = norm(outside, eps=1e-5, affine=True)
        self.nonlin = nn.LeakyReLU(inplace=True)
        self.all_modules = nn.Sequential(self.conv, self.norm, self.nonlin)

    def forward(self, x: Tensor) -> Tensor:
        return self.all_modules(x)


class Stack(nn.Module):
    """One block or more."""

    def __init__(
        self,
        count: int,
        inside: int,
        outside: int,
        kernel: Sequence[int],
        stride: Sequence[int],
    ) -> None:
        super().__init__()
        ones = [1] * len(kernel)
        self.convs = nn.Sequential(
            *(
                Block(outside if n else inside, outside, kernel, ones if n else stride)
                for n in range(count)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.convs(x)


class Encoder(nn.Module):
    def __init__(
        self, inside: int, kernels: Sequence[Any], strides: Sequence[Any]
    ) -> None:
        super().__init__()
        stages = []
        for outside, kernel, stride in zip(FEATURES, kernels, strides, strict=True):
            stages.append(nn.Sequential(Stack(2, inside, outside, kernel, stride)))
            inside = outside
        self.stages = nn.Sequential(*stages)


class Decoder(nn.Module):
    def __init__(
        self,
        encoder: Encoder,
        outputs: int,
        kernels: Sequence[Any],
        strides: Sequence[Any],
    ) -> None:
        super().__init__()
        self.encoder = encoder
        dims = len(kernels[0])
        up = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[dims]
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
        levels = range(len(FEATURES) - 2, -1, -1)
        self.stages = nn.ModuleList(
            Stack(1, 2 * FEATURES[n], FEATURES[n], kernels[n], [1] * dims)
            for n in levels
        )
        self.transpconvs = nn.ModuleList(
            up(FEATURES[n + 1], FEATURES[n], strides[n + 1], strides[n + 1])
            for n in levels
        )
        self.seg_layers = nn.ModuleList(conv(FEATURES[n], outputs, 1) for n in levels)


class PlainNetwork(nn.Module):
    """nnU-Net's PlainConvUNet of three stages, under its names."""

    def __init__(
        self,
        inside: int,
        outputs: int,
        kernels: Sequence[Any],
        strides: Sequence[Any],
    ) -> None:
        super().__init__()
        self.encoder = Encoder(inside, kernels, strides)
        self.decoder = Decoder(self.encoder, outputs, kernels, strides)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for stage in self.encoder.stages:
            x = stage(x)
            skips.append(x)
        for level, skip in enumerate(skips[-2::-1]):
            x = torch.cat((self.decoder.transpconvs[level](x), skip), dim=1)
            x = self.decoder.stages[level](x)
        return self.decoder.seg_layers[-1](x)


@dataclass
class Example:
    """A folder's contents, to be changed before it is written.

    Attributes:
        labels: Of dataset.json.
        channels: Its names.
        spacing: Of the network, transposed.
        patch: Windows.
        changes: Of the configuration.
        plans: Of plans.json.
        dataset: Of dataset.json.
        mirror: Axes of the checkpoint.
        trainer: Name of its class.
        folds: Names of its folds.
        num_outputs: Of the network; by default one for each label.
        extra_inputs: Channels of a previous stage.
        gain: Of the last layer, so that logits are not all alike.
        seed: Of the first fold's weights.
    """

    labels: dict[str, Any] = field(
        default_factory=lambda: {"background": 0, "organ": 1, "lesion": 2}
    )
    channels: tuple[str, ...] = ("MR",)
    spacing: tuple[float, ...] = (1.4, 1.0, 1.0)
    patch: tuple[int, ...] = (8, 12, 12)
    strides: Any = None
    kernels: Any = None
    changes: dict[str, Any] = field(default_factory=dict)
    plans: dict[str, Any] = field(default_factory=dict)
    dataset: dict[str, Any] = field(default_factory=dict)
    mirror: tuple[int, ...] | None = (0, 1, 2)
    trainer: str = "nnUNetTrainer"
    configuration: str = "3d_fullres"
    folds: tuple[str, ...] = ("0",)
    num_outputs: int | None = None
    extra_inputs: int = 0
    gain: float = 8.0
    seed: int = 0
    networks: list[PlainNetwork] = field(default_factory=list)

    def __post_init__(self) -> None:
        dims = len(self.patch)
        self.strides = self.strides or [[1] * dims, [2] * dims, [1, 2, 2][-dims:]]
        self.kernels = self.kernels or [[1, 3, 3][-dims:], [3] * dims, [3] * dims]

    def architecture(self) -> dict[str, Any]:
        dims = len(self.patch)
        return {
            "network_class_name": "dynamic_network_architectures.architectures.unet."
            "PlainConvUNet",
            "arch_kwargs": {
                "n_stages": 3,
                "features_per_stage": list(FEATURES),
                "conv_op": f"torch.nn.modules.conv.Conv{dims}d",
                "kernel_sizes": self.kernels,
                "strides": self.strides,
                "n_conv_per_stage": [2, 2, 2],
                "n_conv_per_stage_decoder": [1, 1],
                "conv_bias": True,
                "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dims}d",
                "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        }

    def plans_json(self) -> dict[str, Any]:
        function = "resample_data_or_seg_to_shape"
        common = {"order_z": 0, "force_separate_z": None}
        configuration = {
            "data_identifier": "data",
            "preprocessor_name": "DefaultPreprocessor",
            "batch_size": 2,
            "patch_size": list(self.patch),
            "spacing": list(self.spacing),
            "normalization_schemes": ["ZScoreNormalization"] * len(self.channels),
            "use_mask_for_norm": [False] * len(self.channels),
            "resampling_fn_data": function,
            "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, **common},
            "resampling_fn_seg": function,
            "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, **common},
            "resampling_fn_probabilities": function,
            "resampling_fn_probabilities_kwargs": {
                "is_seg": False,
                "order": 1,
                **common,
            },
            "architecture": self.architecture(),
            **self.changes,
        }
        return {
            "dataset_name": "Dataset900_example",
            "plans_name": "nnUNetPlans",
            "image_reader_writer": "SimpleITKIO",
            "transpose_forward": [0, 1, 2],
            "transpose_backward": [0, 1, 2],
            "label_manager": "LabelManager",
            "configurations": {self.configuration: configuration},
            "foreground_intensity_properties_per_channel": {
                str(n): {
                    "mean": 40.0,
                    "std": 25.0,
                    "percentile_00_5": -20.0,
                    "percentile_99_5": 95.0,
                }
                for n in range(len(self.channels))
            },
            **self.plans,
        }

    def write(self, folder: Path) -> Path:
        """Writes the folder; networks are made where there are none."""
        folder.mkdir(parents=True, exist_ok=True)
        plans = self.plans_json()
        dataset = {
            "channel_names": {str(n): name for n, name in enumerate(self.channels)},
            "labels": self.labels,
            "numTraining": 5,
            "file_ending": ".nii.gz",
            **self.dataset,
        }
        (folder / "plans.json").write_text(json.dumps(plans))
        (folder / "dataset.json").write_text(json.dumps(dataset))
        for number, fold in enumerate(self.folds):
            if len(self.networks) <= number:
                self.networks.append(self.network(seed=self.seed + number))
            place = folder / f"fold_{fold}"
            place.mkdir(exist_ok=True)
            torch.save(
                self.checkpoint(self.networks[number]), place / "checkpoint_final.pth"
            )
        return folder

    def network(self, *, seed: int) -> PlainNetwork:
        """A network whose logits differ from place to place; in eval mode."""
        torch.manual_seed(seed)
        outputs = self.num_outputs or len(self.labels) - ("ignore" in self.labels)
        network = PlainNetwork(
            len(self.channels) + self.extra_inputs, outputs, self.kernels, self.strides
        )
        with torch.no_grad():
            network.decoder.seg_layers[-1].weight.mul_(self.gain)
        return network.eval()

    def checkpoint(self, network: nn.Module) -> dict[str, Any]:
        """What a trainer saves."""
        return {
            "network_weights": network.state_dict(),
            "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01}]},
            "grad_scaler_state": None,
            "logging": {"mean_fg_dice": [np.float32(0.5)], "ema_fg_dice": [0.25]},
            "_best_ema": np.float64(0.25),
            "current_epoch": 1,
            "init_args": {
                "plans": {},
                "configuration": self.configuration,
                "fold": 0,
                "dataset_json": {},
                "device": torch.device("cpu"),
            },
            "trainer_name": self.trainer,
            "inference_allowed_mirroring_axes": self.mirror,
        }


def predict_slowly(
    example: Example, data: np.ndarray, spacing: Sequence[float], **options: Any
) -> np.ndarray:
    """nnU-Net's label map of an array in its reader's axes, by plain arithmetic.

    Args:
        example: Its networks, and what their folder says.
        data: Float32, shape (C, k, j, i).
        spacing: Along (k, j, i).
        options: ``normalize``: what is done to a cropped channel (z-score by default),
            given the channel and the mask of the filled non-zero region; ``order``:
            ``regions_class_order``; ``previous``: label map of the previous stage and
            its values; ``scores``: a list that gets the logits of the cropped scan,
            and the box, in transposed axes.
    """
    transpose = example.plans.get("transpose_forward", [0, 1, 2])
    data = data.astype(np.float32).transpose(0, *(axis + 1 for axis in transpose))
    spacing = [spacing[axis] for axis in transpose]
    full_shape = data.shape[1:]
    mask = binary_fill_holes((data != 0).any(axis=0))
    where = np.argwhere(mask)
    box = tuple(
        slice(a, b) for a, b in zip(where.min(0), where.max(0) + 1, strict=True)
    )
    data, mask = data[(slice(None), *box)], mask[box]
    normalize = options.get("normalize", lambda x, _: (x - x.mean()) / x.std())
    data = np.stack([normalize(channel, mask) for channel in data])
    target = list(example.spacing)
    if len(target) == 2:
        target = [spacing[0], *target]
    shape = [
        round(s / t * n)
        for s, t, n in zip(spacing, target, data.shape[1:], strict=True)
    ]
    apart = _long_axis(spacing, target)
    image = np.stack([_resized(channel, shape, 3, apart) for channel in data])
    if "previous" in options:
        labels, values = options["previous"]
        labels = labels.transpose(transpose)[box].astype(float)
        shares = np.stack(
            [_resized(labels == v, shape, 1, apart) for v in (0, *values)]
        )
        found = shares.argmax(axis=0)
        image = np.concatenate([image, [found == n + 1 for n in range(len(values))]])
    logits = np.mean(
        [
            _windowed(network, image.astype(np.float32), example).astype(np.float64)
            for network in example.networks
        ],
        axis=0,
    )
    back = [_resized(one, data.shape[1:], 1, apart) for one in logits]
    scores = np.stack(back).astype(np.float16).astype(np.float64)
    options.get("scores", []).append((scores, box))
    if "order" in options:
        part = np.zeros(data.shape[1:], int)
        for score, value in zip(scores, options["order"], strict=True):
            part[1 / (1 + np.exp(-score)) > 0.5] = value
    else:
        part = scores.argmax(axis=0)
    whole = np.zeros(full_shape, int)
    whole[box] = part
    return whole.transpose(np.argsort(transpose))


def _long_axis(*spacings: Sequence[float]) -> int | None:
    for spacing in spacings:
        if max(spacing) / min(spacing) > 3:
            return int(np.argmax(spacing))
    return None


def _resized(
    values: np.ndarray, shape: Sequence[int], order: int, apart: int | None
) -> np.ndarray:
    values = values.astype(float)
    if tuple(values.shape) == tuple(shape):
        return values
    options: Mapping[str, Any] = {"mode": "edge", "anti_aliasing": False}
    if apart is None:
        return resize(values, shape, order, **options)
    slices = np.moveaxis(values, apart, 0)
    flat = [n for axis, n in enumerate(shape) if axis != apart]
    slices = np.stack([resize(one, flat, order, **options) for one in slices])
    count = shape[apart]
    nearest = np.floor((np.arange(count) + 0.5) * len(slices) / count).astype(int)
    return np.moveaxis(slices[nearest], 0, apart)


def _windowed(network: nn.Module, image: np.ndarray, example: Example) -> np.ndarray:
    """Logits, blended by a Gaussian over windows that overlap by half."""
    patch = example.patch
    if len(patch) == 2:
        return np.stack(
            [
                _windowed_flat(network, image[:, n], example)
                for n in range(image.shape[1])
            ],
            axis=1,
        )
    return _windowed_flat(network, image, example)


def _windowed_flat(
    network: nn.Module, image: np.ndarray, example: Example
) -> np.ndarray:
    patch = example.patch
    pads = [max(p - n, 0) for p, n in zip(patch, image.shape[1:], strict=True)]
    width = [(0, 0), *((n // 2, n - n // 2) for n in pads)]
    padded = np.pad(image, width)
    point = np.zeros(patch)
    point[tuple(n // 2 for n in patch)] = 1
    weight = gaussian_filter(point, [n / 8 for n in patch], mode="constant")
    weight *= 10 / weight.max()
    weight = np.maximum(weight, weight[weight.astype(np.float16) > 0].min())
    starts = []
    for size, side in zip(padded.shape[1:], patch, strict=True):
        count = int(np.ceil((size - side) / (side / 2))) + 1
        starts.append(
            [round(n * (size - side) / max(count - 1, 1)) for n in range(count)]
        )
    axes = [axis + 2 for axis in example.mirror or ()]
    flips = [c for n in range(len(axes) + 1) for c in itertools.combinations(axes, n)]
    total = None
    weights = np.zeros(padded.shape[1:])
    for start in itertools.product(*starts):
        box = tuple(slice(s, s + n) for s, n in zip(start, patch, strict=True))
        window = torch.from_numpy(padded[(slice(None), *box)].copy())[None]
        with torch.no_grad():
            answers = [network(window.flip(f)).flip(f) for f in flips]
        answer = torch.stack(answers).double().mean(0)[0].numpy()
        if total is None:
            total = np.zeros((len(answer), *padded.shape[1:]))
        total[(slice(None), *box)] += answer * weight
        weights[box] += weight
    assert total is not None
    inside = tuple(
        slice(before, before + n)
        for (before, _), n in zip(width[1:], image.shape[1:], strict=True)
    )
    return (total / weights)[(slice(None), *inside)]
