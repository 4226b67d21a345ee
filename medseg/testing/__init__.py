"""Studies whose truth is known, for tests and demonstrations."""
