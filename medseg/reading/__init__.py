"""Reads files that others have written, in processes with limits.

`medseg.io` holds the readers; every verb calls them through here, so that no file ends
a call, holds it up, or fills the memory.
"""

from medseg.reading.doors import (
    find_series,
    find_sources,
    listed_structures,
    load_source,
    names_in,
    read_grid,
    read_header,
    read_headers,
    read_label_map,
    read_labels,
    read_named_labels,
    read_volume,
    sources_of,
)
from medseg.reading.pool import guarded, start_early, stop_readers
from medseg.reading.remembered import REMEMBERED

__all__ = [
    "REMEMBERED",
    "find_series",
    "find_sources",
    "guarded",
    "listed_structures",
    "load_source",
    "names_in",
    "read_grid",
    "read_header",
    "read_headers",
    "read_label_map",
    "read_labels",
    "read_named_labels",
    "read_volume",
    "sources_of",
    "start_early",
    "stop_readers",
]
