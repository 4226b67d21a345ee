"""Pictures, tables and one self-contained page about what a model does."""

from medseg.reporting.content import Picture, ReportContent
from medseg.reporting.environment import describe_environment
from medseg.reporting.mosaic import MosaicTile, make_tile, write_mosaic, write_tile
from medseg.reporting.overlay import write_overlay
from medseg.reporting.page import write_page
from medseg.reporting.shown_cases import ChosenCase, choose_cases
from medseg.reporting.text import format_number, format_summary

__all__ = [
    "ChosenCase",
    "Picture",
    "ReportContent",
    "MosaicTile",
    "choose_cases",
    "describe_environment",
    "format_number",
    "format_summary",
    "make_tile",
    "write_mosaic",
    "write_overlay",
    "write_page",
    "write_tile",
]
