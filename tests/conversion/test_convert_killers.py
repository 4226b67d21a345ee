"""A file that kills its decoder is a failed line, and is remembered."""

import io
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from dicom_phantom import voxels, write_series
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from medseg.conversion.convert import convert
from medseg.reading import REMEMBERED, pool
from medseg.reading.remembered import UNREADABLE


def write_jpeg_without_tables(folder: Path) -> None:
    """A slice whose quantisation tables are gone: GDCM ends the process."""
    (path,) = write_series(folder, voxels((16, 16, 1)))
    dataset = pydicom.dcmread(path)
    stream = io.BytesIO()
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(pixels).save(stream, "JPEG")
    data = bytearray(stream.getvalue())
    place = data.index(b"\xff\xdb")
    data[place : place + 2] = b"\0\0"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = encapsulate([bytes(data)])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.save_as(path)


def test_the_others_are_done_and_the_killer_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, out = tmp_path / "in", tmp_path / "out"
    write_jpeg_without_tables(tree / "odd")
    image = nibabel.Nifti1Image(np.ones((3, 4, 5), np.int16), np.eye(4))
    nibabel.save(image, tree / "good.nii.gz")
    for status in ("done", "unchanged"):
        lines = convert(tree, out, key_path=tmp_path / "key").conversions
        (good,) = (line for line in lines if line.kind == "file")
        (killer,) = (line for line in lines if line.kind != "file")
        assert good.status == status
        assert killer.status == "failed", killer
        assert killer.reason
        if status == "done" and not (out / UNREADABLE).exists():
            pytest.skip("this decoder survives it")
        REMEMBERED._reasons.clear()  # as another process would begin
        monkeypatch.setattr(pool._Reader, "ask", _refuse_series(pool._Reader.ask))


def _refuse_series(ask: "callable") -> "callable":  # type: ignore[valid-type]
    """A reader that must not be asked for the voxels of a series again."""

    def checked(self: object, call: pool.Call, seconds: float | None) -> object:
        assert "series" not in call.shown, "the killer was tried again"
        return ask(self, call, seconds)  # type: ignore[misc]

    return checked
