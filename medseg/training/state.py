"""Everything that changes while training, so that all of it can be saved."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from medseg.device import random_state, set_random_state
from medseg.errors import PluginError
from medseg.networks.build import build_network
from medseg.networks.network import SegmentationNetwork
from medseg.networks.pretrained import load_pretrained
from medseg.networks.transfer import InitialWeights
from medseg.plan import Plan
from medseg.plugins import find
from medseg.progress import Progress
from medseg.training.parts import learning_rates, parts_of
from medseg.training.process_group import ProcessGroup
from medseg.training.settings import OptimizerSettings, TrainingSettings


class AveragedWeights:
    """A second copy of a network whose weights trail the trained ones.

    The decay at step t is min(decay, (1 + t) / (10 + t)), so that the first steps do
    not weigh for long (as in TensorFlow's ExponentialMovingAverage).

    References:
        Polyak and Juditsky, SIAM J Control Optim 1992, doi:10.1137/0330046.
    """

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        self.network = copy.deepcopy(network).eval()
        for parameter in self.network.parameters():
            parameter.requires_grad = False
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Moves towards the network's weights after a step (counted from 0)."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        averaged: list[Tensor] = list(self.network.parameters())
        torch._foreach_lerp_(averaged, list(network.parameters()), weight)
        for mine, other in zip(self.network.buffers(), network.buffers(), strict=True):
            mine.copy_(other)


@dataclass
class TrainingState:
    """What a checkpoint holds."""

    network: nn.Module
    averaged: AveragedWeights | None
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    precision: str = "float32"
    step: int = 0
    seconds: float = 0.0
    """Time spent training, over all parts of a resumed run."""
    best_dice: float = -1.0
    """Best mean Dice on the validation cases looked at on the way."""
    next_look: float = 0.0
    """Share of the run after which the next look is due."""
    validations: list[float] = field(default_factory=list)
    """Mean Dice of every look so far."""
    cut_at: float = 0.0
    """Share of the run at which it was cut short; 0 where it was not."""
    batches: dict[str, Any] = field(default_factory=dict)
    """State of the batch source after the last batch that was trained on."""
    processes: ProcessGroup = field(default_factory=ProcessGroup)
    """The processes that take each step together."""
    in_parts: bool = False
    """Whether a step's patches go through the network in several parts."""
    runner: nn.Module | None = None
    """The network as a step calls it, such as with gradients shared; None as it is."""
    _called: nn.Module = field(init=False, repr=False)
    """The same, gradients not being shared."""

    def __post_init__(self) -> None:
        """Steps call the network as it is until `run_with` says otherwise."""
        self._called = self.network

    def share_with(
        self, processes: ProcessGroup, device: torch.device, *, in_parts: bool = False
    ) -> None:
        """Takes each step together with other processes, once `run_with` was called.

        Random numbers of layers, such as dropout's, differ from process to process.

        Args:
            processes: All of them.
            device: Of this process.
            in_parts: Whether a process passes its share of a batch in several parts.
        """
        self.processes, self.in_parts = processes, in_parts
        if processes.size == 1:
            return
        if device.type == "cuda":  # statistics over the whole batch, as alone
            nn.SyncBatchNorm.convert_sync_batchnorm(self.network)  # type: ignore[no-untyped-call]
        if not processes.is_main:
            torch.manual_seed(
                torch.initial_seed() + self.step * processes.size + processes.number
            )

    def run_with(self, network: nn.Module) -> None:
        """Steps call this form of the network, such as a compiled one, from now on.

        What shares gradients listens to every backward pass of the network: trials of
        steps come before.
        """
        # torch cannot record a graph while gradients are kept back (no_sync)
        same = _takes_one_way(self.network) and not self.in_parts
        self._called, self.runner = network, None
        self.runner = self.processes.parallel(network, self.device, same_graph=same)

    def share_gradients_anew(self) -> None:
        """To be called after parameters began or ceased to be trained."""
        if self.processes.size > 1:
            self.run_with(self._called)

    @property
    def device(self) -> torch.device:
        """Where the network is trained."""
        return next(self.network.parameters()).device

    @property
    def validated_network(self) -> nn.Module:
        """The network that is scored and saved: averaged, where there is one."""
        return self.averaged.network if self.averaged is not None else self.network

    def to_values(self) -> dict[str, Any]:
        """Tensors and plain values, readable with ``weights_only=True``."""
        return {
            "network": self.network.state_dict(),
            "averaged": (
                None if self.averaged is None else self.averaged.network.state_dict()
            ),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "precision": self.precision,
            "step": self.step,
            "seconds": self.seconds,
            "best_dice": self.best_dice,
            "next_look": self.next_look,
            "looks": self.validations,
            "cut_at": self.cut_at,
            "batches": self.batches,
            "torch_rng": torch.get_rng_state(),
            "device_rng": random_state(self.device),
        }

    def restore(self, values: dict[str, Any]) -> None:
        """Takes over what `to_values` gave."""
        self.network.load_state_dict(values["network"])
        if self.averaged is not None:
            self.averaged.network.load_state_dict(values["averaged"])
        self.optimizer.load_state_dict(values["optimizer"])
        self.precision = values["precision"]
        self.scaler = loss_scaler(self.device, self.precision)
        if values["scaler"]:  # empty where it was off
            self.scaler.load_state_dict(values["scaler"])
        self.step = values["step"]
        self.seconds = values["seconds"]
        self.best_dice = values["best_dice"]
        self.next_look = values["next_look"]
        self.validations = values.get("looks", [])
        self.cut_at = values.get("cut_at", 0.0)
        self.batches = values["batches"]
        torch.set_rng_state(values["torch_rng"])
        set_random_state(self.device, values.get("device_rng"))


def _takes_one_way(network: nn.Module) -> bool:
    """Whether steps use the same layers: a presence head is left out of some."""
    return isinstance(network, SegmentationNetwork) and network.presence is None


def loss_scaler(device: torch.device, precision: str) -> torch.amp.GradScaler:
    """Keeps gradients of float16 above zero; does nothing for other formats."""
    return torch.amp.GradScaler(device.type, enabled=precision == "float16")


def build_optimizer(
    network: nn.Module,
    settings: OptimizerSettings,
    *,
    rates: Mapping[str, float] | None = None,
) -> torch.optim.Optimizer:
    """The optimiser; weight decay acts on kernels only, not on biases and norms.

    Args:
        network: What it moves.
        settings: Which, and its numbers.
        rates: Factor on the learning rate of each parameter; None: 1 for all.

    Raises:
        PluginError: One by path cannot be found, or is none.
    """
    groups = _groups(network, settings.weight_decay, rates)
    if settings.name not in {"adamw", "sgd"}:
        plugin = find(settings.name, kind="optimizers")
        made = plugin.build(groups, lr=settings.learning_rate, **settings.args)
        if not isinstance(made, torch.optim.Optimizer):
            raise PluginError(
                f"optimiser {settings.name}: expected a torch.optim.Optimizer, found "
                f"{type(made).__name__}"
            )
        return made
    device = next(network.parameters()).device
    if settings.name == "sgd":
        return torch.optim.SGD(
            groups,
            lr=settings.learning_rate,
            momentum=settings.momentum,
            nesterov=settings.momentum > 0,
            fused=_has_fused_steps(device),
        )
    return torch.optim.AdamW(
        groups, lr=settings.learning_rate, fused=_has_fused_steps(device)
    )


def _groups(
    network: nn.Module, weight_decay: float, rates: Mapping[str, float] | None
) -> list[dict[str, Any]]:
    """Kernels and other parameters apart, and again by their learning rate."""
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for rate in dict.fromkeys(rates.values()) if rates else (1.0,):
        for decays in (True, False):
            group: dict[str, Any] = {"params": []}
            group["weight_decay"] = weight_decay if decays else 0.0
            groups[rate, decays] = group if rates is None else {**group, "rate": rate}
    for name, parameter in network.named_parameters():
        rate = 1.0 if rates is None else rates[name]
        groups[rate, parameter.ndim > 1]["params"].append(parameter)
    return list(groups.values())


def _has_fused_steps(device: torch.device) -> bool:
    """Whether torch's optimisers take a step in one kernel there."""
    return device.type in {"cpu", "cuda", "xpu"}


def fresh_state(
    plan: Plan,
    settings: TrainingSettings,
    device: torch.device,
    progress: Progress | None = None,
    *,
    initial: InitialWeights | None = None,
) -> TrainingState:
    """Network, averaged copy and optimiser at step 0; weights follow the seed.

    Args:
        plan: What was decided about the data.
        settings: How to train.
        device: Where.
        progress: Is told what was taken from a file of encoder weights or a model.
        initial: Weights of a trained model to begin with.

    Raises:
        MedsegError: The settings name a file of encoder weights that cannot be used,
            or the trained model does not fit.
    """
    torch.manual_seed(settings.seed)
    network = build_network(
        plan.network,
        spatial_dims=plan.spatial_dims,
        in_channels=len(plan.channels),
        out_channels=plan.num_outputs,
    )
    taken = (
        load_pretrained(network, plan.network)
        if initial is None
        else initial.put_into(network, plan.network)
    )
    if taken and progress is not None:
        progress.say(taken)
    network = network.to(device).train()
    if device.type == "cpu":  # elsewhere normalisation would undo it at every layer
        layout = (torch.channels_last, torch.channels_last_3d)[plan.spatial_dims - 2]
        network = network.to(memory_format=layout)  # type: ignore[call-overload]
    return TrainingState(
        network=network,
        averaged=(
            AveragedWeights(network, decay=settings.ema_decay)
            if settings.ema_decay > 0
            else None
        ),
        optimizer=build_optimizer(
            network, settings.optimizer, rates=_rates(network, plan, settings)
        ),
        scaler=loss_scaler(device, "float32"),
    )


def _rates(
    network: SegmentationNetwork, plan: Plan, settings: TrainingSettings
) -> dict[str, float] | None:
    """The factor on the learning rate of each parameter; None where all are alike."""
    init = settings.init
    if init is None or not init.tells_parts_apart:
        return None
    return learning_rates(parts_of(network, plan.network, init), init)
