"""Label maps as a MONAI bundle's own inference computes them, for imported models."""
