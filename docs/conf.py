"""How Sphinx builds the site: `make docs`, or `sphinx-build -W docs docs/_build/html`.

Pages that begin with a kernel in their header are notebooks, run while the site is
built, in an empty folder each. Nothing is loaded from the network when a page is
viewed: formulas are MathML, fonts are the reader's own.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "extensions")]
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
os.environ["PYTHONPATH"] = os.pathsep.join(
    part for part in (str(HERE.parent), os.environ.get("PYTHONPATH")) if part
)  # so that notebooks run the code beside them, not what else is installed

from medseg import __version__  # noqa: E402

project = "medseg"
author = "the authors of medseg"
copyright = f"2026, {author}"  # noqa: A001
version = release = __version__
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "generated_pages",
    "mathml",
    "plain_docstrings",
]
exclude_patterns = ["_build", "extensions", "**/jupyter_execute"]
source_suffix = {".md": "myst-nb", ".rst": "restructuredtext"}

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_timeout = 3600  # of a cell, on a machine that is busy with others
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_merge_streams = True
nb_ipywidgets_js = {}

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False
default_role = "literal"

html_theme = "pydata_sphinx_theme"
html_title = f"medseg {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "show_prev_next": True,
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"index": []}
