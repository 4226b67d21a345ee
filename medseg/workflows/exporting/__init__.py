"""A model for other programs: what is written, and proof that it computes the same."""
