"""Scans and models into other formats, and back."""
