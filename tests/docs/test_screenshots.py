"""Every page as people see it: wide and narrow, light and dark, of simulated scans.

The pictures of the documentation are made here: ``MEDSEG_WRITE_IMAGES=1 pytest -m slow
tests/docs/test_screenshots.py`` writes them to ``docs/images``; ``MEDSEG_BUDGET=20m``
trains longer than the test needs.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from chromium import Page, chromium, needs_chromium
from command_line import medseg
from PIL import Image

from medseg.testing.phantom import make_phantom_study

IMAGES = Path(__file__).parents[2] / "docs" / "images"
BUDGET = os.environ.get("MEDSEG_BUDGET", "60s")
SIZES = ((1440, 900), (390, 844))
READY = "document.documentElement.dataset.{0}"

pytestmark = [pytest.mark.slow, needs_chromium]


def done(*arguments: str | Path, code: int = 0) -> None:
    program = medseg(*arguments)
    assert program.returncode == code, program.stderr[-2000:]


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study, two runs on it, and what every verb that writes a page wrote of them."""
    pytest.importorskip("nilearn", reason="the simulated scans need the extra `demo`")
    folder = tmp_path_factory.mktemp("journey")
    study = make_phantom_study(folder / "study", num_cases=10)
    for name, loss in (("dice_ce", "dice_ce"), ("focal", "focal")):
        settings = ["--budget", BUDGET, "--set", f"training.loss.name={loss}"]
        train = ["train", "--data", study, "--fold", "0", *settings]
        done(*train, "-o", folder / "runs" / name, "--quiet")
    run = folder / "runs" / "dice_ce"
    done("predict", run, study / "imagesTr", "-o", folder / "found", "--quiet")
    done("inspect", run, "-o", folder / "network")
    both = [f"--runs={name}={folder / 'runs' / name}" for name in ("dice_ce", "focal")]
    done("compare", *both, "-o", folder / "compared")
    label = sorted((study / "labelsTr").glob("*.nii.gz"))[0]
    label.write_bytes(b"damaged")
    done("doctor", study, "-o", folder / "findings.html", code=1)
    return folder


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


def look_at(tab: Page, name: str, address: Path | str, until: str, out: Path) -> None:
    """Pictures of a page in every size and scheme; it must fit, and ask for nothing."""
    for width, height in SIZES:
        for scheme in ("light", "dark"):
            tab.show(width, height, scheme=scheme)
            tab.open(address, until=until)
            wide = tab.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{name}: {wide} pixels wide on {width}"
            picture = tab.picture()
            assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 30, name
            image = Image.fromarray(picture)
            image.save(out / f"{name}_{width}_{scheme}.webp", quality=72, method=6)
    assert tab.faults == [], name
    assert [asked for asked in tab.requests if "//127.0.0.1:" not in asked] == [], name


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return IMAGES if os.environ.get("MEDSEG_WRITE_IMAGES") else tmp_path


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("report", "runs/dice_ce/report.html"),
        ("predictions", "found/report.html"),
        ("network", "network/inspect.html"),
        ("comparison", "compared/report.html"),
        ("findings", "findings.html"),
    ],
)
def test_pages_fit_the_window_and_ask_for_nothing(journey, tab, out, name, page):
    look_at(tab, name, journey / page, READY.format("ready"), out)


def test_every_case_opens_from_the_report(journey, tab, out):
    report = (journey / "runs/dice_ce/report.html").read_text()
    pages = sorted(set(re.findall(r'href="(validation/viewer/[^"]+)"', report)))
    held_out = sorted(
        (journey / "runs/dice_ce/validation/predictions").glob("*.nii.gz")
    )
    assert len(pages) == len(held_out)
    where = journey / "runs" / "dice_ce" / pages[-1]
    look_at(tab, "viewer", where, READY.format("ready"), out)


@contextmanager
def desk_of(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-u", "-m", "medseg", "view", "--models"]
    program = subprocess.Popen(
        [*command, str(folder), "--no-browser", "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert program.stdout is not None
        lines = iter(program.stdout.readline, "")
        yield next(m[0] for line in lines if (m := re.search(r"http://\S+", line)))
    finally:
        program.terminate()
        program.wait()


def test_own_pictures_are_segmented_at_the_desk(journey, tab, out, tmp_path):
    """Slices of the simulated scans would be no pictures; whole scans are dropped."""
    scans = sorted((journey / "study" / "imagesTr").glob("*.nii.gz"))[:3]
    with desk_of(journey / "runs") as address:
        tab.show(1440, 900)
        tab.open(address, until=READY.format("state"))
        document = tab.call("DOM.getDocument")["root"]["nodeId"]
        chosen = tab.call("DOM.querySelector", nodeId=document, selector="#files")
        files = [str(scan) for scan in scans]
        tab.call("DOM.setFileInputFiles", files=files, nodeId=chosen["nodeId"])
        tab.wait("!document.querySelector('#start').disabled")
        tab.evaluate("document.querySelector('#start').click()")
        tab.wait("document.querySelector('#rows tbody a')", tries=6000)
        tab.wait("document.documentElement.dataset.state === 'idle'", tries=6000)
        shown = address.split("?")[0]
        loaded = "document.querySelector('#pictures img')?.naturalWidth"
        look_at(tab, "desk", shown, loaded, out)


def test_the_pictures_of_the_documentation_are_small():
    files = list(IMAGES.glob("*.webp"))
    assert sum(file.stat().st_size for file in files) < 2_000_000
