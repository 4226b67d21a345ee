"""A picture that notebooks show and programs save."""

from dataclasses import dataclass, field
from pathlib import Path

from medseg.errors import MissingFileError
from medseg.files import atomic_write
from medseg.types import AnyPath


@dataclass(frozen=True)
class Picture:
    """A PNG; a notebook shows it where it is the last value of a cell.

    Attributes:
        png: The file's bytes.

    Examples:
        >>> import medseg
        >>> picture = medseg.Run("runs/tiny").picture  # trained by medseg.train
        >>> picture.save("held_out.png")
    """

    png: bytes = field(repr=False)

    @classmethod
    def read(cls, path: AnyPath) -> "Picture":
        """The picture of a PNG file.

        Raises:
            MissingFileError: There is none.
        """
        try:
            return cls(Path(path).read_bytes())
        except FileNotFoundError as error:
            raise MissingFileError(f"{path}: no such picture") from error

    def save(self, path: AnyPath) -> None:
        """Writes the PNG file, whole or not at all.

        Raises:
            OutputError: It cannot be written.
        """
        with atomic_write(Path(path)) as temporary:
            temporary.write_bytes(self.png)

    def _repr_png_(self) -> bytes:
        """What IPython asks for."""
        return self.png
