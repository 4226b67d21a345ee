"""Writes the reference pages from the code before Sphinx reads its sources."""

from pathlib import Path

from api_pages import api_pages
from command_page import command_page
from configuration_page import configuration_page
from sphinx.application import Sphinx


def write_pages(folder: Path) -> None:
    """Writes each page whose text changed, so that Sphinx reads no other again."""
    pages = {
        "cli": command_page(),
        "configuration": configuration_page(),
        **api_pages(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    write_pages(Path(app.srcdir) / "reference" / "generated")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
