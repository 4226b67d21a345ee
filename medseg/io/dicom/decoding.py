"""Decompressing pixels; whatever a decoder does with damaged bytes is one error."""

from pathlib import Path

import numpy as np

from medseg.errors import UnreadableFileError
from medseg.io.dicom.codestream import claimed_sizes
from medseg.io.dicom.elements import DicomDataset, quiet

_PANIC = "PanicException"
"""What decoders in Rust raise where they stumble; it is no `Exception`."""


def decoded(path: Path, *, what: str) -> np.ndarray:
    """The pixels of a DICOM file as they are stored, without rescaling.

    Args:
        path: The file.
        what: Names the pixels in the error message.

    Raises:
        UnreadableFileError: They cannot be decoded, or are more than the header says.
    """
    from pydicom import dcmread
    from pydicom.pixels.utils import pixel_array

    try:
        with quiet():
            dataset = dcmread(path, force=True)
            _require_sizes(dataset, path)
            return np.asarray(pixel_array(dataset, raw=True))
    except UnreadableFileError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise UnreadableFileError(
            f"{path}: {what} cannot be decoded ({reason})"
        ) from error


def _require_sizes(dataset: DicomDataset, path: Path) -> None:
    """Refuses frames whose stream claims another size than the header, undecoded.

    Raises:
        UnreadableFileError: One does, or there are fewer frames than the header says.
    """
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return
    from pydicom.encaps import generate_frames

    count = int(dataset.get("NumberOfFrames") or 1)
    expected = int(dataset.Rows), int(dataset.Columns)
    samples = int(dataset.get("SamplesPerPixel") or 1)
    found = 0
    for frame in generate_frames(dataset.PixelData, number_of_frames=count):
        found += 1
        for rows, columns, components in claimed_sizes(frame):
            if (rows or expected[0], columns) != expected or components != samples:
                raise UnreadableFileError(
                    f"{path}: frame {found} is compressed as {rows} × {columns} pixels "
                    f"of {components} values, the header says {expected[0]} × "
                    f"{expected[1]} of {samples}; export it again"
                )
    if found < count:
        raise UnreadableFileError(
            f"{path}: {found} frames found, the header says {count}; export it again"
        )
