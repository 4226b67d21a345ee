"""Decompressing pixels; whatever a decoder does with damaged bytes is one error."""

from pathlib import Path

import numpy as np

from medseg.errors import UnreadableFileError
from medseg.io.dicom.elements import quiet

_PANIC = "PanicException"
"""What decoders in Rust raise where they stumble; it is no `Exception`."""


def decoded(path: Path, *, what: str) -> np.ndarray:
    """The pixels of a DICOM file as they are stored, without rescaling.

    Args:
        path: The file.
        what: Names the pixels in the error message.

    Raises:
        UnreadableFileError: They cannot be decoded.
    """
    from pydicom.pixels.utils import pixel_array

    try:
        with quiet():
            return np.asarray(pixel_array(path, raw=True))
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise UnreadableFileError(
            f"{path}: {what} cannot be decoded ({reason})"
        ) from error
