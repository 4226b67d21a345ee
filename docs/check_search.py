"""Checks that the built site's search works from the disk, without any network.

    python docs/check_search.py docs/_build/html "receptive field" concepts/

Opens the search page in a headless Chromium that can reach no host. Prints why where
there is no Chromium; CHROMIUM may name one.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote_plus

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def find_chromium() -> str | None:
    """The browser to use, or None where there is none."""
    named = [os.environ["CHROMIUM"]] if "CHROMIUM" in os.environ else []
    return next(filter(None, map(shutil.which, [*named, *NAMES])), None)


def search(folder: Path, words: str, *, browser: str) -> list[str]:
    """Addresses of the pages that the site's search finds, best first.

    Args:
        folder: The built site.
        words: What a reader would type.
        browser: Chromium, or a browser that takes its options.

    Raises:
        subprocess.SubprocessError: The browser failed or took longer than two minutes.
    """
    page = (folder / "search.html").resolve().as_uri()
    with tempfile.TemporaryDirectory() as profile:
        answer = subprocess.run(
            [
                browser,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--host-resolver-rules=MAP * ~NOTFOUND",
                f"--user-data-dir={profile}",
                "--virtual-time-budget=20000",
                "--dump-dom",
                f"{page}?q={quote_plus(words)}",
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    listed = re.search(r'<ul[^>]*class="search"[^>]*>(.*?)</ul>', answer.stdout, re.S)
    items = re.findall(r'<li[^>]*><a href="([^"]+)"', listed[1] if listed else "")
    return [item.split("?")[0] for item in items]


def main(folder: str, words: str, expected: str) -> int:
    """Exit code: 0 where a page whose address begins as expected is found."""
    browser = find_chromium()
    if browser is None:
        print("search not tried: no Chromium here (on Debian: apt install chromium)")
        return 0
    found = search(Path(folder), words, browser=browser)
    if any(address.startswith(expected) for address in found):
        print(f"search works without a network: {len(found)} answers to {words!r}")
        return 0
    print(f"search for {words!r} found {found[:5]}, expected a page at {expected}")
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
