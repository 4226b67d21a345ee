"""Checks the built site: links inside lead somewhere, nothing comes from elsewhere.

    python docs/check_site.py docs/_build/html

Every link, picture, script and style of every page must be a file of the site, and
every part of a page that is linked to must be there. Scripts, styles, fonts and
pictures may not be loaded from another address; links to other sites are not followed.
"""

import re
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {
    "audio": ("src",),
    "embed": ("src",),
    "iframe": ("src",),
    "image": ("href", "xlink:href"),
    "img": ("src", "srcset"),
    "input": ("src",),
    "link": ("href",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "track": ("src",),
    "use": ("href", "xlink:href"),
    "video": ("src", "poster"),
}
"""Attributes whose addresses a browser loads by itself."""

NOT_LOADED = {"author", "canonical", "help", "license", "next", "prev", "search"}
"""What a `link` element may name without the browser asking for it."""

ELSEWHERE = re.compile(r"^(https?:|wss?:)?//", re.IGNORECASE)
IN_STYLES = re.compile(
    r"""(?:url\(\s*|@import\s+)["']?((?:https?:)?//[^"')\s;]+)""", re.IGNORECASE
)
IN_SCRIPTS = re.compile(
    r"""(?:import\s*\(?|from\s|fetch\(|importScripts\(|\.src\s*=)\s*["'`]((?:https?:)?//[^"'`]+)"""
)


@dataclass
class Page(HTMLParser):
    """What a page links to, loads, and can be linked to at."""

    path: Path
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    inline: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()
        self._inside = ""
        self.feed(self.path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value}
        self.anchors |= {values[key] for key in ("id", "name") if key in values}
        self._inside = tag
        if "style" in values:
            self.inline["style"] = self.inline.get("style", "") + values["style"]
        if tag == "link" and set(values.get("rel", "").split()) & NOT_LOADED:
            self.links.append(values.get("href", ""))
            return
        for name in LOADED.get(tag, ()):
            self.loads += _addresses(values.get(name, ""), several=name == "srcset")
        if tag in {"a", "area"} and "href" in values:
            self.links.append(values["href"])

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in {"style", "script"}:
            self.inline[self._inside] = self.inline.get(self._inside, "") + data


def _addresses(value: str, *, several: bool) -> list[str]:
    if several:
        return [part.split()[0] for part in value.split(",") if part.split()]
    return [value] if value else []


def check_site(folder: Path) -> list[str]:
    """One line for each fault of the site in the folder."""
    pages = {path: Page(path) for path in _pages(folder)}
    faults = [] if pages else [f"{folder}: no page here; build the site first"]
    for path, page in pages.items():
        name = path.relative_to(folder)
        faults += [f"{name}: {text}" for text in _loaded_from_elsewhere(page)]
        for address in {*page.links, *page.loads}:
            if fault := _lost(address, path, pages):
                faults.append(f"{name}: {fault}")
    for path in sorted(folder.rglob("*.css")):
        found = IN_STYLES.findall(path.read_text(encoding="utf-8"))
        faults += [f"{path.relative_to(folder)}: loads {text}" for text in found]
    for path in sorted(folder.rglob("*.js")):
        found = IN_SCRIPTS.findall(path.read_text(encoding="utf-8"))
        faults += [f"{path.relative_to(folder)}: loads {text}" for text in found]
    return faults


def _pages(folder: Path) -> list[Path]:
    """The pages, without templates that a theme leaves among its styles."""
    found = sorted(folder.rglob("*.html"))
    return [path for path in found if "_static" not in path.relative_to(folder).parts]


def _loaded_from_elsewhere(page: Page) -> list[str]:
    found = [text for text in page.loads if ELSEWHERE.match(text)]
    found += IN_STYLES.findall(page.inline.get("style", ""))
    found += IN_SCRIPTS.findall(page.inline.get("script", ""))
    return [f"loads {text}" for text in found]


def _lost(address: str, source: Path, pages: dict[Path, Page]) -> str:
    """What is wrong with an address inside the site; empty where nothing is."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc or address.startswith("data:"):
        return ""
    target = (source.parent / unquote(parts.path)) if parts.path else source
    target = target.resolve()
    if target.is_dir():
        target = target / "index.html"
    if not target.is_file():
        return f"{address} leads nowhere"
    page = pages.get(target)
    anchor = unquote(parts.fragment)
    if anchor and page is not None and anchor not in page.anchors:
        return f"{address}: there is no such part of that page"
    return ""


if __name__ == "__main__":
    found = check_site(Path(sys.argv[1]).resolve())
    print(
        "\n".join(found) or "links lead somewhere, and nothing is loaded from elsewhere"
    )
    sys.exit(bool(found))
