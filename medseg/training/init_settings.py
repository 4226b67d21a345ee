"""Settings of a training that begins with a trained model's weights."""

from pathlib import Path

from pydantic import Field

from medseg.settings import Settings


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
