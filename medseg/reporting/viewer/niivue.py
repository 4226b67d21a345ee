"""NiiVue, the script that draws volumes in a browser; a copy of it is in the package.

https://github.com/niivue/niivue, BSD 2-Clause; ``templates/niivue/`` has its licence,
where it comes from, and its checksum.
"""

import gzip
from pathlib import Path

from medseg.files import write_text
from medseg.pages import TEMPLATES

SCRIPT = "niivue-0.69.0.js"
"""Name of the script beside the pages that share it."""
_COMPRESSED = TEMPLATES / "niivue" / f"{SCRIPT}.gz"


def compressed_script() -> bytes:
    """The script, gzip-compressed, as the package has it."""
    return _COMPRESSED.read_bytes()


def write_script(folder: Path) -> Path:
    """The script beside pages, written where it is not there yet.

    Raises:
        OutputError: It cannot be written.
    """
    path = folder / SCRIPT
    text = gzip.decompress(compressed_script()).decode("utf-8")
    if not path.is_file() or path.stat().st_size != len(text.encode("utf-8")):
        write_text(path, text)
    return path
