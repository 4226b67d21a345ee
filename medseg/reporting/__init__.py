"""Pictures, tables and one self-contained page about what a model does."""

from medseg.reporting.choice import ChosenCase, choose_cases
from medseg.reporting.content import Picture, ReportContent
from medseg.reporting.environment import describe_environment
from medseg.reporting.mosaic import Tile, make_tile, write_mosaic, write_tile
from medseg.reporting.overlay import write_overlay
from medseg.reporting.page import write_page
from medseg.reporting.text import format_number, format_summary

__all__ = [
    "ChosenCase",
    "Picture",
    "ReportContent",
    "Tile",
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
