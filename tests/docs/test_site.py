"""The documentation site: what its pages are made of, and what checks them."""

import os
import sys
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import pytest

pytest.importorskip("sphinx", reason="the site is built with the extra `docs`")

from check_search import find_chromium, search
from check_site import check_site
from command_page import command_page
from configuration_page import configuration_page, reachable
from plain_docstrings import escape
from sphinx.application import Sphinx

from medseg.cli.app import app
from medseg.runs.config import RunConfig

DOCS = Path(__file__).parents[2] / "docs"


def write_site(folder: Path, **pages: str) -> Path:
    for name, body in pages.items():
        (folder / f"{name}.html").write_text(f"<html><body>{body}</body></html>")
    return folder


def test_a_whole_site_has_no_fault(tmp_path):
    site = write_site(
        tmp_path,
        index='<a href="other.html#part">a</a> <a href="https://example.org">out</a>',
        other='<h2 id="part">Part</h2> <a href="#part">here</a> <a href="./">up</a>',
    )
    assert check_site(site) == []


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="lost.html">a</a>', "lost.html leads nowhere"),
        ('<img src="lost.png">', "lost.png leads nowhere"),
        ('<a href="#lost">a</a>', "#lost: there is no such part of that page"),
        ('<a href="index.html#lost">a</a>', "there is no such part"),
        ('<script src="https://cdn.example/a.js"></script>', "loads https://cdn"),
        ('<script src="//cdn.example/a.js"></script>', "loads //cdn"),
        ('<link rel="stylesheet" href="https://cdn.example/a.css">', "loads https"),
        ('<link rel="preload" href="http://cdn.example/a.woff2">', "loads http"),
        ('<img srcset="https://cdn.example/a.png 2x">', "loads https://cdn"),
        ("<style>@import 'https://cdn.example/a.css';</style>", "loads https://cdn"),
        ('<p style="background: url(https://cdn.example/a.png)">', "loads https"),
        ('<script>import("https://cdn.example/a.js")</script>', "loads https://cdn"),
    ],
)
def test_faults_of_a_page_are_named(tmp_path, body, fault):
    (found,) = check_site(write_site(tmp_path, index=body))
    assert found.startswith("index.html: ")
    assert fault in found


def test_styles_and_scripts_are_read_too(tmp_path):
    write_site(tmp_path, index="")
    (tmp_path / "a.css").write_text("@font-face {src: url('//fonts.example/a.woff2')}")
    (tmp_path / "a.js").write_text('fetch("https://cdn.example/b.json")')
    assert check_site(tmp_path) == [
        "a.css: loads //fonts.example/a.woff2",
        "a.js: loads https://cdn.example/b.json",
    ]


def test_an_empty_folder_is_no_site(tmp_path):
    (found,) = check_site(tmp_path)
    assert "no page here" in found


def test_every_key_of_a_run_is_in_the_configuration_reference():
    page = configuration_page()
    models = reachable(RunConfig)
    assert len(models) > 20
    for model in models:
        section = page.split(f"### {model.__name__}\n")[1].split("\n### ")[0]
        for name, field in model.model_fields.items():
            (row,) = [x for x in section.splitlines() if x.startswith(f"| `{name}` |")]
            assert row.count(" | ") == 3, row
            assert field.description or name == "name", f"{model.__name__}.{name}"


@pytest.mark.parametrize(
    "row",
    [
        "| `fold` | whole number or null, ≥ 0 | `0` | Fold that is held out",
        "| `labels` | mapping from text to whole number or null | `null` |",
        "| `variations` | mapping from text to mapping from text to Any | *required*",
        "| `ema_decay` | number, ≥ 0, < 1 | `0.999` |",
    ],
)
def test_rows_say_type_bounds_and_default(row):
    assert row in configuration_page()


def test_every_verb_and_option_is_in_the_command_reference():
    page = command_page()
    for verb in app.registered_commands:
        name = verb.name or verb.callback.__name__
        assert f"\n## {name}\n" in page
    predict = page.split("\n## predict\n")[1].split("\n## ")[0]
    assert "medseg predict MODEL SCANS [OPTIONS]" in predict
    assert "| `--flips`, `--no-flips` |" in predict
    assert "| `--out`, `-o` | Where results go. | required |" in predict


@pytest.mark.parametrize(
    ("line", "escaped"),
    [
        ("shape (N, C, *spatial)", r"shape (N, C, \*spatial)"),
        ("|P ∩ R| / |R|", r"\|P ∩ R\| / \|R\|"),
        ("of ``a | b`` and `*c`", "of ``a | b`` and `*c`"),
        (r"already \*so", r"already \*so"),
    ],
)
def test_signs_in_docstrings_are_no_markup(line, escaped):
    assert escape(line) == escaped


@pytest.fixture(scope="module")
def tiny_site(tmp_path_factory):
    """Two pages, built with the site's own configuration and no notebook."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("out")
    (source / "index.md").write_text("# Start\n\n```{toctree}\nidea\n```\n")
    (source / "idea.md").write_text("# Receptive field\n\n$$\\frac{a}{b^2}$$\n")
    path = list(sys.path)
    own = {file.stem for file in (DOCS / "extensions").glob("*.py")}
    try:
        Sphinx(
            source,
            DOCS,
            out,
            out / ".doctrees",
            "html",
            confoverrides={
                "extensions": "myst_nb,mathml",
                "html_static_path": [str(DOCS / "_static")],
            },
            warningiserror=True,
            status=None,
        ).build()
    finally:
        sys.path[:] = path
        for name in own & set(sys.modules):
            del sys.modules[name]
    return out


def test_formulas_are_drawn_by_the_browser_itself(tiny_site):
    page = (tiny_site / "idea.html").read_text(encoding="utf-8")
    assert "<mfrac>" in page


def test_the_theme_loads_nothing_from_elsewhere(tiny_site):
    assert check_site(tiny_site) == []


def test_search_works_from_the_disk(tiny_site):
    browser = find_chromium()
    if browser is None:
        pytest.skip("no Chromium here")
    found = search(tiny_site, "receptive", browser=browser)
    assert "idea.html" in {address.split("#")[0] for address in found}
    assert search(tiny_site, "nowherewritten", browser=browser) == []


@pytest.mark.parametrize(
    "page",
    [page for page in sorted(DOCS.rglob("*.md")) if "_build" not in page.parts],
    ids=lambda page: str(page.relative_to(DOCS)),
)
def test_notebooks_say_their_language_and_pages_are_listed(page: Path) -> None:
    """Without either, `make docs` ends with a warning, which it takes for an error."""
    text = page.read_text(encoding="utf-8")
    if text.startswith("---\nfile_format: mystnb\n"):
        assert "\n  language: python\n" in text.split("---")[1]
    name = page.relative_to(DOCS).with_suffix("")
    if name.name == "index" or "generated" in name.parts:
        return
    listed = 0
    for contents in DOCS.rglob("index.md"):
        parts = contents.read_text(encoding="utf-8").split("```{toctree}")[1:]
        for line in "\n".join(parts).split("```")[0].splitlines():
            if line and not line.startswith((":", "`")):
                entry = PurePosixPath(os.path.normpath(contents.parent / line))
                listed += fnmatch(str(DOCS / name), str(entry))
    assert listed, f"{name} is in no list of contents (docs/*/index.md)"
