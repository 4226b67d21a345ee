"""How to train: every number a study may want to vary."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from medseg.augmentation.settings import AugmentationSettings
from medseg.losses.settings import DiceCESettings, LossSettings
from medseg.plugins import PluginName
from medseg.sampling.settings import SamplingSettings
from medseg.settings import Settings
from medseg.training.length import Clock


class InitSettings(Settings):
    """The model that training begins with, and how its parts move.

    Learning rates are factors on ``training.optimizer.learning_rate``.

    Examples:
        >>> import medseg
        >>> settings = {"init": {"model": "runs/parent", "freeze_encoder": 0.3}}
        >>> medseg.RunConfig(training=settings).training.init.freeze_encoder
        0.3
    """

    model: str = Field(min_length=1)
    """Model folder, run, trained folder of nnU-Net, or the name of a model that comes
    with medseg; of several that predict together the first is taken."""
    freeze_encoder: float = Field(default=0.0, ge=0, le=1)
    """Share of the run over which the encoder stays as it is."""
    learning_rate_encoder: float = Field(default=1.0, gt=0)
    """Factor for the encoder."""
    learning_rate_decoder: float = Field(default=1.0, gt=0)
    """Factor for what is neither encoder nor head."""
    learning_rate_head: float = Field(default=1.0, gt=0)
    """Factor for the layers that depend on which structures there are."""
    channels: dict[str, str] = {}
    """The model's name of a channel by the data set's, where they differ."""
    structures: dict[str, str] = {}
    """The model's name of a structure by the data set's, where they differ."""
    encoder: tuple[str, ...] = ()
    """What the names of the encoder's weights begin with, for networks by path; of
    others it is known."""

    @property
    def whole_path(self) -> str:
        """The model by a path that means the same from any folder; names stay."""
        path = Path(self.model)
        return str(path.absolute()) if path.exists() else self.model

    @property
    def needs_encoder(self) -> bool:
        """Whether the encoder must be known from the decoder."""
        same = self.learning_rate_encoder == self.learning_rate_decoder
        return self.freeze_encoder > 0 or not same

    @property
    def tells_parts_apart(self) -> bool:
        """Whether parts of the network are trained each in its own way."""
        rates = (
            self.learning_rate_encoder,
            self.learning_rate_decoder,
            self.learning_rate_head,
        )
        return self.freeze_encoder > 0 or set(rates) != {1.0}


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: object) -> object:
    """Seconds meant by a text such as ``"15m"``, ``"90s"``, ``"1.5h"`` or ``"1h30m"``.

    A decimal number is taken as seconds: earlier versions wrote them so into the
    configuration of a run.

    Raises:
        ValueError: The text is no duration, or a whole number has no unit.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        raise ValueError(f"{text} has no unit; write {text}s, {text}m or {text}h")
    if not isinstance(text, str):
        return text
    seconds, number = 0.0, ""
    for character in text.replace(" ", ""):
        if character.isdigit() or character == ".":
            number += character
        elif character in _UNITS and number:
            seconds += float(number) * _UNITS[character]
            number = ""
        else:
            raise ValueError(f"{text!r} is no duration; write 90s, 15m or 1h30m")
    if number:
        raise ValueError(f"{text!r} has no unit; write 90s, 15m or 1h30m")
    return seconds


def format_duration(seconds: float) -> str:
    """A duration as `parse_duration` reads it, such as ``"900s"``."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    Field(gt=0),
    PlainSerializer(format_duration, when_used="json"),
]
"""Seconds; YAML and the command line write ``90s``, ``15m`` or ``1h30m``."""


class OptimizerSettings(Settings):
    """The optimiser and its learning rate."""

    name: Literal["adamw", "sgd"] | PluginName = "adamw"
    """``adamw`` (Loshchilov and Hutter 2019) or ``sgd`` with Nesterov momentum; or any
    of torch's or others by path, such as ``torch.optim:RAdam``."""
    args: dict[str, Any] = {}
    """Keyword arguments of an optimiser by path."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """The highest learning rate of the schedule."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """Decoupled for ``adamw``, added to the gradient for ``sgd``."""
    momentum: float = Field(default=0.99, ge=0, lt=1)
    """Of ``sgd`` only."""


class ScheduleSettings(Settings):
    """How the learning rate moves over the run, from start (0) to end (1)."""

    name: Literal["cosine", "polynomial", "constant"] | PluginName = "cosine"
    """The way down after warming up; or a function by path from the share of the run
    that is over, 0 to 1, to the factor on the learning rate."""
    args: dict[str, Any] = {}
    """Keyword arguments of a schedule by path."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the run over which the rate rises linearly from a twentieth."""
    power: float = Field(default=0.9, gt=0)
    """Exponent of ``polynomial``."""
    final: float = Field(default=0.01, ge=0, le=1)
    """Share of the highest rate that is left at the end of ``cosine``."""


class TrainingSettings(Settings):
    """Everything about a training run but its data and network."""

    budget: Duration | None = None
    """Wall-clock time, such as ``15m``; schedule and validation are fitted to it."""
    clock: Clock = "wall"
    """What the budget counts: ``wall``, time that passes, or ``cpu``, the processor
    time of the process on all its cores, so that a machine shared with others gives
    the same training; on a CPU only."""
    epochs: int | None = Field(default=None, ge=1)
    """Instead of a budget: passes over as many patches as there are cases."""
    steps: int | None = Field(default=None, ge=1)
    """Instead of a budget: optimiser steps."""
    init: InitSettings | None = None
    """The trained model to begin with; None begins with random weights."""
    optimizer: OptimizerSettings = OptimizerSettings()
    """The optimiser."""
    schedule: ScheduleSettings = ScheduleSettings()
    """The learning rate over the run."""
    loss: LossSettings = DiceCESettings()
    """What is minimised."""
    sampling: SamplingSettings = SamplingSettings()
    """Which patches are shown."""
    augmentation: AugmentationSettings | None = None
    """How patches are varied; None takes what suits the plan's patch and labels."""
    ema_decay: float = Field(default=0.999, ge=0, lt=1)
    """Decay per step of the averaged weights that are validated and saved; 0 turns
    averaging off. Early in a run the decay is lower: (1 + t) / (10 + t)."""
    gradient_clip: float = Field(default=12.0, gt=0)
    """Largest norm of the gradient; nnU-Net's value."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the convolutions. ``auto`` times a patch in each on a CPU and
    takes the fastest; on a GPU it takes bfloat16, or float16 where that is missing."""
    accumulate: int = Field(default=1, ge=1)
    """Parts that a batch is passed through the network in, so that larger batches fit
    into memory; the step is the same. Raised by itself when memory ends."""
    recompute: bool = False
    """Keep the input of each stage alone until the backward pass and compute the rest
    again: less memory, about a third more time. Turned on by itself when a single
    patch does not fit."""
    compile: Literal["auto", "on", "off"] = "auto"
    """``torch.compile``: ``auto`` tries it on a GPU for runs of 5 minutes or 2000
    steps and more; it is used where the loss stays the same and a step is faster."""
    deterministic: bool = False
    """On a GPU: take algorithms that give the same bits each time, compile nothing
    unless told to, and let no clock choose; slower. On a CPU runs are repeatable as
    they are."""
    early_stop: bool = False
    """Bring the run to its end where the mean Dice on whole validation cases has not
    risen by 0.001 over three validations."""
    validation_share: float = Field(default=0.08, gt=0, lt=0.5)
    """Largest share of the run spent on validating full volumes on the way."""
    validation_cases: int = Field(default=16, ge=1)
    """Most cases looked at on the way; the end of the run scores all of them."""
    checkpoint_every: Duration = 60.0
    """Time between checkpoints that ``--resume`` continues from."""
    seed: int = Field(default=0, ge=0)
    """One seed; sampling, augmentation and initial weights each get their own."""

    @model_validator(mode="after")
    def _one_length(self) -> "TrainingSettings":
        given = [
            name
            for name in ("budget", "epochs", "steps")
            if getattr(self, name) is not None
        ]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} given, choose one of them")
        return self
