"""Segmentation objects (SEG) and structure sets (RTSTRUCT): read and written."""
