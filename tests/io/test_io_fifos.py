"""What is no file is never opened to see what it holds: a FIFO would wait for ever."""

import os
from pathlib import Path
from typing import Any

import pytest

from medseg.io.formats import Format, format_or_none, has_dicom_magic, is_scan


@pytest.fixture(params=["itself", "link"])
def named(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Gives a FIFO, or a link to one, of a name; opening it fails the test."""

    def make(name: str) -> Path:
        path = tmp_path / name
        if request.param == "itself":
            os.mkfifo(path)
        else:
            os.mkfifo(tmp_path / "pipe")
            path.symlink_to(tmp_path / "pipe")
        return path

    really = Path.open

    def opened(path: Path, *args: Any, **options: Any) -> Any:
        assert not path.is_fifo(), f"{path.name} was opened, and would wait for ever"
        return really(path, *args, **options)

    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no FIFOs")
    monkeypatch.setattr(Path, "open", opened)
    return make


@pytest.mark.parametrize(
    "name", ["a.nrrd", "a.nii", "a.nii.gz", "a.mhd", "a.png", "a.tif", "a.dcm", "a.img"]
)
def test_the_name_alone_says_what_a_fifo_claims_to_be(named: Any, name: str) -> None:
    path = named(name)
    assert isinstance(format_or_none(path), Format)
    assert not has_dicom_magic(path)
    is_scan(path)


def test_a_fifo_without_a_suffix_is_no_scan(named: Any) -> None:
    path = named("IM001")
    assert format_or_none(path) is None
    assert not is_scan(path)
