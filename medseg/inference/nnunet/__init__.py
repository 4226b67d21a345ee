"""Label maps as nnU-Net's own predictor computes them, for imported models."""
