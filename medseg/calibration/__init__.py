"""What is decided once on held-out cases and kept with the model."""
