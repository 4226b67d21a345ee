"""Every page as people see it: wide and narrow, light and dark, of generated data.

The pictures of ``docs/pages.md`` are made here:

    MEDSEG_WRITE_IMAGES=1 pytest -m slow tests/docs/test_screenshots.py

writes them to ``docs/images/pages``. Without the variable pages are opened and checked,
and no picture is kept.
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
import shown_pages
from chromium import Page, chromium, needs_chromium
from PIL import Image

DOCS = Path(__file__).parents[2] / "docs"
IMAGES = DOCS / "images" / "pages"
WRITE = "MEDSEG_WRITE_IMAGES"
MOST_BYTES = 4_000_000
SIZES = ((1440, 900), (390, 844))
SCHEMES = ("light", "dark")
FILES = {
    "report": f"{shown_pages.RUN}/report.html",
    "comparison": "losses/report.html",
    "evaluation": "scores/report.html",
    "predictions": "found/report.html",
    "predictions_cells": "cells_found/report.html",
    "network": "network/inspect.html",
    "findings": "findings.html",
    "viewer": "scores/viewer/phantom_001.html",
    "viewer_cells": "cells_found/viewer/cells_01.html",
}
SHOWN = {"comparison": "#differences"}
"""Parts of pages that a picture begins with."""
SERVED = ("folder", "desk", "desk_results")
READY = "document.documentElement.dataset.ready"
BEYOND = """[...document.querySelectorAll("body *")].filter((element) => {
  const box = element.getBoundingClientRect();
  const style = getComputedStyle(element);
  if (!box.width || !box.height || style.visibility === "hidden") return false;
  for (let above = element.parentElement; above; above = above.parentElement)
    if (getComputedStyle(above).overflowX !== "visible") return false;
  return box.right > innerWidth + 1 || box.left < -1;
}).map((element) => `${element.tagName} ${element.className} ${element.textContent}`
  .slice(0, 80))"""
"""Visible elements that reach beyond the window, unless a box around them scrolls."""
SMALL = """[...document.querySelectorAll("body *")].filter((element) =>
  [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())
  && element.getBoundingClientRect().width
  && parseFloat(getComputedStyle(element).fontSize)
    * (element.closest("svg")?.getScreenCTM().a ?? 1) < 9.5
).map((element) => `${element.tagName} ${element.textContent}`.slice(0, 80))"""
"""Words in letters that a phone's user cannot read."""

slow = pytest.mark.slow


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the verbs wrote."""
    pytest.importorskip("nilearn", reason="the simulated scans need the extra `demo`")
    folder = tmp_path_factory.mktemp("pages")
    shown_pages.make_runs(folder)
    shown_pages.make_predictions(folder)
    shown_pages.make_scores(folder)
    shown_pages.make_cells(folder)
    shown_pages.make_other_pages(folder)
    return folder


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = IMAGES if os.environ.get(WRITE) else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def look_at(
    tab: Page, name: str, address: Path | str, out: Path, *, until: str = READY
) -> None:
    """A page in every size and scheme: it fits, is read, and asks nobody else."""
    tab.faults.clear()
    tab.requests.clear()
    problems = []
    for width, height in SIZES:
        for scheme in SCHEMES:
            tab.show(width, height, scheme=scheme)
            tab.open(address, until=until)
            wide = tab.evaluate("document.documentElement.scrollWidth")
            found = {
                "page wider than the window": [wide] if wide > width else [],
                "beyond the window": tab.evaluate(BEYOND),
                "too small to read": tab.evaluate(SMALL),
            }
            problems += [
                f"{name}, {width} pixels, {scheme}: {what}: {which}"
                for what, which in found.items()
                if which
            ]
            if part := SHOWN.get(name):
                place = f"document.querySelector({part!r})"
                tab.evaluate(f"{place}.scrollIntoView({{behavior: 'instant'}})")
            picture = tab.picture()
            assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 30, name
            image = Image.fromarray(picture)
            image.save(out / f"{name}_{width}_{scheme}.webp", quality=74, method=6)
    elsewhere = [asked for asked in tab.requests if "//127.0.0.1:" not in asked]
    assert (problems, tab.faults, elsewhere) == ([], [], []), problems


@slow
@needs_chromium
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", FILES)
def test_a_page_fits_the_window_and_asks_for_nothing(
    pages: Path, tab: Page, out: Path, name: str
) -> None:
    look_at(tab, name, pages / FILES[name], out)
    assert tab.requests == []


@contextmanager
def server_of(*arguments: str | Path) -> Iterator[str]:
    command = [sys.executable, "-u", "-m", "medseg", "view", *map(str, arguments)]
    program = subprocess.Popen(
        [*command, "--no-browser", "--device", "cpu"],
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


@slow
@needs_chromium
@pytest.mark.timeout(1800)
def test_a_served_folder_fits_the_window_and_asks_for_nothing(
    pages: Path, tab: Page, out: Path
) -> None:
    with server_of(pages / "losses") as address:
        tab.open(address)
        look_at(tab, "folder", address.split("?")[0], out)


@slow
@needs_chromium
@pytest.mark.timeout(1800)
def test_the_desk_fits_the_window_empty_and_with_results(
    pages: Path, tab: Page, out: Path, tmp_path: Path
) -> None:
    pictures = sorted((pages / "cells" / "images").glob("*.png"))
    state = "document.documentElement.dataset.state"
    with server_of("--models", tmp_path) as address:
        tab.show(1440, 900)
        tab.open(address, until=state)
        look_at(tab, "desk", address.split("?")[0], out, until=state)
        tab.show(1440, 900)
        place = tab.evaluate(
            "document.querySelector('#drop').getBoundingClientRect().y"
        )
        tab.drop(720, place + 20, *pictures)
        tab.wait("!document.querySelector('#start').disabled", tries=8000)
        tab.evaluate("document.querySelector('#start').click()")
        tab.wait("document.querySelector('#rows tbody a')", tries=8000)
        tab.wait(f"{state} === 'idle'", tries=8000)
        loaded = "document.querySelector('#pictures img')?.naturalWidth"
        look_at(tab, "desk_results", address.split("?")[0], out, until=loaded)


def test_every_page_is_shown_in_the_documentation() -> None:
    text = (DOCS / "pages.md").read_text(encoding="utf-8")
    for name in (*FILES, *SERVED):
        for width, _ in SIZES:
            for scheme in SCHEMES:
                file = f"{name}_{width}_{scheme}.webp"
                assert (IMAGES / file).is_file(), f"{file}: renew with {WRITE}=1"
                assert f"images/pages/{file}" in text, file


def test_the_pictures_of_pages_are_small() -> None:
    sizes = [file.stat().st_size for file in IMAGES.glob("*")]
    assert sum(sizes) < MOST_BYTES
