"""HTML pages made from templates: one design, all text escaped, nothing loaded.

A page is a single file that needs no network, today or later: style, script and
pictures are inside, and a content security policy keeps anything else out.
"""

from __future__ import annotations

import base64
import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg import __version__
from medseg.errors import MissingFileError

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

TEMPLATES = Path(__file__).with_name("templates")
_LARGE_PICTURE = 200_000
"""Bytes of a PNG from which a page carries it as JPEG."""


def render(template: str, **values: Any) -> str:
    """A page, or a part of one, from a template of `TEMPLATES`.

    Args:
        template: Name of the file.
        values: What the template shows; a name that it misses is an error.
    """
    return _environment().get_template(template).render(**values)


def data_uri(path: Path) -> str:
    """A picture as text; large ones as JPEG, a fifth of the size to the same eye.

    Raises:
        MissingFileError: There is no such picture.
    """
    try:
        data, kind = path.read_bytes(), "png"
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such picture") from error
    if len(data) > _LARGE_PICTURE:
        from PIL import Image

        stream = io.BytesIO()
        with Image.open(io.BytesIO(data)) as picture:
            picture.convert("RGB").save(stream, "JPEG", quality=88, optimize=True)
        data, kind = stream.getvalue(), "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    environment.globals["version"] = __version__
    environment.globals["resource"] = _resource
    return environment


def _breakable(text: object) -> Markup:
    """A name that may continue on the next line behind an underscore or hyphen."""
    from markupsafe import Markup, escape

    escaped = str(escape(text))
    return Markup(escaped.replace("_", "_<wbr>").replace("-", "-<wbr>"))


def _resource(name: str) -> Markup:
    """A style or script of our own, as it is."""
    from markupsafe import Markup

    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))
