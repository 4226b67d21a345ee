"""Scans found, segmented, recorded; whole folders of them, once or as they grow."""
