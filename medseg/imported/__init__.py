"""Trained models of other tools, read as medseg's own; nothing in them is executed."""
