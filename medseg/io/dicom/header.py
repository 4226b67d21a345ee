"""Reading one DICOM header, quickly, into frozen values.

pydicom parses; only the elements that are needed are converted, and the pixel data
are left where they are.
"""

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from medseg.errors import InputError, UnreadableFileError
from medseg.io.bytestream import open_file
from medseg.io.dicom.elements import (
    DicomDataset,
    ElementError,
    Elements,
    number_of,
    quiet,
    text_of,
)
from medseg.io.dicom.frame import (
    ATTRIBUTES,
    IMPLICIT,
    INCOMPLETE,
    PIXEL_ELEMENTS,
    PLAIN_SYNTAXES,
    TRAITS,
    DicomFile,
    Frame,
    Kind,
    PixelLayout,
    kind_of,
)
from medseg.io.dicom.multiframe import (
    FRAME_VECTORS,
    enhanced_frames,
    is_enhanced,
    is_mosaic,
    mosaic_frames,
    not_slices,
    plain_frames,
)
from medseg.io.dicom.placing import placing_of
from medseg.io.formats import looks_like_bare_dicom

_DEFLATED = "1.2.840.10008.1.2.1.99"
_GEOMETRY = (
    "SOPInstanceUID",
    "InstanceNumber",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
    "SpacingBetweenSlices",
    "SliceLocation",
    "DetectorInformationSequence",
    "FrameIncrementPointer",
    *FRAME_VECTORS,
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
_CSA = (0x00290010, 0x00291010, 0x00291020, 0x00190010, 0x0019100A)
WANTED: list[Any] = [*_GEOMETRY, *ATTRIBUTES, *TRAITS]

_HEAD_BYTES = 1 << 19
NOT_DICOM = "not a DICOM file"


def read_dicom_file(path: Path) -> DicomFile:
    """What one file is and, for an image, its frames.

    Raises:
        InputError: The file is missing, no DICOM, or its header is damaged.
    """
    dataset, offset = read_header(path)
    with quiet():
        try:
            return _describe(Elements(dataset), path, offset)
        except InputError:
            raise
        except Exception as error:  # elements that cannot be converted
            raise _damaged(path, error) from error


def read_header(
    path: Path, *, wanted: Sequence[Any] | None = None
) -> tuple[DicomDataset, int]:
    """The elements before the pixel data, and the byte at which these begin.

    Args:
        path: A DICOM file, with or without preamble.
        wanted: Elements to keep, all if empty; None keeps those of `WANTED`.

    Raises:
        InputError: The file is missing, no DICOM, or damaged.
    """
    with open_file(path) as stream:
        head = stream.read(132 + 8)
        is_part10 = head[128:132] == b"DICM"
        if not is_part10 and not looks_like_bare_dicom(head):
            raise UnreadableFileError(f"{path}: {NOT_DICOM}")
        stream.seek(0)
        with quiet():
            try:
                return _parse(stream, wanted, is_bare=not is_part10)
            except OSError:
                raise
            except Exception as error:  # a parser fed with damaged bytes
                raise _damaged(path, error) from error


def _parse(
    stream: BinaryIO, wanted: Sequence[Any] | None, *, is_bare: bool
) -> tuple[DicomDataset, int]:
    """The header from the file's first bytes where these hold it, else from the file.

    Parsing from memory is faster, and most headers are short.
    """
    import pydicom

    tags = _wanted_tags() if wanted is None else list(wanted)
    head = io.BytesIO(stream.read(_HEAD_BYTES))
    for source in (head, stream):
        source.seek(0)
        try:
            dataset = pydicom.dcmread(
                source, stop_before_pixels=True, specific_tags=tags, force=is_bare
            )
        except Exception:
            if source is stream:
                raise
            continue
        offset = source.tell()
        if source is stream or _is_pixel_element(head, offset):
            break
    return dataset, offset


def _is_pixel_element(head: io.BytesIO, offset: int) -> bool:
    head.seek(offset)
    return head.read(4) in PIXEL_ELEMENTS


@cache
def _wanted_tags() -> list[Any]:
    from pydicom.tag import Tag

    return [Tag(name) for name in WANTED]


def _require_pixels(path: Path, layout: PixelLayout) -> None:
    """Refuses a file that ends before its pixels do, without reading them.

    Raises:
        UnreadableFileError: It holds no pixel data, or fewer than it says.
    """
    size = path.stat().st_size
    if layout.offset + 8 >= size:
        raise UnreadableFileError(
            f"{path}: the file ends before its pixel data; export it again"
        )
    if layout.syntax not in PLAIN_SYNTAXES:
        return
    count = layout.num_frames * layout.rows * layout.columns * layout.samples
    needed = count * layout.bits_allocated // 8
    if not 0 < needed <= size - layout.offset:
        raise UnreadableFileError(
            f"{path}: {layout.num_frames} × {layout.rows} × {layout.columns} pixels "
            f"of {layout.bits_allocated} bits expected, {size - layout.offset} bytes "
            "found; export it again"
        )


def _damaged(path: Path, error: BaseException) -> UnreadableFileError:
    what = str(error) if isinstance(error, ElementError) else type(error).__name__
    return UnreadableFileError(
        f"{path}: the DICOM header is damaged ({what}); export the file again"
    )


def _describe(dataset: Elements, path: Path, offset: int) -> DicomFile:
    attributes = {name: text_of(dataset, name) for name in ATTRIBUTES}
    if not attributes["SOPClassUID"]:  # a DICOMDIR says what it is in its meta header
        meta = getattr(dataset.dataset, "file_meta", {})
        attributes["SOPClassUID"] = str(meta.get("MediaStorageSOPClassUID", ""))
    syntax = _syntax_of(dataset)
    kind, reason = kind_of(attributes, dataset)
    if reason == INCOMPLETE:
        raise UnreadableFileError(f"{path}: {reason}")
    frames: tuple[Frame, ...] = ()
    if syntax == _DEFLATED:
        kind, reason = Kind.OTHER, "deflated transfer syntax, which is not supported"
    elif kind is Kind.IMAGE:
        layout = _pixel_layout(dataset, offset, syntax)
        reason = reason or not_slices(dataset, layout.num_frames)
        if not reason:
            _require_pixels(path, layout)
            frames = _frames(dataset, path, layout)
    return DicomFile(path, kind, reason, attributes, frames)


def _pixel_layout(dataset: Elements, offset: int, syntax: str) -> PixelLayout:
    allocated = int(dataset.get("BitsAllocated"))
    stored = int(number_of(dataset, "BitsStored", allocated))
    is_signed = bool(number_of(dataset, "PixelRepresentation", 0))
    return PixelLayout(
        offset=offset,
        syntax=syntax,
        num_frames=int(number_of(dataset, "NumberOfFrames", 1)),
        rows=int(dataset.get("Rows")),
        columns=int(dataset.get("Columns")),
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=int(number_of(dataset, "HighBit", stored - 1)),
        is_signed=is_signed,
        photometric=text_of(dataset, "PhotometricInterpretation"),
        samples=int(number_of(dataset, "SamplesPerPixel", 1)),
        padding=dataset.stored_integer("PixelPaddingValue", is_signed=is_signed),
        padding_limit=dataset.stored_integer(
            "PixelPaddingRangeLimit", is_signed=is_signed
        ),
    )


def frames_of_object(
    dataset: DicomDataset, path: Path, offset: int
) -> tuple[Frame, ...]:
    """The frames of an object whose header was read already, whatever its kind."""
    elements = Elements(dataset)
    layout = _pixel_layout(elements, offset, _syntax_of(elements))
    return _frames(elements, path, layout)


def _syntax_of(elements: Elements) -> str:
    meta = elements.dataset.file_meta
    return str(getattr(meta, "TransferSyntaxUID", "") or IMPLICIT)


def _frames(dataset: Elements, path: Path, pixels: PixelLayout) -> tuple[Frame, ...]:
    frame = _first_frame(dataset, path, pixels)
    if is_enhanced(dataset):
        return enhanced_frames(dataset, frame)
    if is_mosaic(text_of(dataset, "ImageType")):
        private, _ = read_header(path, wanted=(*_GEOMETRY, *_CSA))
        return mosaic_frames(private, frame)
    if pixels.num_frames > 1:
        return plain_frames(dataset, frame)
    return (frame,)


def _first_frame(dataset: Elements, path: Path, pixels: PixelLayout) -> Frame:
    """The one frame of a file without functional groups, or the first of several."""
    placing = placing_of(dataset)
    return Frame(
        path=path,
        index=0,
        tile=None,
        rows=pixels.rows,
        columns=pixels.columns,
        position=placing.position,
        orientation=placing.orientation,
        pixel_spacing=placing.pixel_spacing,
        slope=number_of(dataset, "RescaleSlope", 1.0),
        intercept=number_of(dataset, "RescaleIntercept", 0.0),
        instance=int(number_of(dataset, "InstanceNumber", 0)),
        sop_uid=text_of(dataset, "SOPInstanceUID"),
        traits=tuple(text_of(dataset, name) for name in TRAITS),
        pixels=pixels,
        lacks=placing.lacks,
        remarks=placing.remarks,
    )
