"""The page of a folder of predictions."""

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from predict_phantoms import SECRETS, Predict, planted_series

from medseg.evaluation.pairs import references_in
from medseg.geometry import affine_from_spacing
from medseg.io import write_volume
from medseg.prediction.segmenter import ScanOptions
from medseg.volume import Volume

PAGE = ScanOptions(page=True)


class Shown(HTMLParser):
    """Text, pictures and what would be loaded from elsewhere."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.text, self.pictures, self.loaded = "", [], []
        self.feed(page.read_text())

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag == "img" and "src" in found:
            self.pictures.append(found["alt"])
        self.loaded += [v for k, v in attrs if k in ("src", "href", "data-full")]

    def handle_data(self, data):
        self.text += data


def scan(path: Path, seed: int) -> None:
    voxels = np.random.default_rng(seed).normal(size=(1, 24, 28, 20)).astype(np.float32)
    path.parent.mkdir(exist_ok=True)
    write_volume(path, Volume(voxels, affine_from_spacing((1.0, 1.0, 1.5))))


def test_every_scan_is_on_the_page_failures_first(
    model: Path, call: Predict, tmp_path: Path
) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    scan(scans / "b.nii.gz", 1)
    scan(scans / "a.nii.gz", 2)
    (scans / "broken.nii.gz").write_bytes(b"no scan at all")
    call(model, scans, tmp_path / "out", options=PAGE)
    shown = Shown(tmp_path / "out" / "report.html")
    assert sorted(shown.pictures) == ["Overlay of a", "Overlay of b"]
    body = shown.text[shown.text.rindex("Failed and set aside") :]
    assert body.index("broken") < body.index("Pictures") < body.index("Every scan")
    assert "ball [ml]" in body
    pages = {"viewer/a.html", "viewer/b.html"}
    assert all(link.startswith(("data:", "#")) for link in set(shown.loaded) - pages)
    assert shown.loaded.count("viewer/a.html") == 2  # by its picture and its row
    page = (tmp_path / "out" / "viewer" / "a.html").read_text()
    assert '<a href="../report.html">' in page


def test_what_is_there_already_stays_on_the_page(
    model: Path, call: Predict, tmp_path: Path
) -> None:
    scan(tmp_path / "one.nii.gz", 1)
    scan(tmp_path / "two.nii.gz", 2)
    for name in ("one", "two", "one"):
        call(model, tmp_path / f"{name}.nii.gz", tmp_path / "out", options=PAGE)
    shown = Shown(tmp_path / "out" / "report.html")
    assert sorted(shown.pictures) == ["Overlay of one", "Overlay of two"]


def test_the_page_names_no_patient(model: Path, call: Predict, tmp_path: Path) -> None:
    planted_series(tmp_path / "scans")
    call(model, tmp_path / "scans", tmp_path / "out", options=PAGE)
    text = (tmp_path / "out" / "report.html").read_text()
    assert "Overlay of" in text
    pages = sorted((tmp_path / "out" / "viewer").glob("*.html"))
    assert pages
    for shown in (text, *(page.read_text() for page in pages)):
        assert not [secret for secret in SECRETS if secret in shown]


def test_a_scan_that_cannot_be_drawn_is_segmented_all_the_same(
    model: Path, call: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medseg.errors import GridMismatchError
    from medseg.reporting import mosaic

    def fail(*_: object, **__: object) -> None:
        raise GridMismatchError("planted")

    monkeypatch.setattr(mosaic, "make_tile", fail)
    scan(tmp_path / "one.nii.gz", 1)
    (line,) = call(model, tmp_path / "one.nii.gz", tmp_path / "out", options=PAGE)
    assert line.status == "done"
    shown = Shown(tmp_path / "out" / "report.html")
    assert shown.pictures == []
    assert "1 scans are not pictured" not in shown.text  # no section without pictures


def test_nothing_of_it_is_written_unless_asked(
    model: Path, call: Predict, tmp_path: Path
) -> None:
    scan(tmp_path / "one.nii.gz", 1)
    call(model, tmp_path / "one.nii.gz", tmp_path / "out")
    assert not (tmp_path / "out" / "report.html").exists()
    assert not (tmp_path / "out" / ".pictures").exists()
    assert not (tmp_path / "out" / "viewer").exists()


def test_drawing_without_a_home_says_nothing_of_it(model: Path, tmp_path: Path) -> None:
    scan(tmp_path / "one.nii.gz", 1)
    program = [sys.executable, "-m", "medseg", "predict"]
    paths = [str(model), str(tmp_path / "one.nii.gz"), "-o", str(tmp_path / "out")]
    nowhere = {"HOME": os.devnull, "XDG_CONFIG_HOME": "", "XDG_CACHE_HOME": ""}
    options = ["--engine", "torch", "--precision", "float32"]
    done = subprocess.run(
        [*program, *paths, *options],
        env=dict(os.environ) | nowhere,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (tmp_path / "out" / "report.html").is_file()
    assert "MPLCONFIGDIR" not in done.stderr


def test_pictures_are_no_predictions_and_no_scans(
    model: Path, call: Predict, tmp_path: Path
) -> None:
    scan(tmp_path / "scans" / "one.nii.gz", 1)
    out = tmp_path / "scans" / "segmented"
    for _ in range(2):
        lines = call(model, tmp_path / "scans", out, options=PAGE)
        assert [line.scan for line in lines] == ["one"]
    assert list(references_in(out)) == ["one"]
