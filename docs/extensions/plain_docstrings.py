"""Docstrings are plain text: `*` and `|` in them are signs, not markup."""

import re
from typing import Any

from sphinx.application import Sphinx

_CODE = re.compile(r"(``.*?``|`.*?`)")


def escape(line: str) -> str:
    """The line with signs escaped that reStructuredText would take for markup.

    What stands in backticks stays as it is.
    """
    parts = _CODE.split(line)
    return "".join(
        part if _CODE.fullmatch(part) else re.sub(r"(?<!\\)([*|])", r"\\\1", part)
        for part in parts
    )


def escape_docstring(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Replaces the lines of a docstring before anything else reads them."""
    lines[:] = [escape(line) for line in lines]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", escape_docstring, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
